import type { KoaContextWithOIDC } from 'oidc-provider'
import { html, renderPage } from '../../kernel/html.ts'
import type { HttpResponse } from '../../kernel/http.ts'
import type { Clients } from '../../modules/clients/index.ts'
import { interactionOverPage } from './interaction-pages.ts'

type Reply = Exclude<HttpResponse, 'HIJACKED'>

/**
 * Responds to an authorization request whose error the provider cannot redirect to the platform: a page for browsers, JSON for
 * callers that accept it. The page shows nothing from the request and links only to a registered address.
 */
export async function renderAuthorizationError(
  ctx: KoaContextWithOIDC,
  { error, error_description }: { error: string; error_description?: string | undefined },
  clients: Clients,
  issuer: string,
): Promise<void> {
  const { route } = ctx.oidc
  if ((route !== 'authorization' && route !== 'resume') || !isBrowserRequest(ctx)) {
    ctx.type = 'json'
    ctx.body = { error, error_description }
    return
  }
  const reply = route === 'resume' ? interactionOverPage() : await requestErrorPage(ctx, error, clients, issuer)
  const { headers, body } = reply as Reply
  ctx.set(headers as Record<string, string>)
  ctx.body = body
}

/**
 * Whether the response goes to a person. Browsers send `Sec-Fetch-Dest` (Fetch Metadata). Without it, only a caller that
 * accepts JSON and not HTML counts as a program, because older browsers and link previews may accept anything.
 */
function isBrowserRequest(ctx: KoaContextWithOIDC): boolean {
  const accept = ctx.get('accept')
  const wantsHtml = accept.includes('text/html')
  const destination = ctx.get('sec-fetch-dest')
  if (destination !== '') return destination !== 'empty' || wantsHtml
  return wantsHtml || !accept.includes('json')
}

async function requestErrorPage(
  ctx: KoaContextWithOIDC,
  error: string,
  clients: Clients,
  issuer: string,
): Promise<HttpResponse> {
  const client = await clients.find(ctx.oidc.client?.clientId ?? '')
  const platform =
    client?.status === 'ACTIVE' ? ((await clients.organizations.find(client.organizationId))?.name ?? null) : null
  const [redirectUri, ...others] = platform === null ? [] : client!.redirectUris
  const hasExpired = error === 'invalid_request_uri'
  return renderPage(
    'This link does not work',
    html`<h1>${hasExpired ? 'This link has expired' : 'This link does not work'}</h1>
      <p>Opening it shared nothing.</p>
      <p>
        ${
          hasExpired
            ? html`A link like this works once, and for a minute. Please go back to ${platform === null ? 'the chat' : html`the chat with ${platform}`} and open the link there again.`
            : html`${platform ?? 'The site that sent you here'} made a request that cannot be answered. Please go back to the chat and start again.`
        }
      </p>
      ${!hasExpired && html`<p>For developers: <code>${error}</code>. Request the same address with <code>Accept: application/json</code> for the reason.</p>`}
      ${
        redirectUri !== undefined &&
        others.length === 0 &&
        html`<div class="actions"><a class="button" href="${buildErrorRedirect(redirectUri, error, issuer)}" rel="noreferrer">Back to ${platform}</a></div>`
      }`,
    { status: ctx.status },
  )
}

/** The client's registered redirect URI with the error parameters of RFC 6749, 4.1.2.1, and RFC 9207. */
function buildErrorRedirect(redirectUri: string, error: string, issuer: string): string {
  const url = new URL(redirectUri)
  url.searchParams.set('error', error)
  url.searchParams.set('iss', issuer)
  return url.href
}
