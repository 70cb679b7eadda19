import type { InteractionResults, Provider } from 'oidc-provider'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import { seeOther, temporaryRedirect, type HttpRequest, type HttpResponse } from '../../kernel/http.ts'
import { BANK_CALLBACK_PATH, type Banks } from '../../modules/banks/index.ts'
import {
  parseDays,
  type CompletedSignIn,
  type Consents,
  type Continuation,
  type SignInFailure,
  type SignInView,
} from '../../modules/consents/index.ts'
import { createLoginResult, findVerifiedSession } from './browser-session.ts'
import { receiveForCertification } from './certification-routes.ts'
import { findConnectableBank, parseAgreement, parseBankChoice, requestedAgreement } from './consent-choices.ts'
import { sharingPage } from './consent-pages.ts'
import { fragmentPage } from './fragment-page.ts'
import type { InteractionFlow, PendingInteraction } from './interaction-flow.ts'
import { problemPage } from './interaction-pages.ts'
import { presentCustomerOf } from './present-customer.ts'
import { createProviderGrant } from './provider-grant.ts'
import type { RedirectPages } from './redirect-pages.ts'
import { MAX_FORM_BYTES, parseValues, signInStepPage } from './sign-in-pages.ts'
import { decodePart } from './unverified-jwt.ts'

/** Dependencies of the sign-in at the bank. */
export interface BankSignInDependencies {
  readonly provider: Provider
  readonly banks: Banks
  readonly consents: Consents
  readonly redirects: RedirectPages
  readonly flow: InteractionFlow
  readonly issuer: string
}

/** In place of the customer's ID if `id_token_hint` names a subject that this client does not have. */
const UNKNOWN_CUSTOMER = ''

/** What continues a sign-in, without what is known of the request. */
type ContinuationParts = ContinuationPartsOf<Continuation>
type ContinuationPartsOf<T> = T extends Continuation
  ? Omit<T, 'interactionUid' | 'customer' | 'sessionCustomerId' | 'expectedCustomerId'>
  : never

