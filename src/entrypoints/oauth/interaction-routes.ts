import type { InteractionResults, Provider } from 'oidc-provider'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import { isCustomerScope } from '../../kernel/scopes.ts'
import type { PresentCustomer } from '../../kernel/request-context.ts'
import type { Banks } from '../../modules/banks/index.ts'
import { parseDays, type Consents, type CallbackFailure, type CompletedSignIn } from '../../modules/consents/index.ts'
import { ACCOUNT_INFORMATION } from './authorization-details.ts'
import { createLoginResult, findVerifiedSession } from './browser-session.ts'
import { bankPage, confirmationPage, sharingPage, type BankChoice } from './consent-pages.ts'
import type { RedirectPages } from './redirect-pages.ts'
import { isPrefetch, rejectPrefetch } from './prefetch.ts'
import { decodePart } from './unverified-jwt.ts'
import { problemPage } from './interaction-pages.ts'
import type { PendingInteraction, InteractionFlow } from './interaction-flow.ts'
import { scopesOfSwitches, type Agreement } from './texts.ts'

/** Dependencies of the consent pages. */
export interface InteractionDependencies {
  readonly provider: Provider
  readonly banks: Banks
  readonly consents: Consents
  readonly redirects: RedirectPages
  readonly flow: InteractionFlow
  readonly issuer: string
}

const MAX_FORM_BYTES = 8_192
/** In place of the customer's ID if `id_token_hint` names a subject that this client does not have. */
const UNKNOWN_CUSTOMER = ''

