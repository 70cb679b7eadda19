import { setTimeout as sleep } from 'node:timers/promises'
import type { InteractionResults, Provider } from 'oidc-provider'
import { SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { seeOther, type HttpResponse, type HttpRequest } from '../../kernel/http.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Consents } from '../../modules/consents/index.ts'
import { parseDetails, type AccountInformation } from './authorization-details.ts'
import {
  isOwnInteraction,
  canResume,
  resumedInteractionUid,
  findSessionCustomer,
  type Interaction,
} from './browser-session.ts'
import type { InteractionView } from './consent-pages.ts'
import { isPrefetch, rejectPrefetch } from './prefetch.ts'
import type { RedirectPages } from './redirect-pages.ts'
import type { OauthStore } from './store.ts'
import type { InteractionOutcomes } from './interaction-outcome.ts'
import { otherBrowserPage, waitingPage } from './interaction-pages.ts'
import { decodePart } from './unverified-jwt.ts'

/** What visits are kept by. */
export interface InteractionFlowDependencies {
  readonly provider: Provider
  readonly store: OauthStore
  readonly clients: Clients
  readonly consents: Consents
  readonly redirects: RedirectPages
  readonly outcomes: InteractionOutcomes
}

/** A visit that is not decided yet, with what was requested. */
export interface PendingInteraction extends InteractionView {
  readonly clientId: string
  readonly requested: AccountInformation
  readonly parameters: Readonly<Record<string, unknown>>
  /** The subject whom the platform expects (`id_token_hint`), as this client knows them. */
  readonly expectedSubject: string | undefined
}

/** A step of a visit, or what answers in its place. */
export type LoadResult = { readonly interaction: PendingInteraction } | { readonly reply: HttpResponse }

/** How long a repeated step waits for the first one, which waits for the bank. */
const DECISION_TIMEOUT_MS = 20 * SECOND_MS
const POLL_MS = 100

/** Visits of the consent pages, from the first page to the way back to the platform. */
export type InteractionFlow = ReturnType<typeof createInteractionFlow>

/**
 * A visit is decided once: its customer agreed at the bank, said “Not now”, or something failed. Every request of the visit's own
 * browser that comes later, or at the same time, leads to the same end, whichever page it is of; so loading again, going
 * back, posting twice and a second tab change nothing.
 */
export function createInteractionFlow({
  provider,
  store,
  clients,
  consents,
  redirects,
  outcomes,
}: InteractionFlowDependencies) {
  return { open: load, decide, decidedMeanwhile: resolveConcurrentDecision, cancel, awaitDecision, resume }

  /** The visit of the request's path, where it is this browser's and not decided. */
  async function load(request: HttpRequest): Promise<LoadResult> {
    if (!isOwnInteraction(provider, request)) return { reply: otherBrowserPage() }
    const uid = request.params['uid']!
    const interaction = await provider.Interaction.find(uid)
    if (!interaction) return { reply: await redirectOrShowOutcome(uid) }
    if (interaction.result) return { reply: seeOther(interaction.returnTo) }
    return { interaction: await toPendingInteraction(interaction, request) }
  }

  async function toPendingInteraction(interaction: Interaction, request: HttpRequest): Promise<PendingInteraction> {
    const parameters = interaction.params
    const client = await clients.find(String(parameters['client_id']))
    const platform = client && (await clients.findPlatform(client.platformId))
    const requested = parseDetails(parameters)
    if (client?.status !== 'ACTIVE' || !platform || !requested) throw new GatewayError('INTERACTION_EXPIRED')
    const hint = parameters['id_token_hint']
    return {
      uid: interaction.uid,
      platform: platform.name,
      chat: requested.chat?.label,
      clientId: client.id,
      requested,
      parameters,
      // The provider verified the hint's signature and audience before the visit began.
      expectedSubject: typeof hint === 'string' ? (unverifiedSubjectOf(hint) ?? '') : undefined,
      asksIfSameCustomer: hint === undefined && (await findSessionCustomer(provider, request)) !== undefined,
    }
  }

  /**
   * Decides the visit and goes back to the authorization request. An error leaves no consent behind; where the consent has
   * come about already, it is too late for the error, and the visit leads to where it led. `why` is for the log.
   */
  async function decide(uid: string, result: InteractionResults, cause?: GatewayError): Promise<HttpResponse> {
    if ('error' in result && !(await consents.cancelVisit(uid, cause))) return redirectOrShowOutcome(uid)
    const interaction = await provider.Interaction.find(uid)
    // Before the decision, so that nobody resumes a visit without having taken its way back.
    await redirects.markDecided(uid)
    if (!interaction || !(await store.decideInteraction(uid, result))) return redirectOrShowOutcome(uid)
    // A step that was under way may have begun a sign-in since.
    if ('error' in result) await consents.rejectStarted(uid)
    return seeOther(interaction.returnTo)
  }

  /** Ends what a step has begun in a visit that was decided meanwhile, and leads to where that leads. */
  async function resolveConcurrentDecision(uid: string): Promise<HttpResponse | undefined> {
    const interaction = await provider.Interaction.find(uid)
    if (interaction && !interaction.result) return undefined
    await consents.rejectStarted(uid)
    return interaction ? seeOther(interaction.returnTo) : redirectOrShowOutcome(uid)
  }

  /** The customer chose not to share: possible until the consent is ACTIVE. */
  async function cancel(request: HttpRequest): Promise<HttpResponse> {
    if (!isOwnInteraction(provider, request)) return otherBrowserPage()
    return decide(request.params['uid']!, {
      error: 'access_denied',
      error_description: 'the customer chose not to share',
    })
  }

  /** Leads to where another request of the visit leads, which is waited for where it waits for the bank. */
  async function awaitDecision(uid: string, url: string): Promise<HttpResponse> {
    const deadlineMs = performance.now() + DECISION_TIMEOUT_MS
    do {
      const interaction = await provider.Interaction.find(uid)
      if (!interaction) return redirectOrShowOutcome(uid)
      if (interaction.result) return seeOther(interaction.returnTo)
      // Rejected by somebody else than a request of the visit, such as the bank: nobody else will decide it.
      if ((await consents.findVisitOutcome(uid))?.consent.status === 'REJECTED')
        return decide(uid, { error: 'access_denied', error_description: 'the consent cannot be given any more' })
      await sleep(POLL_MS)
    } while (performance.now() < deadlineMs)
    return waitingPage(url)
  }

  /** The way back to the platform while that leads anywhere, and what the visit has come to after that. */
  async function redirectOrShowOutcome(uid: string): Promise<HttpResponse> {
    const redirectUrl = await redirects.awaitPlatformRedirect(uid)
    return redirectUrl === undefined ? outcomes.page(uid) : seeOther(redirectUrl)
  }

  /**
   * What answers in place of the provider, which resumes an authorization request once only: undefined for the one request
   * that it is to answer, and for addresses that resume none.
   */
  async function resume(request: HttpRequest): Promise<HttpResponse | undefined> {
    const uid = resumedInteractionUid(request)
    if (uid === undefined) return undefined
    if (isPrefetch(request)) return rejectPrefetch()
    const interaction = await provider.Interaction.find(uid)
    if (!interaction?.result) return seeOther(`/interaction/${uid}`)
    // The visit's own page would lead back to here.
    if (!canResume(provider, request, uid)) return otherBrowserPage()
    const sessionUid = interaction.result['sessionUid']
    if (typeof sessionUid === 'string' && !(await store.isSessionActive(sessionUid))) return decide(uid, SESSION_ENDED)
    if (await redirects.claimResume(uid)) return undefined
    const redirectUrl = await redirects.awaitPlatformRedirect(uid)
    // Where the request that took the way back has got nowhere, this one tries.
    return redirectUrl === undefined ? undefined : seeOther(redirectUrl)
  }
}

/** Only a session proved who the customer is, and it has ended. */
const SESSION_ENDED: InteractionResults = {
  error: 'access_denied',
  error_description: 'the session that this visit was decided in has ended',
}

function unverifiedSubjectOf(idToken: string): string | undefined {
  const { sub } = decodePart(idToken, 1)
  return typeof sub === 'string' ? sub : undefined
}
