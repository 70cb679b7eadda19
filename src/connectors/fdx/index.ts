import { z } from 'zod'
import { DAY_MS } from '../../kernel/clock.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { parseBankJson } from '../../kernel/wire.ts'
import { ignoreIfEnded, createBankApi, createInteractionId, createSecret, type ErrorMapping } from '../bank-api.ts'
import type {
  BankAccess,
  BankInterface,
  Balances,
  ConnectorTools,
  PendingSignIn,
  PresentCustomer,
  Registration,
  Standard,
} from '../connector.ts'
import { createEndpointCheck, type AllowedOperations, type ResourceServer } from '../endpoints.ts'
import { createOauthClient } from '../oauth-client.ts'
import { NO_OAUTH_ADDITIONS, resolveOauthProfile, type OauthProfile } from '../oauth-profile.ts'
import { readAllPages } from '../pagination.ts'
import { NO_BALANCES, collectValues } from '../parsing.ts'
import { commonRegistration } from '../registration.ts'
import { createCodeMap } from '../code-map.ts'
import { readFdxEvent } from './events.ts'
import { toAccountError, parseAccount, parseBalances } from './normalise.ts'
import { findConsentId } from './quirks.ts'
import { accountResponse, accountsResponse, errorCodes, parseWireAccount } from './wire.ts'

/** Every operation that Guichet calls at an FDX bank. Balances are part of the account. */
const OPERATIONS = {
  accounts: ['GET', '/accounts'],
  account: ['GET', '/accounts/{account}'],
  revokeConsent: ['PUT', '/consents/{consent}/revocation'],
} as const satisfies AllowedOperations

/** FDX error codes; they differ from the HTTP status. */
const ERROR_MAPPING: ErrorMapping = {
  schema: errorCodes,
  codes: createCodeMap<ErrorCode>({
    '701': 'BALANCE_NOT_PROVIDED',
    '705': 'BALANCE_NOT_PROVIDED',
    '706': 'ACCOUNT_UNAVAILABLE',
    '1205': 'RECONNECT_REQUIRED',
    '1207': 'BANK_RATE_LIMITED',
  }),
}
const PAGE_SIZE = '200'

/** Pushed requests with authorization details in place of a scope. */
const OAUTH_DEFAULTS: OauthProfile = {
  clientAuthentication: 'private_key_jwt',
  assertionAudience: 'ISSUER',
  signingAlgorithm: 'ES256',
  bankAlgorithm: 'ES256',
  usesOpenIdConnect: false,
  responseType: 'code',
  responseMode: 'query',
  usesPar: true,
  requestObject: null,
  idToken: 'NONE',
  idTokenNamesConsent: false,
  scope: '',
  clientScope: 'fdx:consents:revoke',
  ...NO_OAUTH_ADDITIONS,
}

interface FdxRegistration extends Registration {
  readonly version: string
  readonly balanceCluster: 'BALANCES' | 'ACCOUNT_DETAILED'
  /** Whether the bank has consents of its own, or only the tokens of an OAuth scope. Absent in registrations of earlier versions. */
  readonly consent?: 'CONSENT_API' | 'OAUTH_SCOPE' | undefined
}

/**
 * FDX API 4.6 to 6.x, with wrapped and flat accounts, over FAPI with pushed authorization requests and authorization
 * details (RFC 9396). `balanceCluster` is the data cluster that has the bank's balances.
 */
export const fdx: Standard<FdxRegistration> = {
  id: 'FDX',
  name: 'FDX API',
  registration: (urlSchema) =>
    z.strictObject({
      ...commonRegistration(urlSchema),
      version: z.string().regex(/^(4\.6|5\.[0-3]|6\.[0-5])$/, '4.6 to 6.5'),
      consent: z.enum(['CONSENT_API', 'OAUTH_SCOPE']).default('CONSENT_API'),
      balanceCluster: z.enum(['BALANCES', 'ACCOUNT_DETAILED']),
    }),
  resourceServers: resourceServersOf,
  oauthDefaults: OAUTH_DEFAULTS,
  newConsentReplacesPrevious: false,
  connect,
  readEvent: readFdxEvent,
}

function resourceServersOf({ apiBase }: FdxRegistration): ResourceServer[] {
  return [{ baseUrl: apiBase, operations: OPERATIONS }]
}

