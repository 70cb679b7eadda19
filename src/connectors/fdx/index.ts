import { z } from 'zod'
import { DAY_MS } from '../../kernel/clock.ts'
import { GatewayError, toGatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { ignoreIfEnded, createBankApi, createInteractionId, createSecret, parseResponse } from '../bank-api.ts'
import type {
  BankAccess,
  BankInterface,
  Balances,
  ConnectorTools,
  PresentCustomer,
  Registration,
  Standard,
} from '../connector.ts'
import { createEndpointCheck, type AllowedOperations, type ResourceServer } from '../endpoints.ts'
import type { ErrorCodes } from '../error-bodies.ts'
import { eventMembers, pinnedClientCertificates } from '../event-rules.ts'
import { createOauthClient } from '../oauth-client.ts'
import { CODE_FLOW } from '../oauth-defaults.ts'
import { resolveOauthProfile, type OauthProfile } from '../oauth-profile.ts'
import { readAllPages, type PagedList } from '../pagination.ts'
import { NO_BALANCES, collectValues, mergeAccounts, selectAccounts } from '../parsing.ts'
import { commonRegistration } from '../registration.ts'
import { requireCallback, type PendingSignIn } from '../sign-in.ts'
import { createCodeMap } from '../code-map.ts'
import { readFdxEvent } from './events.ts'
import { parseAccount, readBalances } from './normalise.ts'
import { findConsentId, toIdLists } from './quirks.ts'
import type { Entry } from '../wire-members.ts'
import { accountsResponse, parseAccountResponse, parseWireAccount, type WireAccount } from './wire.ts'

/** Every operation that Guichet calls at an FDX bank. Balances are part of the account. */
const OPERATIONS = {
  accounts: ['GET', '/accounts'],
  account: ['GET', '/accounts/{account}'],
  revokeConsent: ['PUT', '/consents/{consent}/revocation'],
} as const satisfies AllowedOperations

/** FDX error codes; they differ from the HTTP status. */
const ERROR_CODES: ErrorCodes = {
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
const OAUTH_DEFAULTS: OauthProfile = { ...CODE_FLOW, usesPar: true, clientScope: 'fdx:consents:revoke' }

/** The query for the next page. */
function findCursor(
  { nextPageKey, nextOffset }: { readonly nextPageKey?: unknown; readonly nextOffset?: unknown },
  hasAccounts: boolean,
): Record<string, string> | 'UNUSABLE' | undefined {
  const [name, cursor] = nextPageKey ? (['nextPageKey', nextPageKey] as const) : (['offset', nextOffset] as const)
  // An offset behind the last account is no further page.
  if (!cursor || (name === 'offset' && !hasAccounts)) return undefined
  return typeof cursor === 'string' && cursor.length <= MAX_CURSOR_LENGTH ? { [name]: cursor } : 'UNUSABLE'
}
const MAX_CURSOR_LENGTH = 2_048

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
      events: eventMembers(urlSchema).extend({ clientCertificates: pinnedClientCertificates.optional() }).optional(),
      version: z.string().regex(/^(4\.6|5\.[0-3]|6\.[0-5])$/, '4.6 to 6.5'),
      consent: z.enum(['CONSENT_API', 'OAUTH_SCOPE']).default('CONSENT_API'),
      balanceCluster: z.enum(['BALANCES', 'ACCOUNT_DETAILED']),
    }),
  resourceServers: resourceServersOf,
  describe: ({ balanceCluster, consent }) => ({
    requestedData: consent === 'OAUTH_SCOPE' ? [] : clustersOf(balanceCluster),
    ...(consent === 'OAUTH_SCOPE' && { consentEndEndpoint: 'revocation_endpoint' }),
    headers: {
      accounts: CUSTOMER_HEADERS,
      account: CUSTOMER_HEADERS,
      ...(consent !== 'OAUTH_SCOPE' && { revokeConsent: TOKEN_HEADERS }),
    },
  }),
  oauthDefaults: OAUTH_DEFAULTS,
  newConsentReplacesPrevious: false,
  connect,
  readEvent: readFdxEvent,
}

function resourceServersOf({ apiBase }: FdxRegistration): ResourceServer[] {
  return [{ baseUrl: apiBase, operations: OPERATIONS }]
}

const TOKEN_HEADERS = ['authorization', 'x-fapi-interaction-id']
const CUSTOMER_HEADERS = [...TOKEN_HEADERS, 'fdx-api-actor-type', 'x-fapi-auth-date', 'x-fapi-customer-ip-address']
const clustersOf = (balanceCluster: FdxRegistration['balanceCluster']): string[] => [
  ...new Set(['ACCOUNT_BASIC', balanceCluster]),
]

