import type { InteractionResults, Provider } from 'oidc-provider'
import { GatewayError } from '../../kernel/errors.ts'
import type { World } from '../../kernel/world.ts'
import { seeOther, type HttpResponse, type HttpRequest } from '../../kernel/http.ts'
import { RETRIES } from '../../kernel/retry.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Consents, RejectionReason } from '../../modules/consents/index.ts'
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

/** Dependencies of the interaction flow. */
export interface InteractionFlowDependencies {
  readonly provider: Provider
  readonly store: OauthStore
  readonly clients: Clients
  readonly consents: Consents
  readonly redirects: RedirectPages
  readonly outcomes: InteractionOutcomes
  readonly world: World
}

/** An undecided interaction with its authorization request. */
export interface PendingInteraction extends InteractionView {
  readonly clientId: string
  readonly requested: AccountInformation
  readonly parameters: Readonly<Record<string, unknown>>
  /** The `sub` of the request's `id_token_hint`, which is specific to this client; empty if it cannot be read. */
  readonly expectedSubject: string | undefined
}

/** The interaction to continue, or the response to send instead. */
export type LoadResult = { readonly interaction: PendingInteraction } | { readonly reply: HttpResponse }

/** Moves interactions from the first consent page to the redirect back to the platform. */
export type InteractionFlow = ReturnType<typeof createInteractionFlow>

/**
 * An interaction is decided once: the customer agreed at the bank or chose “Not now”, or something failed. Later and concurrent
 * requests from the interaction's own browser lead to the same outcome, so reloading, going back, posting twice and opening a
 * second tab change nothing.
 */
export function createInteractionFlow({
  provider,
  store,
  clients,
  consents,
  redirects,
  outcomes,
  world,
}: InteractionFlowDependencies) {
  return { load, decide, resolveConcurrentDecision, cancel, awaitDecision, resume }

  /** Loads the interaction in the request's path if it belongs to this browser and is undecided. */
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
    const organization = client && (await clients.organizations.find(client.organizationId))
    const requested = parseDetails(parameters)
    if (client?.status !== 'ACTIVE' || !organization || !requested) throw new GatewayError('INTERACTION_EXPIRED')
    const hint = parameters['id_token_hint']
    return {
      uid: interaction.uid,
      platform: organization.name,
      chat: requested.chat?.label,
      clientId: client.id,
      requested,
      parameters,
      // The provider verified the hint's signature and audience before the interaction began.
      expectedSubject: typeof hint === 'string' ? (unverifiedSubjectOf(hint) ?? '') : undefined,
      asksIfSameCustomer: hint === undefined && (await findSessionCustomer(provider, request)) !== undefined,
    }
  }

  /**
   * Decides the interaction and redirects to its authorization request. An error rejects the consent; if the consent is
   * already ACTIVE, the error comes too late and the existing outcome is shown. `cause` says who ended the consent, and is logged.
   */
  async function decide(uid: string, result: InteractionResults, cause?: RejectionReason): Promise<HttpResponse> {
    if ('error' in result && !(await consents.optIn.cancel(uid, cause))) return redirectOrShowOutcome(uid)
    const interaction = await provider.Interaction.find(uid)
    // Before the decision is stored, so that no request resumes the interaction without claiming it.
    await redirects.markDecided(uid)
    if (!interaction || !(await store.decideInteraction(uid, result))) return redirectOrShowOutcome(uid)
    // A concurrent step may have begun a sign-in since.
    if ('error' in result) await consents.optIn.rejectStarted(uid)
    return seeOther(interaction.returnTo)
  }

  /** If the interaction was decided meanwhile, rejects what a step began and returns the response for that decision. */
  async function resolveConcurrentDecision(uid: string): Promise<HttpResponse | undefined> {
    const interaction = await provider.Interaction.find(uid)
    if (interaction && !interaction.result) return undefined
    await consents.optIn.rejectStarted(uid)
    return interaction ? seeOther(interaction.returnTo) : redirectOrShowOutcome(uid)
  }

  /** Rejects the request because the customer chose “Not now”. Has no effect once the consent is ACTIVE. */
  async function cancel(request: HttpRequest): Promise<HttpResponse> {
    if (!isOwnInteraction(provider, request)) return otherBrowserPage()
    return decide(request.params['uid']!, {
      error: 'access_denied',
      error_description: 'the customer chose not to share',
    })
  }

  /** Waits for the decision or the next step of a concurrent request, then redirects to it. After the timeout it shows the waiting page. */
  async function awaitDecision(uid: string, url: string): Promise<HttpResponse> {
    const deadlineMs = world.timers.monotonicMs() + RETRIES.repeatedDecision.timeoutMs
    do {
      const interaction = await provider.Interaction.find(uid)
      if (!interaction) return redirectOrShowOutcome(uid)
      if (interaction.result) return seeOther(interaction.returnTo)
      // The consent was rejected outside the interaction, such as by the bank: no other request will decide it.
      const outcome = await consents.optIn.findOutcome(uid)
      if (outcome?.consent.status === 'REJECTED')
        return decide(uid, { error: 'access_denied', error_description: 'the consent can no longer be given' })
      // The other request has led to a further step.
      if (outcome?.consent.status === 'PENDING' && !outcome.isSignInClosed)
        return seeOther(`/interaction/${uid}/bank-sign-in`)
      await world.timers.sleep(RETRIES.repeatedDecision.delaysMs[0])
    } while (world.timers.monotonicMs() < deadlineMs)
    return waitingPage(url)
  }

  /** Redirects to the page that leads to the platform, or shows the outcome once that page has expired. */
  async function redirectOrShowOutcome(uid: string): Promise<HttpResponse> {
    const redirectUrl = await redirects.awaitPlatformRedirect(uid)
    return redirectUrl === undefined ? outcomes.page(uid) : seeOther(redirectUrl)
  }

  /**
   * Handles repeated requests to resume an authorization request, which the provider resumes only once. Returns undefined for
   * the request that the provider must handle, and for paths that resume nothing.
   */
  async function resume(request: HttpRequest): Promise<HttpResponse | undefined> {
    const uid = resumedInteractionUid(request)
    if (uid === undefined) return undefined
    if (isPrefetch(request)) return rejectPrefetch()
    const interaction = await provider.Interaction.find(uid)
    if (!interaction?.result) return seeOther(`/interaction/${uid}`)
    // The interaction's own page would redirect back here.
    if (!canResume(provider, request, uid)) return otherBrowserPage()
    const sessionUid = interaction.result['sessionUid']
    if (typeof sessionUid === 'string' && !(await store.isSessionActive(sessionUid))) return decide(uid, SESSION_ENDED)
    if (await redirects.claimResume(uid)) return undefined
    const redirectUrl = await redirects.awaitPlatformRedirect(uid)
    // If the request that claimed the resumption failed, this one tries again.
    return redirectUrl === undefined ? undefined : seeOther(redirectUrl)
  }
}

/** The customer was known only by a session, and that session has ended. */
const SESSION_ENDED: InteractionResults = {
  error: 'access_denied',
  error_description: 'the session in which the customer agreed has ended',
}

function unverifiedSubjectOf(idToken: string): string | undefined {
  const { sub } = decodePart(idToken, 1)
  return typeof sub === 'string' ? sub : undefined
}
