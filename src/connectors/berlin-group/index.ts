import { z } from 'zod'
import { addMs, MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { ignoreIfEnded, createBankApi, createInteractionId, createSecret, parseResponse } from '../bank-api.ts'
import type {
  BankAccess,
  BankInterface,
  ConnectorTools,
  PresentCustomer,
  Registration,
  Standard,
} from '../connector.ts'
import { createEndpointCheck, type AllowedOperations, type ResourceServer } from '../endpoints.ts'
import type { ErrorCodes } from '../error-bodies.ts'
import { createOauthClient } from '../oauth-client.ts'
import { NO_OAUTH_ADDITIONS, resolveOauthProfile, type OauthProfile } from '../oauth-profile.ts'
import { collectValues, mergeAccounts } from '../parsing.ts'
import { commonRegistration } from '../registration.ts'
import { requireCallback } from '../sign-in.ts'
import { createCodeMap } from '../code-map.ts'
import { readBerlinGroupEvent } from './events.ts'
import { parseAccounts, parseBalances } from './normalise.ts'
import { readRef } from './quirks.ts'
import {
  accountsResponse,
  balancesResponse,
  cardAccountsResponse,
  consentResponse,
  consentStatusResponse,
  ENDED_STATUSES,
} from './wire.ts'

/** Every operation that Guichet calls at a NextGenPSD2 bank. */
const OPERATIONS = {
  createConsent: ['POST', '/v1/consents'],
  consentStatus: ['GET', '/v1/consents/{consent}/status'],
  deleteConsent: ['DELETE', '/v1/consents/{consent}'],
  accounts: ['GET', '/v1/accounts'],
  balances: ['GET', '/v1/accounts/{account}/balances'],
  cardAccounts: ['GET', '/v1/card-accounts'],
  cardBalances: ['GET', '/v1/card-accounts/{account}/balances'],
} as const satisfies AllowedOperations

/** Unattended accesses per day: the maximum that the standard allows without a separate agreement. */
const FREQUENCY_PER_DAY = 4
/** A client credentials token is reused for this long. */
const CLIENT_TOKEN_TTL_MS = 4 * MINUTE_MS

/** Message codes that are more specific than their HTTP status (1.3.11, 14.11). */
const ERROR_CODES: ErrorCodes = {
  codes: createCodeMap<ErrorCode>({
    CONSENT_INVALID: 'RECONNECT_REQUIRED',
    CONSENT_EXPIRED: 'RECONNECT_REQUIRED',
    CONSENT_UNKNOWN: 'RECONNECT_REQUIRED',
    TOKEN_UNKNOWN: 'RECONNECT_REQUIRED',
    TOKEN_INVALID: 'RECONNECT_REQUIRED',
    TOKEN_EXPIRED: 'RECONNECT_REQUIRED',
    RESOURCE_UNKNOWN: 'BALANCE_NOT_PROVIDED',
    RESOURCE_EXPIRED: 'BALANCE_NOT_PROVIDED',
    SERVICE_BLOCKED: 'BANK_REFUSED',
    CERTIFICATE_INVALID: 'BANK_REFUSED',
    CERTIFICATE_EXPIRED: 'BANK_REFUSED',
    CERTIFICATE_MISSING: 'BANK_REFUSED',
    SIGNATURE_INVALID: 'BANK_REFUSED',
    FORMAT_ERROR: 'BANK_REFUSED',
    // The daily quota of this consent is used up; the bank itself is available.
    ACCESS_EXCEEDED: 'BANK_QUOTA_EXHAUSTED',
  }),
}

/** The code flow with PKCE; the scope names the consent (1.3.11, 13.1). */
const OAUTH_DEFAULTS: OauthProfile = {
  clientAuthentication: 'private_key_jwt',
  assertionAudience: 'ISSUER',
  signingAlgorithm: 'ES256',
  bankAlgorithm: 'ES256',
  usesOpenIdConnect: false,
  responseType: 'code',
  responseMode: 'query',
  usesPar: false,
  requestObject: null,
  idToken: 'NONE',
  idTokenNamesConsent: false,
  scope: 'AIS:{consentId}',
  clientScope: 'AIS',
  ...NO_OAUTH_ADDITIONS,
}

interface BerlinGroupRegistration extends Registration {
  readonly version: '1.3.11'
  readonly cardAccounts: boolean
  readonly sca: 'OAUTH' | 'REDIRECT'
}

/** Berlin Group NextGenPSD2 1.3.11, account information, with OAuth SCA or redirect SCA (`sca`). */
export const berlinGroup: Standard<BerlinGroupRegistration> = {
  id: 'BERLIN_GROUP',
  name: 'Berlin Group NextGenPSD2',
  registration: (urlSchema) =>
    z.strictObject({
      ...commonRegistration(urlSchema),
      version: z.literal('1.3.11'),
      cardAccounts: z.boolean(),
      sca: z.enum(['OAUTH', 'REDIRECT']).default('OAUTH'),
    }),
  resourceServers: resourceServersOf,
  describe: ({ cardAccounts }) => ({ requestedData: ['accounts', 'balances'], headers: headersOf(cardAccounts) }),
  oauthDefaults: OAUTH_DEFAULTS,
  newConsentReplacesPrevious: true,
  connect,
  readEvent: readBerlinGroupEvent,
}

function resourceServersOf({ apiBase }: BerlinGroupRegistration): ResourceServer[] {
  return [{ baseUrl: apiBase, operations: OPERATIONS }]
}

const CLIENT_HEADERS = ['authorization', 'x-request-id']
const CUSTOMER_HEADERS = [...CLIENT_HEADERS, 'consent-id', 'psu-ip-address', 'psu-user-agent']
const headersOf = (cardAccounts: boolean): Record<string, readonly string[]> => ({
  createConsent: [
    ...CLIENT_HEADERS,
    'psu-ip-address',
    'tpp-redirect-uri',
    'tpp-nok-redirect-uri',
    'tpp-redirect-preferred',
    'tpp-notification-uri',
    'tpp-notification-content-preferred',
  ],
  consentStatus: CLIENT_HEADERS,
  deleteConsent: CLIENT_HEADERS,
  accounts: CUSTOMER_HEADERS,
  balances: CUSTOMER_HEADERS,
  ...(cardAccounts && { cardAccounts: CUSTOMER_HEADERS, cardBalances: CUSTOMER_HEADERS }),
})

function connect(registration: BerlinGroupRegistration, tools: ConnectorTools): BankInterface {
  const checkEndpoint = createEndpointCheck(registration, resourceServersOf(registration))
  const oauth = createOauthClient(
    registration,
    tools,
    resolveOauthProfile(OAUTH_DEFAULTS, registration.oauth),
    checkEndpoint,
  )
  const callBank = createBankApi(OPERATIONS, registration.apiBase, tools, ERROR_CODES)
  const clientHeaders = async () => ({
    authorization: `Bearer ${await oauth.clientCredentialsToken()}`,
    'x-request-id': createInteractionId(tools),
  })
  const usesOauthSca = registration.sca === 'OAUTH'

  /** The redirect URI for the bank. With OAuth SCA the authorization server adds `state` and `error` itself. */
  function buildRedirectUri(state: string, error?: string): string {
    const url = new URL(tools.redirectUri)
    if (usesOauthSca) return url.href
    url.searchParams.set('state', state)
    if (error) url.searchParams.set('error', error)
    return url.href
  }

  /** With redirect SCA the bank names the sign-in page, which must be on a registered origin. */
  function resolveSignInUrl(href: string | undefined): string {
    const url = href ? URL.parse(href, registration.apiBase)?.href : undefined
    if (url === undefined || !tools.http.isAllowedUrl(url) || checkEndpoint(url) !== undefined)
      throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'no acceptable sign-in page' })
    return url
  }

  /** With redirect SCA there are no customer tokens: the gateway's own token and the consent id authorize access. */
  async function clientCredentialsAccess({
    consentRef,
    signedInAt,
  }: {
    consentRef: string
    signedInAt?: string | undefined
  }) {
    const now = tools.clock.now()
    return {
      consentRef,
      accessToken: await oauth.clientCredentialsToken(),
      refreshToken: null,
      expiresAt: addMs(now, CLIENT_TOKEN_TTL_MS).toISOString(),
      signedInAt: signedInAt ?? now.toISOString(),
    }
  }

  async function fetchConsentStatus(consentRef: string): Promise<string> {
    const response = await callBank('consentStatus', {
      params: { consent: consentRef },
      headers: await clientHeaders(),
    })
    return parseResponse(consentStatusResponse, response, tools.report).consentStatus
  }

  /** Sends the customer's address "if and only if this request was actively initiated by the PSU" (1.3.11, 6.3.1). */
  const customerHeaders = (access: BankAccess, customer: PresentCustomer | null) => ({
    authorization: `Bearer ${access.accessToken}`,
    'consent-id': access.consentRef,
    'x-request-id': createInteractionId(tools),
    ...(customer && { 'psu-ip-address': customer.ip }),
    ...(customer?.userAgent && { 'psu-user-agent': customer.userAgent }),
  })

  return {
    async requestConsent({ expiresAt, state, customer }) {
      const response = await callBank('createConsent', {
        headers: {
          ...(await clientHeaders()),
          'psu-ip-address': customer.ip,
          'tpp-redirect-uri': buildRedirectUri(state),
          'tpp-nok-redirect-uri': buildRedirectUri(state, 'access_denied'),
          'tpp-redirect-preferred': 'true',
          'tpp-notification-uri': tools.eventsUrl,
          'tpp-notification-content-preferred': 'status=PROCESS,LAST',
        },
        body: {
          // Empty lists let the customer choose the accounts at the bank. `transactions` is never requested.
          access: { accounts: [], balances: [] },
          recurringIndicator: true,
          validUntil: expiresAt.toISOString().slice(0, 10),
          frequencyPerDay: FREQUENCY_PER_DAY,
          combinedServiceIndicator: false,
        },
      })
      const { consentId, _links } = parseResponse(consentResponse, response, tools.report)
      const pending = { consentRef: consentId, state, codeVerifier: createSecret(tools), nonce: createSecret(tools) }
      if (!usesOauthSca) return { kind: 'REDIRECT', url: resolveSignInUrl(_links?.scaRedirect?.href), pending }
      return { kind: 'REDIRECT', url: await oauth.signInUrl({}, pending), pending }
    },

    async continueSignIn(input, pending) {
      const callback = requireCallback(input)
      if (!usesOauthSca && (callback.searchParams.get('state') !== pending.state || callback.searchParams.has('error')))
        throw new GatewayError('BANK_REFUSED', { internalMessage: 'sign-in refused' })
      const access = usesOauthSca
        ? (await oauth.redeemCode(callback, pending)).access
        : await clientCredentialsAccess(pending)
      // A completed sign-in does not yet mean a valid consent (1.3.11, 14.19).
      if ((await fetchConsentStatus(pending.consentRef)) !== 'valid')
        throw new GatewayError('BANK_REFUSED', { internalMessage: 'consent is not valid after sign-in' })
      return { kind: 'COMPLETE', access }
    },

    refresh: (access) => (usesOauthSca ? oauth.refresh(access) : clientCredentialsAccess(access)),

    async accounts(access, customer) {
      const cash = await callBank('accounts', { headers: customerHeaders(access, customer) })
      const cards = registration.cardAccounts
        ? await callBank('cardAccounts', { headers: customerHeaders(access, customer) })
        : undefined
      const accounts = parseAccounts(parseResponse(accountsResponse, cash, tools.report).accounts, false)
      const cardAccounts = cards
        ? parseAccounts(parseResponse(cardAccountsResponse, cards, tools.report).cardAccounts, true)
        : []
      return mergeAccounts(collectValues([...accounts, ...cardAccounts], tools.report))
    },

    async balances(access, accountRef, customer) {
      const { resourceId, isCard } = readRef(accountRef)
      const request = { params: { account: resourceId }, headers: customerHeaders(access, customer) }
      const response = await callBank(isCard ? 'cardBalances' : 'balances', request)
      return parseBalances(parseResponse(balancesResponse, response, tools.report), isCard, tools.report)
    },

    isConsentEnded: async (consentRef) => ENDED_STATUSES.has(await fetchConsentStatus(consentRef)),

    async revokeConsent({ consentRef }) {
      await callBank('deleteConsent', { params: { consent: consentRef }, headers: await clientHeaders() }).catch(
        (error: unknown) => {
          // The client token is new, so RECONNECT_REQUIRED means that the consent is gone (such as CONSENT_UNKNOWN).
          if (!(error instanceof GatewayError && error.code === 'RECONNECT_REQUIRED')) ignoreIfEnded(error)
        },
      )
    },
  }
}
