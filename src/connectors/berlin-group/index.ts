import { GatewayError, toGatewayError } from '../../kernel/errors.ts'
import { ignoreIfEnded, parseResponse } from '../bank-api.ts'
import type {
  ApiDescription,
  BankAccess,
  BankInterface,
  Balances,
  ConnectorTools,
  PresentCustomer,
  Standard,
} from '../connector.ts'
import { createEndpointCheck, type ResourceServer } from '../endpoints.ts'
import { signatureHeaders } from '../http-signatures.ts'
import { createOauthClient } from '../oauth-client.ts'
import { CODE_FLOW } from '../oauth-defaults.ts'
import { resolveOauthProfile, type OauthProfile } from '../oauth-profile.ts'
import { collectValues, mergeAccounts, NO_BALANCES, selectAccounts } from '../parsing.ts'
import { createBerlinGroupClient, operationsOf, type Operation } from './client.ts'
import { readBerlinGroupEvent, toAccountRefs } from './events.ts'
import { identificationFields } from './identification.ts'
import { parseAccounts, parseBalances, parseListedBalances } from './normalise.ts'
import { readRef, toAccountId } from './quirks.ts'
import {
  berlinGroupFaults,
  registrationSchema,
  resolveProfile,
  usesOauth,
  type BerlinGroupProfile,
  type BerlinGroupRegistration,
} from './registration.ts'
import { createSignIns } from './sign-in.ts'
import { accountsResponse, balancesResponse, cardAccountsResponse, ENDED_STATUSES } from './wire.ts'

/** The code flow with PKCE; the scope names the consent (1.3.11, 13.1). */
const OAUTH_DEFAULTS: OauthProfile = { ...CODE_FLOW, scope: 'AIS:{consentId}', clientScope: 'AIS' }

/** Berlin Group NextGenPSD2 1.3.11, account information. How a bank signs customers in is in its registration (`sca`). */
export const berlinGroup: Standard<BerlinGroupRegistration> = {
  id: 'BERLIN_GROUP',
  name: 'Berlin Group NextGenPSD2',
  registration: registrationSchema,
  registrationFaults: berlinGroupFaults,
  resourceServers: resourceServersOf,
  describe,
  oauthDefaults: OAUTH_DEFAULTS,
  newConsentReplacesPrevious: true,
  connect,
  readEvent: readBerlinGroupEvent,
  toAccountRefs,
  toAccountId,
}

function resourceServersOf(registration: BerlinGroupRegistration): ResourceServer[] {
  const { apiBase, cardAccounts } = registration
  return [{ baseUrl: apiBase, operations: operationsOf({ ...resolveProfile(registration), cardAccounts }) }]
}

function describe(registration: BerlinGroupRegistration): ApiDescription {
  const profile = resolveProfile(registration)
  const { sca, clientToken, signatures, clientIdHeader, customerIdentification, consentAccess } = profile
  const common = [
    'x-request-id',
    ...(clientIdHeader === null ? [] : [clientIdHeader]),
    ...(signatures ? signatureHeaders(signatures) : []),
  ]
  const authorized = (isTokenSent: boolean, ...names: readonly string[]): readonly string[] => [
    ...(isTokenSent ? ['authorization'] : []),
    ...common,
    ...names,
  ]
  const ofConsent = authorized(clientToken || sca === 'OAUTH_PRE_STEP')
  const ofCustomer = authorized(clientToken || usesOauth(profile), 'consent-id', 'psu-ip-address', 'psu-user-agent')
  const psu = [
    ...(customerIdentification.label === undefined ? [] : ['psu-id']),
    ...(customerIdentification.types === undefined ? [] : ['psu-id-type']),
  ]
  const headersOf: Readonly<Record<Operation, readonly string[]>> = {
    createConsent: [...ofConsent, ...psu, ...CONSENT_HEADERS],
    consentStatus: ofConsent,
    deleteConsent: ofConsent,
    startAuthorisation: [...ofConsent, ...psu],
    updateAuthorisation: [...ofConsent, ...psu],
    authorisationStatus: [...ofConsent, ...psu],
    accounts: ofCustomer,
    balances: ofCustomer,
    cardAccounts: ofCustomer,
    cardBalances: ofCustomer,
  }
  const used = Object.keys(operationsOf({ ...profile, cardAccounts: registration.cardAccounts })) as Operation[]
  return {
    requestedData: REQUESTED_DATA[consentAccess],
    headers: Object.fromEntries(used.map((operation) => [operation, headersOf[operation]])),
    query: Object.keys(profile.queryParameters),
    usesClientToken: clientToken,
    usesCustomerTokens: usesOauth(profile),
    signInKind: sca,
    questions: [
      ...identificationFields(profile).map(({ name }) => name),
      ...(sca === 'EMBEDDED' ? (['SCA_METHOD', 'ONE_TIME_CODE'] as const) : []),
    ],
  }
}

const CONSENT_HEADERS = [
  'psu-ip-address',
  'tpp-redirect-uri',
  'tpp-nok-redirect-uri',
  'tpp-redirect-preferred',
  'tpp-notification-uri',
  'tpp-notification-content-preferred',
]
const REQUESTED_DATA: Readonly<Record<BerlinGroupProfile['consentAccess'], readonly string[]>> = {
  BANK_OFFERED: ['accounts', 'balances'],
  DEDICATED: ['accounts', 'balances'],
  ALL_PSD2: ['allPsd2'],
}

