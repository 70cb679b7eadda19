import type { InteractionResults, Provider } from 'oidc-provider'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import { isCustomerScope } from '../../kernel/scopes.ts'
import type { StatedCustomer } from '../../kernel/request.ts'
import type { Banks } from '../../modules/banks/index.ts'
import { readDays, type Consents, type ReturnFailure, type SignedIn } from '../../modules/consents/index.ts'
import { ACCOUNT_INFORMATION } from './authorization-details.ts'
import { loginOf, provenSession } from './browser-session.ts'
import { bankPage, leavingPage, sharingPage, type Chosen } from './consent-pages.ts'
import type { RedirectPages } from './redirect-pages.ts'
import { looksAhead, refuseLookAhead } from './look-ahead.ts'
import { partOf } from './unverified-jwt.ts'
import { problemPage } from './visit-pages.ts'
import type { OpenVisit, Visits } from './visits.ts'
import { switchedOn, type Agreed } from './words.ts'

/** What the consent pages need. */
export interface InteractionDependencies {
  readonly provider: Provider
  readonly banks: Banks
  readonly consents: Consents
  readonly redirects: RedirectPages
  readonly visits: Visits
  readonly issuer: string
}

const MAX_FORM_BYTES = 8_192
/** Stands for the customer of a subject that this client does not have. */
const NOBODY = ''