/** The consent pages: choose a bank, see what is shared, go to the bank, come back. */
export function interactionRoutes({
  provider,
  banks,
  consents,
  redirects,
  flow,
  issuer,
}: InteractionDependencies): Route[] {
  return [
    route(
      'GET',
      '/interaction/{uid}',
      withInteraction(async (_request, interaction) =>
        bankPage(
          interaction,
          interaction.requested.actions,
          await banks.connectableBanks(),
          interaction.requested.bank,
        ),
      ),
    ),
    route('POST', '/interaction/{uid}/bank', withDecisionForm(chooseBank)),
    route(
      'GET',
      '/interaction/{uid}/sharing',
      withInteraction(async ({ url }, interaction) =>
        sharingPage(interaction, await parseBankChoice(url.searchParams), requestedAgreement(interaction)),
      ),
    ),
    route('POST', '/interaction/{uid}/sharing', withDecisionForm(chooseSharing)),
    route(
      'GET',
      '/interaction/{uid}/leave',
      withInteraction(async ({ url: { searchParams } }, interaction) =>
        confirmationPage(
          interaction,
          await parseBankChoice(searchParams),
          parseAgreement(interaction, searchParams),
          searchParams.getAll('share'),
          parseDays(searchParams.get('days')),
        ),
      ),
    ),
    route('POST', '/interaction/{uid}/leave', withDecisionForm(startBankSignIn)),
    route('GET', '/interaction/{uid}/return', exceptPrefetch(withInteraction(completeBankSignIn))),
    route('GET POST', '/bank/callback', callback),
  ]

  function withInteraction(
    handle: (request: HttpRequest, interaction: PendingInteraction) => Promise<HttpResponse>,
  ): Route['handle'] {
    return withErrorPage(async (request) => {
      const loaded = await flow.load(request)
      return 'interaction' in loaded ? handle(request, loaded.interaction) : loaded.reply
    })
  }

  function withDecisionForm(
    handle: (request: HttpRequest, interaction: PendingInteraction, form: URLSearchParams) => Promise<HttpResponse>,
  ): Route['handle'] {
    return withErrorPage(async (request) => {
      const { origin } = request.headers
      if (origin !== undefined && origin !== issuer)
        throw new GatewayError('FORBIDDEN', { internalMessage: 'form posted from another origin' })
      const form = new URLSearchParams(await request.body(MAX_FORM_BYTES))
      if (form.get('decision') !== 'go') return flow.cancel(request)
      const loaded = await flow.load(request)
      return 'interaction' in loaded ? handle(request, loaded.interaction, form) : loaded.reply
    })
  }

  function withErrorPage(handle: Route['handle']): Route['handle'] {
    return async (request) => {
      try {
        return await handle(request)
      } catch (thrown) {
        return problemPage(toGatewayError(thrown))
      }
    }
  }

  /** Reads the choices of the first page, which the later pages carry on. */
  async function parseBankChoice(fields: URLSearchParams): Promise<BankChoice> {
    return { bank: await findConnectableBank(fields.get('bank')), isSameCustomer: fields.get('same') === 'yes' }
  }

  function chooseBank(
    _request: HttpRequest,
    interaction: PendingInteraction,
    form: URLSearchParams,
  ): Promise<HttpResponse> {
    const chosen = new URLSearchParams({ bank: form.get('bank') ?? '', same: form.get('same') ?? '' })
    return Promise.resolve(seeOther(`/interaction/${interaction.uid}/sharing?${chosen.toString()}`))
  }

  async function chooseSharing(
    _request: HttpRequest,
    interaction: PendingInteraction,
    form: URLSearchParams,
  ): Promise<HttpResponse> {
    if (parseAgreement(interaction, form).scopes.length === 0) return nothingSelectedPage(interaction, form)
    const chosen = new URLSearchParams()
    for (const name of ['bank', 'same', 'days']) chosen.set(name, form.get(name) ?? '')
    for (const share of form.getAll('share')) chosen.append('share', share)
    return seeOther(`/interaction/${interaction.uid}/leave?${chosen.toString()}`)
  }

  async function nothingSelectedPage(interaction: PendingInteraction, form: URLSearchParams): Promise<HttpResponse> {
    return sharingPage(interaction, await parseBankChoice(form), requestedAgreement(interaction), true)
  }

  async function findConnectableBank(id: string | null) {
    const bank = (await banks.connectableBanks()).find((connectable) => connectable.id === id)
    if (!bank) throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'not a connectable bank' })
    return bank
  }

  /** Creates the PENDING consent here and at the bank, and redirects the customer to the bank. */
  async function startBankSignIn(
    request: HttpRequest,
    interaction: PendingInteraction,
    form: URLSearchParams,
  ): Promise<HttpResponse> {
    const agreement = parseAgreement(interaction, form)
    if (agreement.scopes.length === 0) return nothingSelectedPage(interaction, form)
    if ((await findExpectedCustomer(interaction)) === UNKNOWN_CUSTOMER)
      return flow.decide(interaction.uid, UNEXPECTED_CUSTOMER, { code: 'UNEXPECTED_CUSTOMER' })
    try {
      const { url } = await consents.optIn.start({
        clientId: interaction.clientId,
        bankId: form.get('bank') ?? '',
        ...agreement,
        days: parseDays(form.get('days')),
        interactionUid: interaction.uid,
        claimsSameCustomer: form.get('same') === 'yes',
        customer: statedCustomerOf(request),
      })
      const concurrentReply = await flow.resolveConcurrentDecision(interaction.uid)
      if (concurrentReply) return concurrentReply
      const bank = await findConnectableBank(form.get('bank'))
      return await redirects.redirectToBank(interaction.uid, bank.name, url)
    } catch (thrown) {
      const error = toGatewayError(thrown)
      if (error.code === 'INTERACTION_EXPIRED')
        return flow.awaitDecision(interaction.uid, `/interaction/${interaction.uid}`)
      return flow.decide(interaction.uid, toOauthError(error), error)
    }
  }

  /** The redirect URI for banks. Redirects to the interaction's own path, because its cookie is sent only there. */
  async function callback(request: HttpRequest): Promise<HttpResponse> {
    try {
      const parameters =
        request.method === 'POST' ? new URLSearchParams(await request.body(MAX_FORM_BYTES)) : request.url.searchParams
      const uid = await consents.optIn.findInteraction(parseState(parameters))
      return seeOther(`/interaction/${uid}/return?${parameters.toString()}`)
    } catch (thrown) {
      return problemPage(toGatewayError(thrown))
    }
  }

  /** Completes the sign-in at the bank. The consent becomes ACTIVE only when the provider issues the authorization code. */
  async function completeBankSignIn(request: HttpRequest, interaction: PendingInteraction): Promise<HttpResponse> {
    let signInResult: CompletedSignIn | CallbackFailure
    const session = await findVerifiedSession(provider, request)
    try {
      signInResult = await consents.optIn.complete({
        url: new URL(`${issuer}/bank/callback?${request.url.searchParams.toString()}`),
        state: parseState(request.url.searchParams),
        interactionUid: interaction.uid,
        customer: statedCustomerOf(request),
        sessionCustomerId: session?.customerId,
        expectedCustomerId: await findExpectedCustomer(interaction),
      })
    } catch (thrown) {
      const error = toGatewayError(thrown)
      if (error.code === 'INTERACTION_EXPIRED') throw error
      return flow.decide(interaction.uid, toOauthError(error), error)
    }
    if (signInResult === 'ALREADY_HANDLED')
      return flow.awaitDecision(interaction.uid, request.url.pathname + request.url.search)
    if (typeof signInResult === 'string')
      return flow.decide(interaction.uid, RETURN_FAILURES[signInResult], { code: signInResult })
    const { consent, canOpenSession, isProvenBySession } = signInResult
    if (!(await consents.optIn.isPending(consent.id)))
      return flow.awaitDecision(interaction.uid, `/interaction/${interaction.uid}`)
    return flow.decide(interaction.uid, {
      login: createLoginResult(consent.customerId, canOpenSession),
      consent: { grantId: await createGrant(consent, interaction) },
      ...(isProvenBySession && session && { sessionUid: session.uid }),
    })
  }

  /** Creates the provider's grant for a consent. Requested scopes that the customer did not agree to are rejected in it. */
  async function createGrant(consent: CompletedSignIn['consent'], interaction: PendingInteraction): Promise<string> {
    const grant = new provider.Grant({
      jti: consent.oauthGrantId,
      accountId: consent.customerId,
      clientId: interaction.clientId,
    } as object)
    const requested = String(interaction.parameters['scope']).split(' ')
    grant.addOIDCScope(['openid', 'offline_access'].filter((scope) => requested.includes(scope)).join(' '))
    const resource = `${issuer}/graphql`
    grant.addResourceScope(resource, consent.scopes.join(' '))
    // Each requested scope must be granted or rejected, or the provider would prompt again.
    const rejectedScopes = requested.filter(isCustomerScope).filter((scope) => !consent.scopes.includes(scope))
    if (rejectedScopes.length > 0) grant.rejectResourceScope(resource, rejectedScopes.join(' '))
    ;(grant as unknown as { addRar(detail: unknown): void }).addRar({
      type: ACCOUNT_INFORMATION,
      actions: consent.scopes,
      purposes: consent.purposes,
      bank: consent.bankId,
    })
    return grant.save()
  }

  /** The customer whom `id_token_hint` names; a hint proves nothing about who uses the browser. */
  async function findExpectedCustomer({ clientId, expectedSubject }: PendingInteraction): Promise<string | undefined> {
    return expectedSubject === undefined
      ? undefined
      : ((await consents.findCustomerBySubject(clientId, expectedSubject)) ?? UNKNOWN_CUSTOMER)
  }
}

