import { GatewayError } from '../../kernel/errors.ts'
import { html, renderPage } from '../../kernel/html.ts'
import type { HttpResponse } from '../../kernel/http.ts'
import { formatDay, endedText, suspendedText, type SharingCard } from './texts.ts'

const dashboardLink = html`What you share is shown on <a href="/sharing">your own page</a>.`

/** The page for a request that failed. */
export const problemPage = (error: GatewayError): HttpResponse => ({
  ...renderPage(
    'This did not work',
    html`<h1>This did not work</h1>
      <p>${error.message}</p>
      <p>Please go back to the chat. ${dashboardLink}</p>`,
    { status: error.definition.httpStatus },
  ),
  error,
})

/** The page for an interaction that belongs to another browser. */
export const otherBrowserPage = (): HttpResponse => ({
  ...renderPage(
    'This page is not for this browser',
    html`<h1>This page is no longer valid in this browser</h1>
      <p>It belongs to another browser or to an earlier visit. Please go back to the chat. ${dashboardLink}</p>`,
    { status: 400 },
  ),
  error: new GatewayError('INTERACTION_EXPIRED'),
})

/** The bank has not responded yet, and another request of the same interaction waits for it. */
export const waitingPage = (url: string): HttpResponse =>
  renderPage(
    'Waiting for your bank',
    html`<h1>Your bank has not answered yet</h1>
      <p>Nothing is shared so far.</p>
      <div class="actions"><a class="button" href="${url}">Check again</a></div>`,
    { status: 503 },
  )

/** The outcome of a finished interaction; `isRedeemed` says whether the platform has tokens for it. */
export function outcomePage(card: SharingCard | undefined, isRedeemed: boolean): HttpResponse {
  const endedReason = card && endedText(card)
  if (endedReason !== undefined) return closedPage('Sharing has ended', endedReason)
  if (card?.consent.status === 'SUSPENDED') return suspendedPage(card)
  if (card?.consent.status !== 'ACTIVE')
    return closedPage(
      'Nothing was shared',
      'Nothing was shared in this visit. To share, please start again in the chat.',
    )
  const { consent, bank, platform } = card
  return isRedeemed
    ? renderPage(
        'You share your bank',
        html`<h1>You share ${bank} with ${platform} until ${formatDay(consent.expiresAt)}</h1>
          <p>You can close this page and go back to the chat.</p>
          <div class="actions"><a class="button" href="/sharing">What you share, and how to stop</a></div>`,
      )
    : renderPage(
        'Not finished yet',
        html`<h1>${platform} has not finished connecting ${bank}</h1>
          <p>
            You agreed, and ${platform} was notified. If it does not finish within two minutes, this ends by itself and
            nothing is shared. Please go back to the chat. ${dashboardLink}
          </p>`,
      )
}

const suspendedPage = (card: SharingCard): HttpResponse =>
  renderPage(
    'Nothing is shared at the moment',
    html`<h1>Nothing is shared at the moment</h1>
      <p>You agreed. ${suspendedText(card)}</p>
      <div class="actions"><a class="button" href="/sharing">What you share, and how to stop</a></div>`,
  )

const closedPage = (title: string, text: string): HttpResponse =>
  renderPage(
    title,
    html`<h1>${title}</h1>
      <p>${text}</p>
      <p>${dashboardLink}</p>`,
    { status: 410 },
  )

/** The site to which a redirect page leads. */
export interface RedirectTarget {
  /** The name of the bank or platform. */
  readonly name: string
  /** The host as an address bar shows it; empty for the scheme of an app. */
  readonly host: string
  readonly url: string
}

/** A page with a link to another site, which redirects by itself if `isAutomatic`. Sends no referrer. */
export const redirectPage = ({ name, host, url }: RedirectTarget, isAutomatic: boolean): HttpResponse =>
  renderPage(
    `Going to ${name}`,
    html`<h1>Going to ${name}</h1>
      <p>
        ${isAutomatic ? 'Your browser now opens' : 'This link opens'}
        ${host === '' ? html`the app of ${name}` : html`<strong>${host}</strong>`}.
        ${isAutomatic && 'If nothing happens, use this link:'}
      </p>
      <div class="actions"><a class="button" href="${url}" rel="noreferrer">Continue to ${name}</a></div>`,
    { refreshUrl: isAutomatic ? url : undefined },
  )

/** The page for an authorization request that can no longer be resumed: reloaded, by the back button, or in another browser. */
export const interactionOverPage = (): HttpResponse =>
  renderPage(
    'This visit is over',
    html`<h1>This visit is over</h1>
      <p>Please go back to the chat. What you share is shown on <a href="/sharing">your own page</a>.</p>`,
    { status: 410 },
  )