/** The consent pages: choose a bank, see what is shared, go to the bank, come back. */
export function interactionRoutes({
  provider,
  banks,
  consents,
  redirects,
  visits,
  issuer,
}: InteractionDependencies): Route[] {
  return [
    route(
      'GET',
      '/interaction/{uid}',
      visiting(async (_request, visit) => bankPage(visit, visit.wanted.actions, await banks.live(), visit.wanted.bank)),
    ),
    route('POST', '/interaction/{uid}/bank', deciding(chooseBank)),
    route(
      'GET',
      '/interaction/{uid}/sharing',
      visiting(async ({ url }, visit) => sharingPage(visit, await chosenIn(url.searchParams), requestedIn(visit))),
    ),
    route('POST', '/interaction/{uid}/sharing', deciding(chooseSharing)),
    route(
      'GET',
      '/interaction/{uid}/leave',
      visiting(async ({ url: { searchParams } }, visit) =>
        leavingPage(
          visit,
          await chosenIn(searchParams),
          agreedBy(visit, searchParams),
          searchParams.getAll('share'),
          readDays(searchParams.get('days')),
        ),
      ),
    ),
    route('POST', '/interaction/{uid}/leave', deciding(leave)),
    route('GET', '/interaction/{uid}/return', unlessAhead(visiting(comeBack))),
    route('GET POST', '/bank/callback', callback),
  ]

  function visiting(handle: (request: HttpRequest, visit: OpenVisit) => Promise<HttpReply>): Route['handle'] {
    return safely(async (request) => {
      const opened = await visits.open(request)
      return 'visit' in opened ? handle(request, opened.visit) : opened.reply
    })
  }

  function deciding(
    handle: (request: HttpRequest, visit: OpenVisit, form: URLSearchParams) => Promise<HttpReply>,
  ): Route['handle'] {
    return safely(async (request) => {
      const { origin } = request.headers
      if (origin !== undefined && origin !== issuer)
        throw new GatewayError('FORBIDDEN', { internal: 'form of another origin' })
      const form = new URLSearchParams(await request.body(MAX_FORM_BYTES))
      if (form.get('decision') !== 'go') return visits.cancel(request)
      const opened = await visits.open(request)
      return 'visit' in opened ? handle(request, opened.visit, form) : opened.reply
    })
  }

  function safely(handle: Route['handle']): Route['handle'] {
    return async (request) => {
      try {
        return await handle(request)
      } catch (thrown) {
        return problemPage(asGatewayError(thrown))
      }
    }
  }

  /** What was chosen on the first page, carried on by the later ones. */
  async function chosenIn(fields: URLSearchParams): Promise<Chosen> {
    return { bank: await liveBank(fields.get('bank')), same: fields.get('same') === 'yes' }
  }

  function chooseBank(_request: HttpRequest, visit: OpenVisit, form: URLSearchParams): Promise<HttpReply> {
    const chosen = new URLSearchParams({ bank: form.get('bank') ?? '', same: form.get('same') ?? '' })
    return Promise.resolve(seeOther(`/interaction/${visit.uid}/sharing?${chosen.toString()}`))
  }

  async function chooseSharing(_request: HttpRequest, visit: OpenVisit, form: URLSearchParams): Promise<HttpReply> {
    if (agreedBy(visit, form).scopes.length === 0) return nothingOn(visit, form)
    const chosen = new URLSearchParams()
    for (const name of ['bank', 'same', 'days']) chosen.set(name, form.get(name) ?? '')
    for (const share of form.getAll('share')) chosen.append('share', share)
    return seeOther(`/interaction/${visit.uid}/leave?${chosen.toString()}`)
  }

  async function nothingOn(visit: OpenVisit, form: URLSearchParams): Promise<HttpReply> {
    return sharingPage(visit, await chosenIn(form), requestedIn(visit), true)
  }

  async function liveBank(id: string | null) {
    const bank = (await banks.live()).find((one) => one.id === id)
    if (!bank) throw new GatewayError('BANK_UNAVAILABLE', { internal: 'not a live bank' })
    return bank
  }

  /** Creates the consent, here as PENDING and at the bank, and sends the customer there. */
  async function leave(request: HttpRequest, visit: OpenVisit, form: URLSearchParams): Promise<HttpReply> {
    const agreed = agreedBy(visit, form)
    if (agreed.scopes.length === 0) return nothingOn(visit, form)
    if ((await expectedCustomer(visit)) === NOBODY) return visits.decide(visit.uid, UNEXPECTED_CUSTOMER)
    try {
      const { url } = await consents.begin({
        clientId: visit.clientId,
        bankId: form.get('bank') ?? '',
        ...agreed,
        days: readDays(form.get('days')),
        interactionUid: visit.uid,
        saysSame: form.get('same') === 'yes',
        customer: presentAt(request),
      })
      const decided = await visits.decidedMeanwhile(visit.uid)
      if (decided) return decided
      const bank = await liveBank(form.get('bank'))
      return await redirects.toBank(visit.uid, bank.name, url)
    } catch (thrown) {
      const error = asGatewayError(thrown)
      if (error.code === 'INTERACTION_EXPIRED') return visits.awaitDecision(visit.uid, `/interaction/${visit.uid}`)
      return visits.decide(visit.uid, failure(error), error)
    }
  }

  /** Where banks send customers back. The visit's cookie lies under its own path, so the customer is sent on first. */
  async function callback(request: HttpRequest): Promise<HttpReply> {
    try {
      const parameters =
        request.method === 'POST' ? new URLSearchParams(await request.body(MAX_FORM_BYTES)) : request.url.searchParams
      const uid = await consents.interactionOf(stateOf(parameters))
      return seeOther(`/interaction/${uid}/return?${parameters.toString()}`)
    } catch (thrown) {
      return problemPage(asGatewayError(thrown))
    }
  }

  /** Takes the customer back from the bank, and leaves it to the code that the provider issues to make the consent ACTIVE. */
  async function comeBack(request: HttpRequest, visit: OpenVisit): Promise<HttpReply> {
    let back: SignedIn | ReturnFailure
    const session = await provenSession(provider, request)
    try {
      back = await consents.complete({
        callback: new URL(`${issuer}/bank/callback?${request.url.searchParams.toString()}`),
        state: stateOf(request.url.searchParams),
        interactionUid: visit.uid,
        customer: presentAt(request),
        sessionCustomer: session?.customerId,
        expectedCustomer: await expectedCustomer(visit),
      })
    } catch (thrown) {
      const error = asGatewayError(thrown)
      if (error.code === 'INTERACTION_EXPIRED') throw error
      return visits.decide(visit.uid, failure(error), error)
    }
    if (back === 'DECIDED_ELSEWHERE') return visits.awaitDecision(visit.uid, request.url.pathname + request.url.search)
    if (typeof back === 'string') return visits.decide(visit.uid, RETURN_FAILURES[back])
    const { consent, opensSession, bySession } = back
    const grantId = await grantOf(consent, visit)
    if (!(await consents.bind(consent.id, grantId))) return visits.awaitDecision(visit.uid, `/interaction/${visit.uid}`)
    return visits.decide(visit.uid, {
      login: loginOf(consent.customerId, opensSession),
      consent: { grantId },
      ...(bySession && session && { sessionUid: session.uid }),
    })
  }

  /** The provider's record of the same agreement: what was asked for and not agreed to is refused in it. */
  async function grantOf(consent: SignedIn['consent'], visit: OpenVisit): Promise<string> {
    const grant = new provider.Grant({ accountId: consent.customerId, clientId: visit.clientId })
    const requested = String(visit.parameters['scope']).split(' ')
    grant.addOIDCScope(['openid', 'offline_access'].filter((scope) => requested.includes(scope)).join(' '))
    const resource = `${issuer}/graphql`
    grant.addResourceScope(resource, consent.scopes.join(' '))
    // Whatever was asked for must be granted or refused, or the provider would ask again.
    const refused = requested.filter(isCustomerScope).filter((scope) => !consent.scopes.includes(scope))
    if (refused.length > 0) grant.rejectResourceScope(resource, refused.join(' '))
    ;(grant as unknown as { addRar(detail: unknown): void }).addRar({
      type: ACCOUNT_INFORMATION,
      actions: consent.scopes,
      purposes: consent.purposes,
      bank: consent.bankId,
    })
    return grant.save()
  }

  /** The customer whom the platform expects: a hint names a subject of its own client, and proves nothing. */
  async function expectedCustomer({ clientId, expectedSubject }: OpenVisit): Promise<string | undefined> {
    return expectedSubject === undefined
      ? undefined
      : ((await consents.customerOf(clientId, expectedSubject)) ?? NOBODY)
  }
}

