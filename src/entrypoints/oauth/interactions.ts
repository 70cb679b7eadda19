import type { InteractionResults, Provider } from 'oidc-provider'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import { isCustomerScope, type CustomerScope } from '../../kernel/scopes.ts'
import type { StatedCustomer } from '../../kernel/request.ts'
import type { World } from '../../kernel/world.ts'
import type { Banks } from '../../modules/banks/index.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Consents, SignedIn } from '../../modules/consents/index.ts'
import { ACCOUNT_INFORMATION, readDetails, type AccountInformation } from './authorization-details.ts'
import { finishInteraction, interactionOf, loginOf, sessionCustomer } from './browser-session.ts'
import { bankPage, leavingPage, sharingPage, type Chosen, type Visit } from './consent-pages.ts'
import type { RedirectPages } from './redirect-pages.ts'
import { problemPage } from './visit-pages.ts'
import { SHARING_LINES } from './words.ts'

/** What the consent pages need. */
export interface InteractionDependencies {
  readonly provider: Provider
  readonly banks: Banks
  readonly clients: Clients
  readonly consents: Consents
  readonly redirects: RedirectPages
  readonly world: World
  readonly issuer: string
}

interface OpenVisit extends Visit {
  readonly clientId: string
  readonly wanted: AccountInformation
  readonly parameters: Readonly<Record<string, unknown>>
  /** The subject whom the platform expects (`id_token_hint`), as this client knows them. */
  readonly expectedSubject: string | undefined
}

const MAX_FORM_BYTES = 8_192
/** Stands for the customer of a subject that this client does not have. */
const NOBODY = ''

/** The consent pages: choose a bank, see what is shared, go to the bank, come back. */
export function interactionRoutes({
  provider,
  banks,
  clients,
  consents,
  redirects,
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
    route('POST', '/interaction/{uid}/sharing', deciding(chooseSharing)),
    route(
      'GET',
      '/interaction/{uid}/leave',
      visiting(async ({ url: { searchParams } }, visit) =>
        leavingPage(
          visit,
          await chosenIn(searchParams),
          searchParams.getAll('share'),
          Number(searchParams.get('days')),
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
  async function open(request: HttpRequest): Promise<OpenVisit> {
    const interaction = await interactionOf(provider, request)
    const parameters = interaction.params
    const client = await clients.find(String(parameters['client_id']))
    const platform = client && (await clients.platform(client.platformId))
    const wanted = readDetails(parameters)
    if (client?.state !== 'ACTIVE' || !platform) throw new GatewayError('INTERACTION_EXPIRED')
    if (!wanted) throw new GatewayError('INVALID_INPUT', { internal: 'authorization_details' })
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

  /** What was chosen on the first page, carried on by the later ones. */
  async function chosenIn(fields: URLSearchParams): Promise<Chosen> {
    return { bank: await liveBank(fields.get('bank')), same: fields.get('same') === 'yes' }
  }

  function chooseBank(_request: HttpRequest, visit: OpenVisit, form: URLSearchParams): Promise<HttpReply> {
    const chosen = new URLSearchParams({ bank: form.get('bank') ?? '', same: form.get('same') ?? '' })
    return Promise.resolve(seeOther(`/interaction/${visit.uid}/sharing?${chosen.toString()}`))
  }

  function chooseSharing(_request: HttpRequest, visit: OpenVisit, form: URLSearchParams): Promise<HttpReply> {
    const chosen = new URLSearchParams()
    for (const name of ['bank', 'same', 'days']) chosen.set(name, form.get(name) ?? '')
    for (const share of form.getAll('share')) chosen.append('share', share)
    return Promise.resolve(seeOther(`/interaction/${visit.uid}/leave?${chosen.toString()}`))
  }

  async function liveBank(id: string | null) {
    const bank = (await banks.live()).find((one) => one.id === id)
    if (!bank) throw new GatewayError('BANK_UNAVAILABLE', { internal: 'not a live bank' })
    return bank
  }

  /** Creates the consent, here as PENDING and at the bank, and sends the customer there. */
  async function leave(request: HttpRequest, visit: OpenVisit, form: URLSearchParams): Promise<HttpReply> {
    const switched = new Set(form.getAll('share'))
    const agreed = new Set<CustomerScope>([
      'accounts:read',
      ...SHARING_LINES.filter(({ name }) => switched.has(name)).flatMap(({ scopes }) => scopes),
    ])
    if ((await expectedCustomer(visit)) === NOBODY) return finish(request, UNEXPECTED_CUSTOMER)
    try {
      const { url } = await consents.begin({
        clientId: visit.clientId,
        bankId: form.get('bank') ?? '',
        scopes: visit.wanted.actions.filter((action) => agreed.has(action)),
        purposes: visit.wanted.purposes,
        days: Number(form.get('days')),
        interactionUid: visit.uid,
        saysSame: form.get('same') === 'yes',
        customer: presentAt(request),
      })
      const bank = await liveBank(form.get('bank'))
      return await redirects.toBank(visit.uid, bank.name, url)
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

  /** Takes the customer back from the bank, and leaves it to the code that the provider issues to make the consent ACTIVE. */
  async function comeBack(request: HttpRequest, visit: OpenVisit): Promise<HttpReply> {
    let signedIn: SignedIn | 'UNEXPECTED_CUSTOMER'
    try {
      signedIn = await consents.complete({
        callback: new URL(`${issuer}/bank/callback?${request.url.searchParams.toString()}`),
        state: stateOf(request.url.searchParams),
        interactionUid: visit.uid,
        customer: presentAt(request),
        sessionCustomer: await sessionCustomer(provider, request),
        expectedCustomer: await expectedCustomer(visit),
      })
    } catch (thrown) {
      const error = asGatewayError(thrown)
      if (error.code === 'INTERACTION_EXPIRED') throw error
      return finish(request, failure(error))
    }
    if (signedIn === 'UNEXPECTED_CUSTOMER') return finish(request, UNEXPECTED_CUSTOMER)
    const { consent, opensSession } = signedIn
    const grantId = await grantOf(consent, visit)
    await consents.bind(consent.id, grantId)
    return finish(request, { login: loginOf(consent.customerId, opensSession), consent: { grantId } })
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

  /** Ends the visit and goes back to the authorization request. A visit that ends with an error leaves no consent behind. */
  async function finish(request: HttpRequest, result: InteractionResults): Promise<HttpReply> {
    const interaction = await interactionOf(provider, request)
    if ('error' in result) await consents.abandonVisit(interaction.uid)
    return seeOther(await finishInteraction(interaction, result))
  }
}

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
