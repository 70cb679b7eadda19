import { setTimeout as sleep } from 'node:timers/promises'
import type { KoaContextWithOIDC, Provider } from 'oidc-provider'
import { MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Seal } from '../../storage/seal.ts'
import { isOwnVisit } from './browser-session.ts'
import { looksAhead, refuseLookAhead } from './look-ahead.ts'
import type { OauthStore } from './store.ts'
import type { VisitOutcomes } from './visit-outcome.ts'
import { otherBrowserPage, redirectPage, type RedirectTarget } from './visit-pages.ts'

/** What the redirect pages need. */
export interface RedirectPagesDependencies {
  readonly provider: Provider
  readonly clients: Clients
  readonly store: OauthStore
  readonly seal: Seal
  readonly world: World
  readonly outcomes: VisitOutcomes
  readonly issuer: string
}

/** Where a visit leaves the gateway. */
export interface RedirectPages {
  /** To the bank's sign-in. Throws `BANK_RESPONSE_INVALID` for an address that a browser would not open as a page. */
  toBank(uid: string, bankName: string, address: string): Promise<HttpReply>
  /** Notes that the visit is decided, so that its authorization request can be resumed once. */
  decided(uid: string): Promise<void>
  /** True for the one request that resumes the visit's authorization request. */
  takeWayBack(uid: string): Promise<boolean>
  /** The page that leads back to the platform; waits for the request that has taken the way back and makes it. */
  wayBack(uid: string): Promise<string | undefined>
  readonly routes: readonly Route[]
}

type Direction = 'to-bank' | 'to-platform'

/** How long a page leads on, in seconds: as long as a sign-in at a bank can be finished, and as an authorization code lives. */
const LIFETIME_S: Readonly<Record<Direction, number>> = { 'to-bank': (15 * MINUTE_MS) / 1_000, 'to-platform': 60 }
/** As long as a visit. */
const DECIDED_S = (30 * MINUTE_MS) / 1_000
/** How long the answer to the platform is waited for, which another request makes. */
const WAY_BACK_MS = 5 * SECOND_MS
const POLL_MS = 50

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
  world,
  outcomes,
  issuer,
}: RedirectPagesDependencies): RedirectPages {
  const targets = store.adapter('RedirectTarget')
  const decisions = store.adapter('VisitDecision')
  const idOf = (direction: Direction, uid: string): string => digest(`${direction}/${uid}`)

  async function redirect(direction: Direction, uid: string, target: Omit<RedirectTarget, 'host'>): Promise<string> {
    const id = idOf(direction, uid)
    const sealed = await seal.seal(`redirect:${id}`, target)
    // Whoever chooses again is led on by itself again.
    await targets.destroy(id)
    await targets.upsert(id, { sealed }, LIFETIME_S[direction])
    return `/interaction/${uid}/${direction}`
  }

  const pageOf =
    (direction: Direction) =>
    async (request: HttpRequest): Promise<HttpReply> => {
      const uid = request.params['uid']!
      if (looksAhead(request)) return refuseLookAhead()
      if (!isOwnVisit(provider, request)) return otherBrowserPage()
      const id = idOf(direction, uid)
      const row = await targets.find(id)
      // The visit's own address shows where the visit stands now.
      if (!row || (direction === 'to-bank' && (await outcomes.isBackFromBank(uid))))
        return seeOther(`/interaction/${uid}`)
      if (direction === 'to-platform' && (await outcomes.isSettled(uid))) return outcomes.page(uid)
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
        throw new GatewayError('BANK_RESPONSE_INVALID', { internal: 'sign-in address is not http' })
      return seeOther(await redirect('to-bank', uid, { name, address }))
    },

    decided: (uid) => decisions.upsert(digest(uid), {}, DECIDED_S),
    takeWayBack: (uid) =>
      decisions.consume(digest(uid)).then(
        () => true,
        () => false,
      ),
    async wayBack(uid) {
      const giveUpAt = performance.now() + WAY_BACK_MS
      for (;;) {
        if (await targets.find(idOf('to-platform', uid))) return `/interaction/${uid}/to-platform`
        const takenAtS: unknown = (await decisions.find(digest(uid)))?.consumed
        const sinceMs = typeof takenAtS === 'number' ? world.clock.now().getTime() - takenAtS * 1_000 : Infinity
        if (sinceMs > 2 * WAY_BACK_MS || performance.now() > giveUpAt) return undefined
        await sleep(POLL_MS)
      }
    },

    routes: (['to-bank', 'to-platform'] as const).map((direction) =>
      route('GET', `/interaction/{uid}/${direction}`, pageOf(direction)),
    ),
  }
}