function connect(registration: BerlinGroupRegistration, tools: ConnectorTools): BankInterface {
  const profile = resolveProfile(registration)
  const checkEndpoint = createEndpointCheck(registration, resourceServersOf(registration))
  const oauthProfile = resolveOauthProfile(OAUTH_DEFAULTS, registration.oauth)
  const oauth =
    usesOauth(profile) || profile.clientToken
      ? createOauthClient(registration, tools, oauthProfile, checkEndpoint)
      : undefined
  const client = createBerlinGroupClient(registration, profile, tools, oauth)
  const { callBank } = client
  const signIns = createSignIns({ profile, tools, client, oauth, resolveSignInUrl })
  const cashRules = { isCard: false, needsNoId: profile.balancesWithAccounts }
  const cardRules = { isCard: true, needsNoId: false }

  /** With redirect SCA the bank names the sign-in page, which must be on a registered origin. */
  function resolveSignInUrl(href: string | undefined): string {
    const url = href ? URL.parse(href, registration.apiBase)?.href : undefined
    if (url === undefined || !tools.http.isAllowedUrl(url) || checkEndpoint(url) !== undefined)
      throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'no acceptable sign-in page' })
    return url
  }

  /** Sends the customer's address "if and only if this request was actively initiated by the PSU" (1.3.11, 6.3.1). */
  function customerHeaders(access: BankAccess, customer: PresentCustomer | null): Record<string, string> {
    const address = customer && client.addressOf(customer)
    return {
      ...client.commonHeaders(access.accessToken),
      'consent-id': access.consentRef,
      ...(address && { 'psu-ip-address': address }),
      // Without the address, the request counts as unattended.
      ...(address && customer.userAgent && { 'psu-user-agent': customer.userAgent }),
    }
  }

  async function fetchCashAccounts(
    access: BankAccess,
    customer: PresentCustomer | null,
    query?: Readonly<Record<string, string>>,
  ): Promise<readonly unknown[]> {
    const response = await callBank('accounts', { headers: customerHeaders(access, customer), ...(query && { query }) })
    return parseResponse(accountsResponse, response, tools.report).accounts
  }

  async function fetchCardAccounts(access: BankAccess, customer: PresentCustomer | null): Promise<readonly unknown[]> {
    if (!registration.cardAccounts) return []
    const response = await callBank('cardAccounts', { headers: customerHeaders(access, customer) })
    return parseResponse(cardAccountsResponse, response, tools.report).cardAccounts
  }

  /** The balances that the bank states in its list of accounts. The list of card accounts has no such parameter. */
  async function fetchListedBalances(
    access: BankAccess,
    customer: PresentCustomer | null,
  ): Promise<ReadonlyMap<string, Balances>> {
    const cash = await fetchCashAccounts(access, customer, { withBalance: 'true' })
    return parseListedBalances(cash, cashRules, tools)
  }

  async function fetchBalances(
    access: BankAccess,
    accountRef: string,
    customer: PresentCustomer | null,
  ): Promise<Balances> {
    const { resourceId, isCard } = readRef(accountRef)
    const request = { params: { account: resourceId }, headers: customerHeaders(access, customer) }
    const response = await callBank(isCard ? 'cardBalances' : 'balances', request)
    return parseBalances(parseResponse(balancesResponse, response, tools.report), isCard, tools)
  }

  async function fetchBulkBalances(
    access: BankAccess,
    accountRefs: readonly string[],
    customer: PresentCustomer | null,
  ): Promise<ReadonlyMap<string, Balances | GatewayError>> {
    const byRef = new Map<string, Balances | GatewayError>()
    const isListed = (ref: string): boolean => !readRef(ref).isCard
    if (accountRefs.some(isListed))
      for (const [ref, balances] of await fetchListedBalances(access, customer)) byRef.set(ref, balances)
    for (const ref of accountRefs)
      if (!isListed(ref)) byRef.set(ref, await fetchBalances(access, ref, customer).catch(toGatewayError))
    return selectAccounts(accountRefs, { byRef, isPartial: false })
  }

  return {
    requestConsent: signIns.requestConsent,
    continueSignIn: signIns.continueSignIn,

    refresh: (access) => (oauth && usesOauth(profile) ? oauth.refresh(access) : signIns.clientAccess(access)),

    async accounts(access, customer) {
      const cash = await fetchCashAccounts(access, customer)
      const cards = await fetchCardAccounts(access, customer)
      return mergeAccounts(
        collectValues([...parseAccounts(cash, cashRules), ...parseAccounts(cards, cardRules)], tools.report),
      )
    },

    async balances(access, accountRef, customer) {
      return profile.balancesWithAccounts && !readRef(accountRef).isCard
        ? ((await fetchListedBalances(access, customer)).get(accountRef) ?? NO_BALANCES)
        : fetchBalances(access, accountRef, customer)
    },

    ...(profile.balancesWithAccounts && { bulkBalances: fetchBulkBalances }),

    // A bank that has only tokens of customers cannot be asked without one.
    ...((profile.clientToken || profile.sca !== 'OAUTH_PRE_STEP') && {
      isConsentEnded: async (consentRef: string) => ENDED_STATUSES.has(await client.fetchConsentStatus(consentRef)),
    }),

    async revokeConsent({ consentRef, accessToken }) {
      const headers = await client.consentHeaders(profile.sca === 'OAUTH_PRE_STEP' ? accessToken : undefined)
      await callBank('deleteConsent', { params: { consent: consentRef }, headers }).catch((error: unknown) => {
        // RECONNECT_REQUIRED means that the consent is gone (such as CONSENT_UNKNOWN): the gateway's own token is new.
        if (!(error instanceof GatewayError && error.code === 'RECONNECT_REQUIRED')) ignoreIfEnded(error)
      })
    },
  }
}
