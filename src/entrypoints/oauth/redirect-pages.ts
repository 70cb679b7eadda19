import { setTimeout as sleep } from 'node:timers/promises'
import type { KoaContextWithOIDC, Provider } from 'oidc-provider'
import { MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Seal } from '../../storage/seal.ts'
import { isOwnInteraction } from './browser-session.ts'
import { isPrefetch, rejectPrefetch } from './prefetch.ts'
import type { OauthStore } from './store.ts'
import type { InteractionOutcomes } from './interaction-outcome.ts'
import { otherBrowserPage, redirectPage, type RedirectTarget } from './interaction-pages.ts'

/** What the redirect pages need. */
export interface RedirectPagesDependencies {
  readonly provider: Provider
  readonly clients: Clients
  readonly store: OauthStore
  readonly seal: Seal
  readonly world: World
  readonly outcomes: InteractionOutcomes
  readonly issuer: string
}

/** Where a visit leaves the gateway. */
export interface RedirectPages {
  /** To the bank's sign-in. Throws `BANK_RESPONSE_INVALID` for an address that a browser would not open as a page. */
  redirectToBank(uid: string, bankName: string, url: string): Promise<HttpResponse>
  /** Notes that the visit is decided, so that its authorization request can be resumed once. */
  markDecided(uid: string): Promise<void>
  /** True for the one request that resumes the visit's authorization request. */
  claimResume(uid: string): Promise<boolean>
  /** The page that leads back to the platform; waits for the request that has taken the way back and makes it. */
  awaitPlatformRedirect(uid: string): Promise<string | undefined>
  readonly routes: readonly Route[]
}

type Direction = 'to-bank' | 'to-platform'

/** How long a page leads on, in seconds: as long as a sign-in at a bank can be finished, and as an authorization code lives. */
const LIFETIME_S: Readonly<Record<Direction, number>> = { 'to-bank': (15 * MINUTE_MS) / 1_000, 'to-platform': 60 }
/** As long as a visit. */
const DECISION_LIFETIME_S = (30 * MINUTE_MS) / 1_000
/** How long the answer to the platform is waited for, which another request makes. */
const RESUME_TIMEOUT_MS = 5 * SECOND_MS
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
  const decisions = store.adapter('InteractionDecision')
  const idOf = (direction: Direction, uid: string): string => digest(`${direction}/${uid}`)

  async function redirect(direction: Direction, uid: string, target: Omit<RedirectTarget, 'host'>): Promise<string> {
    const id = idOf(direction, uid)
    const sealed = await seal.seal(`redirect:${id}`, target)
    // Whoever chooses again is led on by itself again.
    await targets.destroy(id)
    await targets.upsert(id, { sealed }, LIFETIME_S[direction])
    return `/interaction/${uid}/${direction}`
  }

  const pageHandler =
    (direction: Direction) =>
    async (request: HttpRequest): Promise<HttpResponse> => {
      const uid = request.params['uid']!
      if (isPrefetch(request)) return rejectPrefetch()
      if (!isOwnInteraction(provider, request)) return otherBrowserPage()
      const id = idOf(direction, uid)
      const row = await targets.find(id)
      // The visit's own address shows where the visit stands now.
      if (!row || (direction === 'to-bank' && (await outcomes.hasReturnedFromBank(uid))))
        return seeOther(`/interaction/${uid}`)
      if (direction === 'to-platform' && (await outcomes.isFinal(uid))) return outcomes.page(uid)
      const target = (await seal.unseal(`redirect:${id}`, String(row['sealed']))) as Omit<RedirectTarget, 'host'>
      const isFirstLoad = await targets.consume(id).then(
        () => true,
        () => false,
      )
      return redirectPage({ ...target, host: URL.parse(target.url)?.host ?? '' }, isFirstLoad)
    }

  // The answer to the platform is made by the provider, when it resumes the authorization request after the visit.
  provider.use(async (ctx, next) => {
    await next()
    // A path that is none of the provider's has no `oidc`.
    const { oidc } = ctx as unknown as Partial<KoaContextWithOIDC>
    const url = ctx.response.get('location')
    const uid = oidc?.entities.Interaction?.uid
    if (oidc?.route !== 'resume' || ctx.status !== 303 || uid === undefined) return
    if (URL.parse(url, issuer)?.origin === issuer) return
    const client = await clients.find(oidc.client?.clientId ?? '')
    const platform = client && (await clients.findPlatform(client.platformId))
    ctx.set('location', await redirect('to-platform', uid, { name: platform?.name ?? '', url }))
  })

  return {
    async redirectToBank(uid, name, address) {
      if (!/^https?:$/.test(URL.parse(address)?.protocol ?? ''))
        throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'sign-in address is not http' })
      return seeOther(await redirect('to-bank', uid, { name, url: address }))
    },

    markDecided: (uid) => decisions.upsert(digest(uid), {}, DECISION_LIFETIME_S),
    claimResume: (uid) =>
      decisions.consume(digest(uid)).then(
        () => true,
        () => false,
      ),
    async awaitPlatformRedirect(uid) {
      const deadlineMs = performance.now() + RESUME_TIMEOUT_MS
      for (;;) {
        if (await targets.find(idOf('to-platform', uid))) return `/interaction/${uid}/to-platform`
        const claimedAtS: unknown = (await decisions.find(digest(uid)))?.consumed
        const elapsedMs = typeof claimedAtS === 'number' ? world.clock.now().getTime() - claimedAtS * 1_000 : Infinity
        if (elapsedMs > 2 * RESUME_TIMEOUT_MS || performance.now() > deadlineMs) return undefined
        await sleep(POLL_MS)
      }
    },

    routes: (['to-bank', 'to-platform'] as const).map((direction) =>
      route('GET', `/interaction/{uid}/${direction}`, pageHandler(direction)),
    ),
  }
}