const requestedIn = ({ wanted: { actions, purposes } }: OpenVisit): Agreed => ({ scopes: actions, purposes })

/** What the customer agrees to by the switches of a form or an address. */
const agreedBy = ({ wanted: { actions, purposes } }: OpenVisit, fields: URLSearchParams): Agreed => ({
  scopes: switchedOn(actions, fields.getAll('share')),
  purposes,
})

/** A step that is taken once is not taken for nobody. */
const unlessAhead =
  (handle: Route['handle']): Route['handle'] =>
  (request) =>
    looksAhead(request) ? refuseLookAhead() : handle(request)

/** Whoever's browser asks for one of these pages is there. */
const presentAt = ({ customerIp, headers }: HttpRequest): StatedCustomer => ({
  ip: customerIp,
  userAgent: /^[\x20-\x7e]{1,256}$/.test(headers['user-agent'] ?? '') ? headers['user-agent']! : null,
})

/** Somebody else signed in than the platform expects (OpenID Connect Core 1.0, 3.1.2.1, `id_token_hint`). */
const UNEXPECTED_CUSTOMER: InteractionResults = {
  error: 'login_required',
  error_description: 'the person who signed in is not the one whom id_token_hint names',
}

const RETURN_FAILURES: Readonly<Record<Exclude<ReturnFailure, 'DECIDED_ELSEWHERE'>, InteractionResults>> = {
  UNEXPECTED_CUSTOMER,
  TOO_LATE: { error: 'access_denied', error_description: 'the sign-in at the bank took too long' },
}

/** The OAuth error for a consent that did not come about. */
function failure(error: GatewayError): InteractionResults {
  if (error.code === 'BANK_REFUSED')
    return { error: 'access_denied', error_description: 'the customer or the bank refused' }
  if (error.facts.category === 'BANK')
    return { error: 'temporarily_unavailable', error_description: 'the bank cannot be reached' }
  return { error: 'server_error', error_description: 'something went wrong' }
}

/** The state in a bank's callback, plain or inside a signed answer; the answer itself is verified later. */
function stateOf(parameters: URLSearchParams): string {
  const plain = parameters.get('state')
  if (plain !== null) return plain
  const state = partOf(parameters.get('response') ?? '', 1)['state']
  if (typeof state !== 'string') throw new GatewayError('INTERACTION_EXPIRED')
  return state
}
