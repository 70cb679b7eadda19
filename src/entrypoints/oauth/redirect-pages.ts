import type { KoaContextWithOIDC, Provider } from 'oidc-provider'
import { MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import { RETRIES } from '../../kernel/retry.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Seal } from '../../storage/seal.ts'
import { isOwnInteraction } from './browser-session.ts'
import { isPrefetch, rejectPrefetch } from './prefetch.ts'
import type { OauthStore } from './store.ts'
import type { InteractionOutcomes } from './interaction-outcome.ts'
import { otherBrowserPage, redirectPage, type RedirectTarget } from './interaction-pages.ts'

/** Dependencies of the redirect pages. */
export interface RedirectPagesDependencies {
  readonly provider: Provider
  readonly clients: Clients
  readonly store: OauthStore
  readonly seal: Seal
  readonly world: World
  readonly outcomes: InteractionOutcomes
  readonly issuer: string
}

/** Redirects of an interaction to the bank and to the platform. */
export interface RedirectPages {
  /** Redirects to the bank's sign-in. Throws `BANK_RESPONSE_INVALID` unless `url` is http or https. */
  redirectToBank(uid: string, bankName: string, url: string): Promise<HttpResponse>
  /** Records that the interaction is decided, so that its authorization request can be resumed once. */
  markDecided(uid: string): Promise<void>
  /** Returns true for the first call only: that request resumes the interaction's authorization request. */
  claimResume(uid: string): Promise<boolean>
  /**
   * The path of the page that leads back to the platform. Waits while the request that claimed the resumption creates it;
   * undefined if there is none in time.
   */
  awaitPlatformRedirect(uid: string): Promise<string | undefined>
  readonly routes: readonly Route[]
}

type Direction = 'to-bank' | 'to-platform'

/** How long a page is valid, in seconds: the time for a sign-in at a bank, and the lifetime of an authorization code. */
const LIFETIME_S: Readonly<Record<Direction, number>> = { 'to-bank': (15 * MINUTE_MS) / 1_000, 'to-platform': 60 }
/** The lifetime of an interaction, in seconds. */
const DECISION_LIFETIME_S = (30 * MINUTE_MS) / 1_000

/**
 * Pages that lead from the gateway to a bank or a platform. Browsers apply `form-action` to every redirect that follows a form
 * submission, and the hosts through which a bank or a platform redirects are not known in advance. So a form never redirects
 * to another site: it redirects to one of these pages, which continues by itself (`Refresh`, without a script) and has a link.
 * The target is stored with the interaction, never taken from the request, and shown only to the interaction's own browser. A
 * reloaded page has the link but does not continue by itself, so that the back button works.
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
    // A new choice gets a page that continues by itself again.
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
      // The interaction's own page shows its present state.
      if (!row || (direction === 'to-bank' && (await outcomes.isSignInClosed(uid))))
        return seeOther(`/interaction/${uid}`)
      if (direction === 'to-platform' && (await outcomes.isFinal(uid))) return outcomes.page(uid)
      const target = (await seal.unseal(`redirect:${id}`, String(row['sealed']))) as Omit<RedirectTarget, 'host'>
      const isFirstLoad = await targets.consume(id).then(
        () => true,
        () => false,
      )
      return redirectPage({ ...target, host: URL.parse(target.url)?.host ?? '' }, isFirstLoad)
    }

  // The provider sends the authorization response when it resumes the request: replace its redirect by a page.
  provider.use(async (ctx, next) => {
    await next()
    // `oidc` is absent for paths that the provider does not serve.
    const { oidc } = ctx as unknown as Partial<KoaContextWithOIDC>
    const url = ctx.response.get('location')
    const uid = oidc?.entities.Interaction?.uid
    if (oidc?.route !== 'resume' || ctx.status !== 303 || uid === undefined) return
    if (URL.parse(url, issuer)?.origin === issuer) return
    const client = await clients.find(oidc.client?.clientId ?? '')
    const organization = client && (await clients.organizations.find(client.organizationId))
    ctx.set('location', await redirect('to-platform', uid, { name: organization?.name ?? '', url }))
  })

  return {
    async redirectToBank(uid, name, address) {
      if (!/^https?:$/.test(URL.parse(address)?.protocol ?? ''))
        throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'the sign-in address is not http or https' })
      return seeOther(await redirect('to-bank', uid, { name, url: address }))
    },

    markDecided: (uid) => decisions.upsert(digest(uid), {}, DECISION_LIFETIME_S),
    claimResume: (uid) =>
      decisions.consume(digest(uid)).then(
        () => true,
        () => false,
      ),
    async awaitPlatformRedirect(uid) {
      const deadlineMs = world.timers.monotonicMs() + RETRIES.platformRedirect.timeoutMs
      for (;;) {
        if (await targets.find(idOf('to-platform', uid))) return `/interaction/${uid}/to-platform`
        const claimedAtS: unknown = (await decisions.find(digest(uid)))?.consumed
        const elapsedMs = typeof claimedAtS === 'number' ? world.clock.now().getTime() - claimedAtS * 1_000 : Infinity
        if (elapsedMs > 2 * RETRIES.platformRedirect.timeoutMs || world.timers.monotonicMs() > deadlineMs)
          return undefined
        await world.timers.sleep(RETRIES.platformRedirect.delaysMs[0])
      }
    },

    routes: (['to-bank', 'to-platform'] as const).map((direction) =>
      route('GET', `/interaction/{uid}/${direction}`, pageHandler(direction)),
    ),
  }
}