function connect(registration: FdxRegistration, tools: ConnectorTools): BankInterface {
  const checkEndpoint = createEndpointCheck(registration, resourceServersOf(registration))
  const oauth = createOauthClient(
    registration,
    tools,
    resolveOauthProfile(OAUTH_DEFAULTS, registration.oauth),
    checkEndpoint,
  )
  const hasConsentApi = registration.consent !== 'OAUTH_SCOPE'
  const callBank = createBankApi(OPERATIONS, registration.apiBase, tools, ERROR_CODES)
  const customerHeaders = ({ accessToken, signedInAt }: BankAccess, customer: PresentCustomer | null) => ({
    authorization: `Bearer ${accessToken}`,
    'x-fapi-interaction-id': createInteractionId(tools),
    'fdx-api-actor-type': customer ? 'USER' : 'BATCH',
    ...(signedInAt && { 'x-fapi-auth-date': new Date(signedInAt).toUTCString() }),
    ...(customer && { 'x-fapi-customer-ip-address': customer.ip }),
  })

  const readPages = (query: Record<string, string>, headers: Record<string, string>): Promise<PagedList> =>
    readAllPages<Record<string, string>>(async (cursor) => {
      const response = await callBank('accounts', { query: { ...query, limit: PAGE_SIZE, ...cursor }, headers })
      const { accounts, page } = parseResponse(accountsResponse, response, tools.report)
      return { entries: accounts, next: findCursor(page ?? {}, accounts.length > 0) }
    }, tools.report)

  const newSignIn = (state: string): PendingSignIn => ({
    consentRef: '',
    state,
    codeVerifier: createSecret(tools),
    nonce: createSecret(tools),
  })

  async function readAccount(
    access: BankAccess,
    accountRef: string,
    customer: PresentCustomer | null,
  ): Promise<Balances | GatewayError> {
    const request = { params: { account: accountRef }, headers: customerHeaders(access, customer) }
    const account = parseAccountResponse(await callBank('account', request))
    if (account.wire.accountId === accountRef) return readBalances([account], ERROR_CODES, tools)
    tools.report('UNREQUESTED_ACCOUNT')
    return NO_BALANCES
  }

  return {
    async requestConsent({ expiresAt, state }) {
      if (!hasConsentApi) {
        // The gateway's own reference, because the bank has none.
        const pending = { ...newSignIn(state), consentRef: createSecret(tools) }
        return { kind: 'REDIRECT', url: await oauth.signInUrl({}, pending), pending }
      }
      const days = Math.ceil((expiresAt.getTime() - tools.clock.now().getTime()) / DAY_MS)
      const clusters = clustersOf(registration.balanceCluster)
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
      return { kind: 'REDIRECT', url: await oauth.signInUrl(parameters, pending), pending }
    },

    async continueSignIn(input, pending) {
      const { access, tokenResponse } = await oauth.redeemCode(requireCallback(input), pending)
      if (!hasConsentApi) return { kind: 'COMPLETE', access }
      const consentRef = findConsentId(tokenResponse)
      // Without the id, the gateway can neither revoke the consent nor match its revocation by the bank.
      if (!consentRef)
        throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'token response has no consent id' })
      return { kind: 'COMPLETE', access: { ...access, consentRef } }
    },

    refresh: (access) => oauth.refresh(access),

    async accounts(access, customer) {
      const { entries } = await readPages({ resultType: 'lightweight' }, customerHeaders(access, customer))
      return mergeAccounts(collectValues(entries.map(parseAccount), tools.report))
    },

    async balances(access, accountRef, customer) {
      const balances = await readAccount(access, accountRef, customer)
      if (balances instanceof GatewayError) throw balances
      return balances
    },

    async bulkBalances(access, accountRefs, customer) {
      const entriesByRef = new Map<string, Entry<WireAccount>[]>(accountRefs.map((ref) => [ref, []]))
      let isPartial = false
      const { lists, unlisted } = toIdLists(accountRefs)
      for (const ids of lists) {
        const query = { resultType: 'details', accountIds: ids }
        const list = await readPages(query, customerHeaders(access, customer))
        isPartial ||= list.isPartial
        for (const raw of list.entries) {
          const account = parseWireAccount(raw)
          if (!account) tools.report('INVALID_ACCOUNT')
          else entriesByRef.get(account.wire.accountId)?.push(account)
        }
      }
      const byRef = new Map<string, Balances | GatewayError>(
        [...entriesByRef].flatMap(([ref, entries]) =>
          entries.length > 0 ? [[ref, readBalances(entries, ERROR_CODES, tools)] as const] : [],
        ),
      )
      for (const ref of unlisted) byRef.set(ref, await readAccount(access, ref, customer).catch(toGatewayError))
      return selectAccounts(accountRefs, { byRef, isPartial })
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
