import { z } from 'zod'
import { addMs, MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { parseBankJson } from '../../kernel/wire.ts'
import {
  ignoreIfEnded,
  createBankApi,
  createInteractionId,
  createSecret,
  type AllowedOperations,
  type ErrorMapping,
} from '../bank-api.ts'
import type {
  BankAccess,
  BankInterface,
  ConnectorTools,
  PresentCustomer,
  Registration,
  Standard,
} from '../connector.ts'
import { createEndpointCheck, type ResourceServer } from '../endpoints.ts'
import { fapiClient } from '../fapi.ts'
import { collectValues } from '../parsing.ts'
import { commonRegistration } from '../registration.ts'
import { createCodeMap } from '../code-map.ts'
import { readBerlinGroupEvent } from './events.ts'
import { parseAccount, parseBalances } from './normalise.ts'
import { cardIdOf } from './quirks.ts'
import {
  accountsResponse,
  balancesResponse,
  cardAccountsResponse,
  consentResponse,
  consentStatusResponse,
  ENDED_STATUSES,
  errorCodes,
} from './wire.ts'

/** All that Guichet ever calls at a NextGenPSD2 bank. */
const OPERATIONS = {
  createConsent: ['POST', '/v1/consents'],
  consentStatus: ['GET', '/v1/consents/{consent}/status'],
  deleteConsent: ['DELETE', '/v1/consents/{consent}'],
  accounts: ['GET', '/v1/accounts'],
  balances: ['GET', '/v1/accounts/{account}/balances'],
  cardAccounts: ['GET', '/v1/card-accounts'],
  cardBalances: ['GET', '/v1/card-accounts/{account}/balances'],
} as const satisfies AllowedOperations

/** How often a day the bank may be asked while the customer is away: what the standard allows without an agreement. */
const FREQUENCY_PER_DAY = 4
/** A token of the gateway's own is used for so long before another is asked for. */
const CLIENT_TOKEN_TTL_MS = 4 * MINUTE_MS

/** Message codes that say more than their status does (1.3.11, 14.11). */
const ERROR_MAPPING: ErrorMapping = {
  schema: errorCodes,
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
    // Counted by the bank's day, for this consent: the bank itself is well.
    ACCESS_EXCEEDED: 'BANK_QUOTA_EXHAUSTED',
  }),
}

interface BerlinGroupRegistration extends Registration {
  readonly version: '1.3.11'
  readonly cardAccounts: boolean
  readonly sca: 'OAUTH' | 'REDIRECT'
}

/** Berlin Group NextGenPSD2 1.3.11, account information, with the customer redirected: OAuth SCA, or the bank's own link. */
export const berlinGroup: Standard<BerlinGroupRegistration> = {
  id: 'BERLIN_GROUP',
  name: 'Berlin Group NextGenPSD2',
  registration: (address) =>
    z.strictObject({
      ...commonRegistration(address),
      version: z.literal('1.3.11'),
      cardAccounts: z.boolean(),
      sca: z.enum(['OAUTH', 'REDIRECT']).default('OAUTH'),
    }),
  resourceServers: resourceServersOf,
  newConsentReplacesPrevious: true,
  connect,
  readEvent: readBerlinGroupEvent,
}

function resourceServersOf({ apiBase }: BerlinGroupRegistration): ResourceServer[] {
  return [{ baseUrl: apiBase, operations: OPERATIONS }]
}

