import type { InteractionResults, Provider } from 'oidc-provider'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { route, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import { newId } from '../../kernel/ids.ts'
import { isCustomerScope, type CustomerScope } from '../../kernel/scopes.ts'
import type { StatedCustomer } from '../../kernel/request.ts'
import type { World } from '../../kernel/world.ts'
import type { Banks } from '../../modules/banks/index.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Consent, Consents } from '../../modules/consents/index.ts'
import { ACCOUNT_INFORMATION, readDetails, type AccountInformation } from './authorization-details.ts'
import { bankPage, leavingPage, problemPage, SHARING_LINES, sharingPage, type Chosen, type Visit } from './pages.ts'

/** What the consent pages need. */
export interface InteractionDependencies {
  readonly provider: Provider
  readonly banks: Banks
  readonly clients: Clients
  readonly consents: Consents
  readonly world: World
  readonly issuer: string
}

interface OpenVisit extends Visit {
  readonly clientId: string
  readonly wanted: AccountInformation
  readonly parameters: Readonly<Record<string, unknown>>
  /** The customer of the gateway's own session, if this browser has one. */
  readonly sessionCustomer: string | undefined
}

const MAX_FORM_BYTES = 8_192

/** The consent pages: choose a bank, see what is shared, go to the bank, come back. */
export function interactionRoutes({
  provider,
  banks,
  clients,
  consents,
  world,
  issuer,
}: InteractionDependencies): Route[] {
  return [
    route(
      'GET',
      '/interaction/{uid}',
      visiting(async (_request, visit) => bankPage(visit, await banks.live(), visit.wanted.bank)),
    ),
    route('POST', '/interaction/{uid}/bank', deciding(chooseBank)),
    route(
      'GET',
      '/interaction/{uid}/sharing',
      visiting(async ({ url }, visit) =>
        sharingPage(visit, await chosenIn(url.searchParams), new Set(visit.wanted.actions)),
      ),
    ),
    route(
      'POST',
      '/interaction/{uid}/sharing',
      deciding(async (_request, visit, form) =>
        leavingPage(
          await towardsBank(visit, form.get('bank')),
          await chosenIn(form),
          form.getAll('share'),
          Number(form.get('days')),
        ),
      ),
    ),
    route('POST', '/interaction/{uid}/leave', deciding(leave)),
    route('GET', '/interaction/{uid}/return', visiting(comeBack)),
    route('GET POST', '/bank/callback', callback),
  ]

  function visiting(handle: (request: HttpRequest, visit: OpenVisit) => Promise<HttpReply>): Route['handle'] {
    return async (request) => {
      try {
        return await handle(request, await open(request))
      } catch (thrown) {
        const error = asGatewayError(thrown)
        world.log.info('consent-page.failed', { requestId: request.requestId, code: error.code })
        return problemPage(error.message, error.facts.status)
      }
    }
  }

  function deciding(
    handle: (request: HttpRequest, visit: OpenVisit, form: URLSearchParams) => Promise<HttpReply>,
  ): Route['handle'] {
    return visiting(async (request, visit) => {
      const { origin } = request.headers
      if (origin !== undefined && origin !== issuer)
        throw new GatewayError('FORBIDDEN', { internal: 'form of another origin' })
      const form = new URLSearchParams(await request.body(MAX_FORM_BYTES))
      if (form.get('decision') !== 'go')
        return finish(request, { error: 'access_denied', error_description: 'the customer chose not to share' })
      return handle(request, visit, form)
    })
  }

  /** The visit that this browser's cookie belongs to; another browser's is as good as none. */
  async function open({ raw, params }: HttpRequest): Promise<OpenVisit> {
    const interaction = await provider.interactionDetails(raw.request, raw.response).catch(() => {
      throw new GatewayError('INTERACTION_EXPIRED')
    })
    if (interaction.uid !== params['uid']) throw new GatewayError('INTERACTION_EXPIRED')
    const parameters = interaction.params
    const client = await clients.find(String(parameters['client_id']))
    const platform = client && (await clients.platform(client.platformId))
    const wanted = readDetails(parameters)
    if (client?.state !== 'ACTIVE' || !platform) throw new GatewayError('INTERACTION_EXPIRED')
    if (!wanted) throw new GatewayError('INVALID_INPUT', { internal: 'authorization_details' })
    return {
      uid: interaction.uid,
      platform: platform.name,
      formTargets: [originOf(String(parameters['redirect_uri']))],
      clientId: client.id,
      wanted,
      parameters,
      sessionCustomer: interaction.session?.accountId,
      asksWhoItIs: interaction.session?.accountId !== undefined && parameters['id_token_hint'] === undefined,
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

  async function liveBank(id: string | null) {
    const bank = (await banks.live()).find((one) => one.id === id)
    if (!bank) throw new GatewayError('BANK_UNAVAILABLE', { internal: 'not a live bank' })
    return bank
  }

  async function towardsBank(visit: OpenVisit, bankId: string | null): Promise<Visit> {
    const { registration } = await banks.liveConnectorOf(bankId ?? '')
    return { ...visit, formTargets: [...visit.formTargets, originOf(registration.authorizationServer)] }
  }

  /** Creates the consent, here as PENDING and at the bank, and sends the customer there. */
  async function leave(request: HttpRequest, visit: OpenVisit, form: URLSearchParams): Promise<HttpReply> {
    const switched = new Set(form.getAll('share'))
    const agreed = new Set<CustomerScope>([
      'accounts:read',
      ...SHARING_LINES.filter(({ name }) => switched.has(name)).flatMap(({ scopes }) => scopes),
    ])
    try {
      const { url } = await consents.begin({
        clientId: visit.clientId,
        bankId: form.get('bank') ?? '',
        scopes: visit.wanted.actions.filter((action) => agreed.has(action)),
        purposes: visit.wanted.purposes,
        days: Number(form.get('days')),
        interactionUid: visit.uid,
        customerId: await customerOf(visit, form.get('same') === 'yes'),
        customer: presentAt(request),
      })
      return seeOther(url)
    } catch (thrown) {
      return finish(request, failure(asGatewayError(thrown)))
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
      const error = asGatewayError(thrown)
      return problemPage(error.message, error.facts.status)
    }
  }

  async function comeBack(request: HttpRequest, visit: OpenVisit): Promise<HttpReply> {
    const bankCallback = new URL(`${issuer}/bank/callback?${request.url.searchParams.toString()}`)
    let consent: Consent
    try {
      consent = await consents.complete(bankCallback, stateOf(request.url.searchParams), visit.uid, presentAt(request))
    } catch (thrown) {
      const error = asGatewayError(thrown)
      if (error.code === 'INTERACTION_EXPIRED') throw error
      return finish(request, failure(error))
    }
    const customerId = consent.customerId!
    const grant = new provider.Grant({ accountId: customerId, clientId: visit.clientId })
    grant.addOIDCScope(
      ['openid', 'offline_access']
        .filter((scope) => String(visit.parameters['scope']).split(' ').includes(scope))
        .join(' '),
    )
    const resource = `${issuer}/graphql`
    grant.addResourceScope(resource, consent.scopes.join(' '))
    // Whatever was asked for must be granted or refused, or the provider would ask again.
    const asked = String(visit.parameters['scope']).split(' ').filter(isCustomerScope)
    const refused = asked.filter((scope) => !consent.scopes.includes(scope))
    if (refused.length > 0) grant.rejectResourceScope(resource, refused.join(' '))
    ;(grant as unknown as { addRar(detail: unknown): void }).addRar({
      type: ACCOUNT_INFORMATION,
      actions: consent.scopes,
      purposes: consent.purposes,
      bank: consent.bankId,
    })
    const grantId = await grant.save()
    await consents.bind(consent.id, grantId)
    if (visit.sessionCustomer !== undefined && visit.sessionCustomer !== customerId) await leaveSession(request)
    return finish(request, { login: { accountId: customerId }, consent: { grantId } })
  }

  /**
   * Ends the session of the customer who used this browser before. The provider would do so by a page with a script, and
   * ours have none.
   */
  async function leaveSession({ raw }: HttpRequest): Promise<void> {
    const interaction = await provider.interactionDetails(raw.request, raw.response)
    const session = await provider.Session.get(provider.createContext(raw.request, raw.response))
    await session.destroy()
    delete interaction.session
    await interaction.save(interaction.exp - Math.floor(world.clock.now().getTime() / 1_000))
  }

  /** Whom the platform named, else whom this browser's session knows if they say that it is them, else somebody new. */
  async function customerOf(visit: OpenVisit, same: boolean): Promise<string> {
    const hint = visit.parameters['id_token_hint']
    if (typeof hint === 'string') {
      // The provider verified the hint's signature and audience before the visit began.
      const sub = subjectOf(hint)
      const customer = sub && (await consents.customerOf(visit.clientId, sub))
      if (!customer) throw new GatewayError('INVALID_INPUT', { internal: 'id_token_hint of nobody' })
      return customer
    }
    return (same ? visit.sessionCustomer : undefined) ?? newId('cust', world.randomness)
  }

  async function finish({ raw }: HttpRequest, result: InteractionResults): Promise<HttpReply> {
    await provider.interactionFinished(raw.request, raw.response, result, { mergeWithLastSubmission: false })
    return 'HANDED_OVER'
  }
}

/** Whoever's browser asks for one of these pages is there. */
const presentAt = ({ customerIp, headers }: HttpRequest): StatedCustomer => ({
  ip: customerIp,
  userAgent: /^[\x20-\x7e]{1,256}$/.test(headers['user-agent'] ?? '') ? headers['user-agent']! : null,
})

const seeOther = (location: string): HttpReply => ({ status: 303, headers: { location } })

/** The OAuth error for a consent that did not come about. */
function failure(error: GatewayError): InteractionResults {
  if (error.code === 'BANK_REFUSED')
    return { error: 'access_denied', error_description: 'the customer or the bank refused' }
  if (error.facts.category === 'BANK')
    return { error: 'temporarily_unavailable', error_description: 'the bank cannot be reached' }
  return { error: 'server_error', error_description: 'something went wrong' }
}

function originOf(uri: string): string {
  const url = URL.parse(uri)
  // An app's own scheme has no origin; a policy can name just the scheme.
  return !url ? "'none'" : url.origin === 'null' ? url.protocol : url.origin
}

/** The state in a bank's callback, plain or inside a signed answer; the answer itself is verified later. */
function stateOf(parameters: URLSearchParams): string {
  const plain = parameters.get('state')
  if (plain !== null) return plain
  const state = claimsOf(parameters.get('response') ?? '')['state']
  if (typeof state !== 'string') throw new GatewayError('INTERACTION_EXPIRED')
  return state
}

function subjectOf(idToken: string): string | undefined {
  const { sub } = claimsOf(idToken)
  return typeof sub === 'string' ? sub : undefined
}

function claimsOf(token: string): Record<string, unknown> {
  try {
    return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as Record<string, unknown>
  } catch {
    return {}
  }
}
