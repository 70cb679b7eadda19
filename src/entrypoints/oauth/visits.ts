import { setTimeout as sleep } from 'node:timers/promises'
import type { InteractionResults, Provider } from 'oidc-provider'
import { SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { seeOther, type HttpReply, type HttpRequest } from '../../kernel/http.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Consents } from '../../modules/consents/index.ts'
import { readDetails, type AccountInformation } from './authorization-details.ts'
import { isOwnVisit, mayResume, resumedVisit, sessionCustomer, type Interaction } from './browser-session.ts'
import type { Visit } from './consent-pages.ts'
import { looksAhead, refuseLookAhead } from './look-ahead.ts'
import type { RedirectPages } from './redirect-pages.ts'
import type { OauthStore } from './store.ts'
import type { VisitOutcomes } from './visit-outcome.ts'
import { otherBrowserPage, waitingPage } from './visit-pages.ts'
import { partOf } from './unverified-jwt.ts'

/** What visits are kept by. */
export interface VisitsDependencies {
  readonly provider: Provider
  readonly store: OauthStore
  readonly clients: Clients
  readonly consents: Consents
  readonly redirects: RedirectPages
  readonly outcomes: VisitOutcomes
}

/** A visit that is not decided yet, with what was requested. */
export interface OpenVisit extends Visit {
  readonly clientId: string
  readonly wanted: AccountInformation
  readonly parameters: Readonly<Record<string, unknown>>
  /** The subject whom the platform expects (`id_token_hint`), as this client knows them. */
  readonly expectedSubject: string | undefined
}

/** A step of a visit, or what answers in its place. */
export type Opened = { readonly visit: OpenVisit } | { readonly reply: HttpReply }

/** How long a repeated step waits for the first one, which waits for the bank. */
const DECISION_MS = 20 * SECOND_MS
const POLL_MS = 100

/** Visits of the consent pages, from the first page to the way back to the platform. */
export type Visits = ReturnType<typeof createVisits>

/**
 * A visit is decided once: its customer agreed at the bank, said “Not now”, or something failed. Every request of the visit's own
 * browser that comes later, or at the same time, leads to the same end, whichever page it is of; so loading again, going
 * back, posting twice and a second tab change nothing.
 */
export function createVisits({ provider, store, clients, consents, redirects, outcomes }: VisitsDependencies) {
  return { open, decide, decidedMeanwhile, cancel, awaitDecision, resume }

  /** The visit of the request's path, where it is this browser's and not decided. */
  async function open(request: HttpRequest): Promise<Opened> {
    if (!isOwnVisit(provider, request)) return { reply: otherBrowserPage() }
    const uid = request.params['uid']!
    const interaction = await provider.Interaction.find(uid)
    if (!interaction) return { reply: await end(uid) }
    if (interaction.result) return { reply: seeOther(interaction.returnTo) }
    return { visit: await visitOf(interaction, request) }
  }

  async function visitOf(interaction: Interaction, request: HttpRequest): Promise<OpenVisit> {
    const parameters = interaction.params
    const client = await clients.find(String(parameters['client_id']))
    const platform = client && (await clients.platform(client.platformId))
    const wanted = readDetails(parameters)
    if (client?.status !== 'ACTIVE' || !platform || !wanted) throw new GatewayError('INTERACTION_EXPIRED')
    const hint = parameters['id_token_hint']
    return {
      uid: interaction.uid,
      platform: platform.name,
      chat: wanted.chat?.label,
      clientId: client.id,
      wanted,
      parameters,
      // The provider verified the hint's signature and audience before the visit began.
      expectedSubject: typeof hint === 'string' ? (subjectOf(hint) ?? '') : undefined,
      asksWhoItIs: hint === undefined && (await sessionCustomer(provider, request)) !== undefined,
    }
  }

  /**
   * Decides the visit and goes back to the authorization request. An error leaves no consent behind; where the consent has
   * come about already, it is too late for the error, and the visit leads to where it led. `why` is for the log.
   */
  async function decide(uid: string, result: InteractionResults, why?: GatewayError): Promise<HttpReply> {
    if ('error' in result && !(await consents.abandonVisit(uid, why))) return end(uid)
    const interaction = await provider.Interaction.find(uid)
    // Before the decision, so that nobody resumes a visit without having taken its way back.
    await redirects.decided(uid)
    if (!interaction || !(await store.decideVisit(uid, result))) return end(uid)
    // A step that was under way may have begun a sign-in since.
    if ('error' in result) await consents.rejectBegun(uid)
    return seeOther(interaction.returnTo)
  }

  /** Ends what a step has begun in a visit that was decided meanwhile, and leads to where that leads. */
  async function decidedMeanwhile(uid: string): Promise<HttpReply | undefined> {
    const interaction = await provider.Interaction.find(uid)
    if (interaction && !interaction.result) return undefined
    await consents.rejectBegun(uid)
    return interaction ? seeOther(interaction.returnTo) : end(uid)
  }

  /** The customer chose not to share: possible until the consent is ACTIVE. */
  async function cancel(request: HttpRequest): Promise<HttpReply> {
    if (!isOwnVisit(provider, request)) return otherBrowserPage()
    return decide(request.params['uid']!, {
      error: 'access_denied',
      error_description: 'the customer chose not to share',
    })
  }

  /** Leads to where another request of the visit leads, which is waited for where it waits for the bank. */
  async function awaitDecision(uid: string, address: string): Promise<HttpReply> {
    const giveUpAt = performance.now() + DECISION_MS
    do {
      const interaction = await provider.Interaction.find(uid)
      if (!interaction) return end(uid)
      if (interaction.result) return seeOther(interaction.returnTo)
      // Rejected by somebody else than a request of the visit, such as the bank: nobody else will decide it.
      if ((await consents.outcomeOf(uid))?.consent.status === 'REJECTED')
        return decide(uid, { error: 'access_denied', error_description: 'the consent cannot be given any more' })
      await sleep(POLL_MS)
    } while (performance.now() < giveUpAt)
    return waitingPage(address)
  }

  /** The way back to the platform while that leads anywhere, and what the visit has come to after that. */
  async function end(uid: string): Promise<HttpReply> {
    const onward = await redirects.wayBack(uid)
    return onward === undefined ? outcomes.page(uid) : seeOther(onward)
  }

  /**
   * What answers in place of the provider, which resumes an authorization request once only: undefined for the one request
   * that it is to answer, and for addresses that resume none.
   */
  async function resume(request: HttpRequest): Promise<HttpReply | undefined> {
    const uid = resumedVisit(request)
    if (uid === undefined) return undefined
    if (looksAhead(request)) return refuseLookAhead()
    const interaction = await provider.Interaction.find(uid)
    if (!interaction?.result) return seeOther(`/interaction/${uid}`)
    // The visit's own page would lead back to here.
    if (!mayResume(provider, request, uid)) return otherBrowserPage()
    const sessionUid = interaction.result['sessionUid']
    if (typeof sessionUid === 'string' && !(await store.isSessionOpen(sessionUid))) return decide(uid, SESSION_ENDED)
    if (await redirects.takeWayBack(uid)) return undefined
    const onward = await redirects.wayBack(uid)
    // Where the request that took the way back has got nowhere, this one tries.
    return onward === undefined ? undefined : seeOther(onward)
  }
}

/** Only a session proved who the customer is, and it has ended. */
const SESSION_ENDED: InteractionResults = {
  error: 'access_denied',
  error_description: 'the session that this visit was decided in has ended',
}

function subjectOf(idToken: string): string | undefined {
  const { sub } = partOf(idToken, 1)
  return typeof sub === 'string' ? sub : undefined
}