function connect(registration: BerlinGroupRegistration, tools: ConnectorTools): BankInterface {
  const checkEndpoint = createEndpointCheck(registration, resourceServersOf(registration))
  const fapi = fapiClient(registration, tools, {
    usesSignedMessages: false,
    usesOpenIdConnect: false,
    usesPar: false,
    checkEndpoint,
  })
  const callBank = createBankApi(OPERATIONS, registration.apiBase, tools, ERROR_MAPPING)
  const clientHeaders = async () => ({
    authorization: `Bearer ${await fapi.clientCredentialsToken('AIS')}`,
    'x-request-id': createInteractionId(tools),
  })
  const usesOauthSca = registration.sca === 'OAUTH'

  /** Where the bank's own pages send the customer back to; with OAuth SCA it is the authorization server that adds to it. */
  function buildRedirectUri(state: string, error?: string): string {
    const url = new URL(tools.redirectUri)
    if (usesOauthSca) return url.href
    url.searchParams.set('state', state)
    if (error) url.searchParams.set('error', error)
    return url.href
  }

  /** With redirect SCA the customer goes where the bank says, as long as that lies on a registered origin. */
  function resolveSignInUrl(href: string | undefined): string {
    const url = href ? URL.parse(href, registration.apiBase)?.href : undefined
    if (url === undefined || !tools.http.isAllowedUrl(url) || checkEndpoint(url) !== undefined)
      throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'no page to sign in at' })
    return url
  }

  /** With redirect SCA there are no tokens of the customer: the gateway's own, and the consent's id, open the accounts. */
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
      accessToken: await fapi.clientCredentialsToken('AIS'),
      refreshToken: null,
      expiresAt: addMs(now, CLIENT_TOKEN_TTL_MS).toISOString(),
      signedInAt: signedInAt ?? now.toISOString(),
    }
  }

  async function fetchConsentStatus(consentRef: string): Promise<string> {
    const { text } = await callBank('consentStatus', {
      params: { consent: consentRef },
      headers: await clientHeaders(),
    })
    return parseBankJson(consentStatusResponse, text).consentStatus
  }

  /** The customer's address "if and only if this request was actively initiated by the PSU" (1.3.11, 6.3.1). */
  const customerHeaders = (access: BankAccess, customer: PresentCustomer | null) => ({
    authorization: `Bearer ${access.accessToken}`,
    'consent-id': access.consentRef,
    'x-request-id': createInteractionId(tools),
    ...(customer && { 'psu-ip-address': customer.ip }),
    ...(customer?.userAgent && { 'psu-user-agent': customer.userAgent }),
  })

  return {
    async requestConsent({ expiresAt, state, customer }) {
      const { text } = await callBank('createConsent', {
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
          // Empty lists: the customer chooses the accounts at the bank. There is no `transactions` member, ever.
          access: { accounts: [], balances: [] },
          recurringIndicator: true,
          validUntil: expiresAt.toISOString().slice(0, 10),
          frequencyPerDay: FREQUENCY_PER_DAY,
          combinedServiceIndicator: false,
        },
      })
      const { consentId, _links } = parseBankJson(consentResponse, text)
      const pending = { consentRef: consentId, state, codeVerifier: createSecret(tools), nonce: '' }
      if (!usesOauthSca) return { url: resolveSignInUrl(_links?.scaRedirect?.href), pending }
      return { url: await fapi.signInUrl({ scope: `AIS:${consentId}`, response_type: 'code' }, pending), pending }
    },

    async completeSignIn(callback, pending) {
      if (!usesOauthSca && (callback.searchParams.get('state') !== pending.state || callback.searchParams.has('error')))
        throw new GatewayError('BANK_REFUSED', { internalMessage: 'refused at sign-in' })
      const access = usesOauthSca
        ? (await fapi.redeemCode(callback, pending)).access
        : await clientCredentialsAccess(pending)
      // A finished sign-in is not yet a valid consent (1.3.11, 14.19), so the consent itself is asked.
      if ((await fetchConsentStatus(pending.consentRef)) !== 'valid')
        throw new GatewayError('BANK_REFUSED', { internalMessage: 'consent is not valid after sign-in' })
      return access
    },

    refresh: (access) => (usesOauthSca ? fapi.refresh(access) : clientCredentialsAccess(access)),

    async accounts(access, customer) {
      const cash = await callBank('accounts', { headers: customerHeaders(access, customer) })
      const cards = registration.cardAccounts
        ? parseBankJson(
            cardAccountsResponse,
            (await callBank('cardAccounts', { headers: customerHeaders(access, customer) })).text,
          )
        : { cardAccounts: [] }
      return collectValues(
        [
          ...parseBankJson(accountsResponse, cash.text).accounts.map((account) => parseAccount(account, false)),
          ...cards.cardAccounts.map((account) => parseAccount(account, true)),
        ],
        tools.report,
      )
    },

    async balances(access, accountRef, customer) {
      const cardId = cardIdOf(accountRef)
      const request = { params: { account: cardId ?? accountRef }, headers: customerHeaders(access, customer) }
      const { text } = await callBank(cardId === undefined ? 'balances' : 'cardBalances', request)
      return parseBalances(parseBankJson(balancesResponse, text), cardId !== undefined, tools.report)
    },

    isConsentEnded: async (consentRef) => ENDED_STATUSES.has(await fetchConsentStatus(consentRef)),

    async revokeConsent(consentRef) {
      await callBank('deleteConsent', { params: { consent: consentRef }, headers: await clientHeaders() }).catch(
        (error: unknown) => {
          // CONSENT_UNKNOWN and the like: the gateway's own token was issued a moment ago.
          if (!(error instanceof GatewayError && error.code === 'RECONNECT_REQUIRED')) ignoreIfEnded(error)
        },
      )
    },
  }
}