const requestedAgreement = ({ requested: { actions, purposes } }: PendingInteraction): Agreement => ({
  scopes: actions,
  purposes,
})

/** The agreement that the switches of a form or a query select. */
const parseAgreement = (
  { requested: { actions, purposes } }: PendingInteraction,
  fields: URLSearchParams,
): Agreement => ({
  scopes: scopesOfSwitches(actions, fields.getAll('share')),
  purposes,
})

/** Rejects prefetches of a step that can be taken only once. */
const exceptPrefetch =
  (handle: Route['handle']): Route['handle'] =>
  (request) =>
    isPrefetch(request) ? rejectPrefetch() : handle(request)

/** The customer is present, because their browser requests the page. */
const statedCustomerOf = ({ remoteAddress, headers }: HttpRequest): PresentCustomer => ({
  ip: remoteAddress,
  userAgent: /^[\x20-\x7e]{1,256}$/.test(headers['user-agent'] ?? '') ? headers['user-agent']! : null,
})

/** Another person signed in than the platform expects (OpenID Connect Core 1.0, 3.1.2.1, `id_token_hint`). */
const UNEXPECTED_CUSTOMER: InteractionResults = {
  error: 'login_required',
  error_description: 'the person who signed in is not the one that id_token_hint names',
}

const RETURN_FAILURES: Readonly<Record<Exclude<CallbackFailure, 'ALREADY_HANDLED'>, InteractionResults>> = {
  UNEXPECTED_CUSTOMER,
  SIGN_IN_EXPIRED: { error: 'access_denied', error_description: 'the sign-in at the bank took too long' },
}

/** The OAuth error for a consent that was not given. */
function toOauthError(error: GatewayError): InteractionResults {
  if (error.code === 'BANK_REFUSED')
    return { error: 'access_denied', error_description: 'the customer or the bank refused' }
  if (error.definition.category === 'BANK')
    return { error: 'temporarily_unavailable', error_description: 'the bank cannot be reached' }
  return { error: 'server_error', error_description: 'something went wrong' }
}

/** The `state` in a bank's callback, plain or inside a signed response (JARM). The response is verified later. */
function parseState(parameters: URLSearchParams): string {
  const queryState = parameters.get('state')
  if (queryState !== null) return queryState
  const state = decodePart(parameters.get('response') ?? '', 1)['state']
  if (typeof state !== 'string') throw new GatewayError('INTERACTION_EXPIRED')
  return state
}
