import type { KoaContextWithOIDC, Provider } from 'oidc-provider'
import { MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Seal } from '../../storage/seal.ts'
import type { OauthStore } from './store.ts'
import { redirectPage, visitOverPage, type RedirectTarget } from './visit-pages.ts'

/** What the redirect pages need. */
export interface RedirectPagesDependencies {
  readonly provider: Provider
  readonly clients: Clients
  readonly store: OauthStore
  readonly seal: Seal
  readonly issuer: string
}

/** Where a visit leaves the gateway. */
export interface RedirectPages {
  /** To the bank's sign-in. Throws `BANK_ANSWER_INVALID` for an address that a browser would not open as a page. */
  toBank(uid: string, bankName: string, address: string): Promise<HttpReply>
  readonly routes: readonly Route[]
}

type Direction = 'to-bank' | 'to-platform'

/** How long a page leads on, in seconds: as long as a sign-in at a bank can be finished, and as an authorization code lives. */
const LIFETIME_S: Readonly<Record<Direction, number>> = { 'to-bank': (15 * MINUTE_MS) / 1_000, 'to-platform': 60 }

/**
 * The pages by which a visit leaves the gateway. Browsers apply `form-action` to every redirect that follows a form, of the
 * gateway as well as of a bank, and nobody knows beforehand through which hosts a bank or a platform redirects. So no
 * redirect from a form leads away: it ends at one of these pages, which goes on by itself (`Refresh`, without a script) and
 * by a link. Where a page leads is stored with the visit, never taken from the request, and shown to the visit's own
 * browser only. Loaded again it keeps the link and no longer goes on by itself, so that the back button is no trap.
 */
export function createRedirectPages({
  provider,
  clients,
  store,
  seal,
  issuer,
}: RedirectPagesDependencies): RedirectPages {
  const targets = store.adapter('RedirectTarget')
  const idOf = (direction: Direction, uid: string): string => digest(`${direction}/${uid}`)

  async function redirect(direction: Direction, uid: string, target: Omit<RedirectTarget, 'host'>): Promise<string> {
    const id = idOf(direction, uid)
    const sealed = await seal.seal(`redirect:${id}`, target)
    await targets.upsert(id, { sealed }, LIFETIME_S[direction])
    return `/interaction/${uid}/${direction}`
  }

  const pageOf =
    (direction: Direction) =>
    async ({ raw, params }: HttpRequest): Promise<HttpReply> => {
      const cookies = provider.createContext(raw.request, raw.response).cookies
      const uid = params['uid']!
      if (cookies.get(provider.cookieName('interaction'), { signed: true }) !== uid) return visitOverPage()
      const id = idOf(direction, uid)
      const row = await targets.find(id)
      if (!row) return visitOverPage()
      const target = (await seal.open(`redirect:${id}`, String(row['sealed']))) as Omit<RedirectTarget, 'host'>
      const isFirst = await targets.consume(id).then(
        () => true,
        () => false,
      )
      return redirectPage({ ...target, host: URL.parse(target.address)?.host ?? '' }, isFirst)
    }

  // The answer to the platform is made by the provider, when it resumes the authorization request after the visit.
  provider.use(async (ctx, next) => {
    await next()
    // A path that is none of the provider's has no `oidc`.
    const { oidc } = ctx as unknown as Partial<KoaContextWithOIDC>
    const address = ctx.response.get('location')
    const uid = oidc?.entities.Interaction?.uid
    if (oidc?.route !== 'resume' || ctx.status !== 303 || uid === undefined) return
    if (URL.parse(address, issuer)?.origin === issuer) return
    const client = await clients.find(oidc.client?.clientId ?? '')
    const platform = client && (await clients.platform(client.platformId))
    ctx.set('location', await redirect('to-platform', uid, { name: platform?.name ?? '', address }))
  })

  return {
    async toBank(uid, name, address) {
      if (!/^https?:$/.test(URL.parse(address)?.protocol ?? ''))
        throw new GatewayError('BANK_ANSWER_INVALID', { internal: 'sign-in address is not http' })
      return seeOther(await redirect('to-bank', uid, { name, address }))
    },

    routes: (['to-bank', 'to-platform'] as const).map((direction) =>
      route('GET', `/interaction/{uid}/${direction}`, pageOf(direction)),
    ),
  }
}