function connect(registration: FdxRegistration, tools: ConnectorTools): BankInterface {
  const checkEndpoint = createEndpointCheck(registration, resourceServersOf(registration))
  const oauth = createOauthClient(
    registration,
    tools,
    resolveOauthProfile(OAUTH_DEFAULTS, registration.oauth),
    checkEndpoint,
  )
  const hasConsentApi = registration.consent !== 'OAUTH_SCOPE'
  const callBank = createBankApi(OPERATIONS, registration.apiBase, tools, ERROR_MAPPING)
  const customerHeaders = ({ accessToken, signedInAt }: BankAccess, customer: PresentCustomer | null) => ({
    authorization: `Bearer ${accessToken}`,
    'x-fapi-interaction-id': createInteractionId(tools),
    'fdx-api-actor-type': customer ? 'USER' : 'BATCH',
    ...(signedInAt && { 'x-fapi-auth-date': new Date(signedInAt).toUTCString() }),
    ...(customer && { 'x-fapi-customer-ip-address': customer.ip }),
  })

  const fetchAllEntries = (query: Record<string, string>, headers: Record<string, string>): Promise<unknown[]> =>
    readAllPages<Record<string, string>>(async (cursor) => {
      const { text } = await callBank('accounts', { query: { ...query, limit: PAGE_SIZE, ...cursor }, headers })
      const { accounts, page } = parseBankJson(accountsResponse, text)
      if (page?.nextPageKey) return { entries: accounts, next: { nextPageKey: page.nextPageKey } }
      const hasMore = page?.nextOffset && accounts.length > 0
      return { entries: accounts, next: hasMore ? { offset: page.nextOffset! } : undefined }
    }, tools.report)

  const newSignIn = (state: string): PendingSignIn => ({
    consentRef: '',
    state,
    codeVerifier: createSecret(tools),
    nonce: createSecret(tools),
  })

  return {
    async requestConsent({ expiresAt, state }) {
      if (!hasConsentApi) {
        // The gateway's own reference, because the bank has none.
        const pending = { ...newSignIn(state), consentRef: createSecret(tools) }
        return { url: await oauth.signInUrl({}, pending), pending }
      }
      const days = Math.ceil((expiresAt.getTime() - tools.clock.now().getTime()) / DAY_MS)
      const clusters = [...new Set(['ACCOUNT_BASIC', registration.balanceCluster])]
      const details = {
        type: 'fdx_v1.0',
        consentRequest: {
          durationType: 'TIME_BOUND',
          durationPeriod: days,
          // No history is requested, and never the TRANSACTIONS cluster.
          lookbackPeriod: 0,
          resources: [{ resourceType: 'ACCOUNT', dataClusters: clusters }],
        },
      }
      const pending = newSignIn(state)
      const parameters = { authorization_details: JSON.stringify([details]) }
      return { url: await oauth.signInUrl(parameters, pending), pending }
    },

    async completeSignIn(callback, pending) {
      const { access, tokenResponse } = await oauth.redeemCode(callback, pending)
      if (!hasConsentApi) return access
      const consentRef = findConsentId(tokenResponse)
      // Without the id, the gateway can neither revoke the consent nor match its revocation by the bank.
      if (!consentRef)
        throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'token response has no consent id' })
      return { ...access, consentRef }
    },

    refresh: (access) => oauth.refresh(access),

    async accounts(access, customer) {
      const list = await fetchAllEntries({ resultType: 'lightweight' }, customerHeaders(access, customer))
      const accounts = collectValues(list.map(parseAccount), tools.report)
      return [...new Map(accounts.map((account) => [account.ref, account])).values()]
    },

    async balances(access, accountRef, customer) {
      const { text } = await callBank('account', {
        params: { account: accountRef },
        headers: customerHeaders(access, customer),
      })
      const account = parseBankJson(accountResponse, text)
      const error = toAccountError(account, ERROR_MAPPING.codes)
      if (error) throw error
      if (account.accountId === accountRef) return parseBalances(account, tools.report)
      tools.report('UNREQUESTED_ACCOUNT')
      return NO_BALANCES
    },

    async bulkBalances(access, accountRefs, customer) {
      const query = { resultType: 'details', accountIds: accountRefs.join(',') }
      const balancesByRef = new Map<string, Balances | GatewayError>()
      for (const raw of await fetchAllEntries(query, customerHeaders(access, customer))) {
        const account = parseWireAccount(raw)
        if (!account) tools.report('INVALID_ACCOUNT')
        else if (accountRefs.includes(account.accountId))
          balancesByRef.set(
            account.accountId,
            toAccountError(account, ERROR_MAPPING.codes) ?? parseBalances(account, tools.report),
          )
      }
      return balancesByRef
    },

    async revokeConsent({ consentRef, refreshToken, accessToken }) {
      if (!hasConsentApi) {
        // RFC 7009, 2.1: revoking the refresh token ends its access tokens, too.
        const token = refreshToken ?? accessToken
        if (token) await oauth.revokeToken(token).catch(ignoreIfEnded)
        return
      }
      const authorization = `Bearer ${await oauth.clientCredentialsToken()}`
      const headers = { authorization, 'x-fapi-interaction-id': createInteractionId(tools) }
      const body = { reason: 'USER_ACTION', initiator: 'INDIVIDUAL' }
      await callBank('revokeConsent', { params: { consent: consentRef }, headers, body }).catch(ignoreIfEnded)
    },
  }
}