/** Leads the customer through the steps of the sign-in at the bank, and completes the consent after the last one. */
export function createBankSignIn({ provider, banks, consents, redirects, flow, issuer }: BankSignInDependencies) {
  return { startBankSignIn, callback, completeBankSignIn, showStep, submitStep }

  /**
   * Creates the PENDING consent, begins the sign-in at the bank, and redirects to its first step. Throws `PLATFORM_NOT_ALLOWED` if
   * the bank does not serve the platform: then the customer can choose another bank.
   */
  async function startBankSignIn(
    request: HttpRequest,
    interaction: PendingInteraction,
    form: URLSearchParams,
  ): Promise<HttpResponse> {
    const agreement = parseAgreement(interaction, form)
    if (agreement.scopes.length === 0)
      return sharingPage(
        interaction,
        await parseBankChoice(banks, interaction, form),
        requestedAgreement(interaction),
        true,
      )
    if ((await findExpectedCustomer(interaction)) === UNKNOWN_CUSTOMER)
      return flow.decide(interaction.uid, UNEXPECTED_CUSTOMER, { code: 'UNEXPECTED_CUSTOMER' })
    try {
      const step = await consents.optIn.start({
        clientId: interaction.clientId,
        bankId: form.get('bank') ?? '',
        ...agreement,
        days: parseDays(form.get('days')),
        interactionUid: interaction.uid,
        claimsSameCustomer: form.get('same') === 'yes',
        customer: presentCustomerOf(request),
      })
      const concurrentReply = await flow.resolveConcurrentDecision(interaction.uid)
      if (concurrentReply) return concurrentReply
      const bank = await findConnectableBank(banks, interaction, form.get('bank'))
      return await redirectToStep(interaction, bank.name, step)
    } catch (thrown) {
      const error = toGatewayError(thrown)
      if (error.code === 'INTERACTION_EXPIRED')
        return flow.awaitDecision(interaction.uid, `/interaction/${interaction.uid}`)
      // The customer can choose another bank, unless the sign-in of this one had begun.
      const isSignInClosed = (await consents.optIn.findOutcome(interaction.uid))?.isSignInClosed ?? false
      if (error.code === 'PLATFORM_NOT_ALLOWED' && !isSignInClosed) throw error
      return flow.decide(interaction.uid, toOauthError(error), error)
    }
  }

  /** The redirect URI for banks. Redirects to the interaction's own path, because its cookie is sent only there. */
  async function callback(request: HttpRequest): Promise<HttpResponse> {
    try {
      const parameters = await readCallback(request)
      if (request.method === 'GET' && parameters.size === 0) return fragmentPage()
      const state = parseState(parameters)
      const reply = await receiveForCertification({ banks, issuer }, request, state, parameters)
      if (reply) return reply
      const uid = await consents.optIn.findInteraction(state)
      const path = `/interaction/${uid}/return`
      // What a bank returned in the fragment is in no address that a browser remembers or a proxy logs.
      return request.method === 'POST' ? temporaryRedirect(path) : seeOther(`${path}?${parameters.toString()}`)
    } catch (thrown) {
      return problemPage(toGatewayError(thrown))
    }
  }

  /** Continues the sign-in when the customer returns from the bank. */
  async function completeBankSignIn(request: HttpRequest, interaction: PendingInteraction): Promise<HttpResponse> {
    const parameters = await readCallback(request)
    return continueSignIn(request, interaction, {
      kind: 'CALLBACK',
      url: new URL(`${issuer}${BANK_CALLBACK_PATH}?${parameters.toString()}`),
      state: parseState(parameters),
    })
  }

  /** The page of the present step. While the customer waits, asks the bank whether it has got on. */
  function showStep(request: HttpRequest, interaction: PendingInteraction): Promise<HttpResponse> {
    return continueSignIn(request, interaction, { kind: 'POLL' })
  }

  /** Continues the sign-in with a form that the customer filled in. */
  function submitStep(
    request: HttpRequest,
    interaction: PendingInteraction,
    form: URLSearchParams,
  ): Promise<HttpResponse> {
    return continueSignIn(request, interaction, { kind: 'FORM', ...parseValues(form) })
  }

  /** Takes one step. The consent becomes ACTIVE only when the provider issues the authorization code. */
  async function continueSignIn(
    request: HttpRequest,
    interaction: PendingInteraction,
    continuation: ContinuationParts,
  ): Promise<HttpResponse> {
    let result: CompletedSignIn | SignInView | SignInFailure
    const session = await findVerifiedSession(provider, request)
    try {
      result = await consents.optIn.continueSignIn({
        ...continuation,
        interactionUid: interaction.uid,
        customer: presentCustomerOf(request),
        sessionCustomerId: session?.customerId,
        expectedCustomerId: await findExpectedCustomer(interaction),
      })
    } catch (thrown) {
      const error = toGatewayError(thrown)
      if (error.code === 'INTERACTION_EXPIRED') throw error
      return flow.decide(interaction.uid, toOauthError(error), error)
    }
    if (result === 'ALREADY_HANDLED')
      return flow.awaitDecision(interaction.uid, request.url.pathname + request.url.search)
    if (typeof result === 'string') return flow.decide(interaction.uid, SIGN_IN_FAILURES[result], { code: result })
    if ('kind' in result) return respondWithStep(request, interaction, result)
    const { consent, canOpenSession, isProvenBySession } = result
    if (!(await consents.optIn.isPending(consent.id)))
      return flow.awaitDecision(interaction.uid, `/interaction/${interaction.uid}`)
    return flow.decide(interaction.uid, {
      login: createLoginResult(consent.customerId, canOpenSession),
      consent: { grantId: await createProviderGrant(provider, issuer, consent, interaction) },
      ...(isProvenBySession && session && { sessionUid: session.uid }),
    })
  }

  /** The page of a step if it was requested, or else a redirect to the step. */
  async function respondWithStep(
    { method, url }: HttpRequest,
    interaction: PendingInteraction,
    step: SignInView,
  ): Promise<HttpResponse> {
    const bankId = (await consents.optIn.findOutcome(interaction.uid))?.consent.bankId ?? ''
    const bankName = (await banks.findBank(bankId))?.name ?? ''
    const path = stepPath(interaction)
    return step.kind !== 'REDIRECT' && method === 'GET' && url.pathname === path
      ? signInStepPage({ bankName, path, position: 'Step 3 of 3' }, step)
      : redirectToStep(interaction, bankName, step)
  }

  /** Redirects to the page of a step, or to the bank. */
  async function redirectToStep(
    interaction: PendingInteraction,
    bankName: string,
    step: SignInView,
  ): Promise<HttpResponse> {
    return step.kind === 'REDIRECT'
      ? redirects.redirectToBank(interaction.uid, bankName, step.url)
      : seeOther(stepPath(interaction))
  }

  /** The customer whom `id_token_hint` names; a hint proves nothing about who uses the browser. */
  async function findExpectedCustomer({ clientId, expectedSubject }: PendingInteraction): Promise<string | undefined> {
    return expectedSubject === undefined
      ? undefined
      : ((await consents.findCustomerBySubject(clientId, expectedSubject)) ?? UNKNOWN_CUSTOMER)
  }
}

/** Another person signed in than the platform expects (OpenID Connect Core 1.0, 3.1.2.1, `id_token_hint`). */
const UNEXPECTED_CUSTOMER: InteractionResults = {
  error: 'login_required',
  error_description: 'the person who signed in is not the one that id_token_hint names',
}

const stepPath = ({ uid }: PendingInteraction): string => `/interaction/${uid}/bank-sign-in`

const SIGN_IN_FAILURES: Readonly<Record<Exclude<SignInFailure, 'ALREADY_HANDLED'>, InteractionResults>> = {
  UNEXPECTED_CUSTOMER,
  SIGN_IN_EXPIRED: { error: 'access_denied', error_description: 'the sign-in at the bank took too long' },
}

/** The OAuth error for a consent that was not given. */
function toOauthError(error: GatewayError): InteractionResults {
  if (error.code === 'BANK_REFUSED')
    return { error: 'access_denied', error_description: 'the customer or the bank refused' }
  if (error.code === 'PLATFORM_NOT_ALLOWED')
    return { error: 'access_denied', error_description: 'the bank does not serve this platform' }
  if (error.definition.category === 'BANK')
    return { error: 'temporarily_unavailable', error_description: 'the bank cannot be reached' }
  return { error: 'server_error', error_description: 'something went wrong' }
}

/** The parameters that a bank returned: in the query, or posted by the page for fragments. */
const readCallback = async (request: HttpRequest): Promise<URLSearchParams> =>
  request.method === 'POST' ? new URLSearchParams(await request.body(MAX_FORM_BYTES)) : request.url.searchParams

/** The `state` in a bank's callback, plain or inside a signed response (JARM). The response is verified later. */
function parseState(parameters: URLSearchParams): string {
  const queryState = parameters.get('state')
  if (queryState !== null) return queryState
  const state = decodePart(parameters.get('response') ?? '', 1)['state']
  if (typeof state !== 'string') throw new GatewayError('INTERACTION_EXPIRED')
  return state
}
