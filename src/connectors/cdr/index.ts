import { z } from 'zod'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import {
  ignoreIfEnded,
  createBankApi,
  createInteractionId,
  createSecret,
  parseResponse,
  readLinkedPages,
  type LinkedPageFormat,
} from '../bank-api.ts'
import type {
  BankAccess,
  BankInterface,
  ConnectorTools,
  PresentCustomer,
  Registration,
  Standard,
} from '../connector.ts'
import {
  registerDynamically,
  registrationRequestRules,
  type RegistrationRequestRules,
} from '../dynamic-registration.ts'
import { createEndpointCheck, type AllowedOperations, type ResourceServer } from '../endpoints.ts'
import type { ErrorCodes } from '../error-bodies.ts'
import { createOauthClient } from '../oauth-client.ts'
import { FAPI_ADVANCED } from '../oauth-defaults.ts'
import { resolveOauthProfile, type OauthProfile } from '../oauth-profile.ts'
import { selectAccounts, selectAccount, collectValues, mergeAccounts } from '../parsing.ts'
import { commonRegistration } from '../registration.ts'
import { requireCallback } from '../sign-in.ts'
import { createCodeMap } from '../code-map.ts'
import { readCdrEvent } from './events.ts'
import { parseAccount, parseBalances } from './normalise.ts'
import { isOpaqueId } from '../wire-members.ts'
import { clientHeaders } from './quirks.ts'
import { withVersions } from './versions.ts'
import { accountsResponse, balanceResponse, balancesResponse } from './wire.ts'

/** Every operation that Guichet calls at a CDR bank. */
const OPERATIONS = {
  accounts: ['GET', '/banking/accounts'],
  balances: ['GET', '/banking/accounts/balances'],
  balance: ['GET', '/banking/accounts/{account}/balance'],
} as const satisfies AllowedOperations

/** The standard's error codes, without their prefix (1.36, "Error codes"). */
const ERROR_CODES: ErrorCodes = {
  withoutPrefix: (code) => code.replace(/^urn:au-cds:error:cds-\w+:/i, ''),
  codes: createCodeMap<ErrorCode>({
    'Authorisation/RevokedConsent': 'RECONNECT_REQUIRED',
    'Authorisation/InvalidConsent': 'RECONNECT_REQUIRED',
    'Authorisation/AdrStatusNotActive': 'BANK_REFUSED',
    'Authorisation/InvalidBankingAccount': 'BALANCE_NOT_PROVIDED',
    'Resource/InvalidBankingAccount': 'BALANCE_NOT_PROVIDED',
    'Authorisation/UnavailableBankingAccount': 'ACCOUNT_UNAVAILABLE',
    'Resource/UnavailableBankingAccount': 'ACCOUNT_UNAVAILABLE',
    'Header/UnsupportedVersion': 'BANK_REFUSED',
    'Header/InvalidVersion': 'BANK_REFUSED',
    'Service/Unavailable': 'BANK_UNAVAILABLE',
  }),
}
const ACCOUNT_PAGES: LinkedPageFormat<typeof accountsResponse> = {
  schema: accountsResponse,
  entriesOf: ({ data }) => data.accounts,
  nextOf: ({ links }) => links?.next,
}
const BALANCE_PAGES: LinkedPageFormat<typeof balancesResponse> = {
  schema: balancesResponse,
  entriesOf: ({ data }) => data.balances,
  nextOf: ({ links }) => links?.next,
}
/** The only scope that Guichet requests; it covers accounts and balances. */
const SCOPE = 'openid bank:accounts.basic:read'
/** The credential levels that suffice for reading (1.36, "Levels of Assurance"). */
const LEVELS_OF_ASSURANCE = ['urn:cds.au:cdr:2', 'urn:cds.au:cdr:3']
/** The standard's maximum, so that most lists have one page (1.36, "Pagination"). */
const MAX_PAGE_SIZE = 1_000

/** FAPI 1.0 Advanced with pushed, signed requests and JARM responses (1.36, "Authentication flows"). */
const OAUTH_DEFAULTS: OauthProfile = { ...FAPI_ADVANCED, usesPar: true, scope: SCOPE }

interface CdrRegistration extends Registration {
  readonly version: '1.36.0'
  readonly pageSize?: number | undefined
  readonly dynamicRegistration?: RegistrationRequestRules | undefined
}

/**
 * The Australian Consumer Data Right 1.36, banking, over FAPI 1.0 Advanced with pushed, signed requests and JARM
 * responses. There is no consent resource: the token response names the arrangement.
 */
export const cdr: Standard<CdrRegistration> = {
  id: 'CDR',
  name: 'Australian Consumer Data Right',
  registration: (urlSchema) =>
    z.strictObject({
      ...commonRegistration(urlSchema),
      version: z.literal('1.36.0'),
      /** How many entries a page is requested with; a bank may allow fewer than the standard. */
      pageSize: z.int().min(1).max(MAX_PAGE_SIZE).optional(),
      /** How the bank takes registration requests. */
      dynamicRegistration: registrationRequestRules.optional(),
    }),
  resourceServers: resourceServersOf,
  describe: () => ({
    requestedData: [],
    consentEndEndpoint: 'cdr_arrangement_revocation_endpoint',
    headers: { accounts: CUSTOMER_HEADERS, balances: CUSTOMER_HEADERS, balance: CUSTOMER_HEADERS },
  }),
  oauthDefaults: OAUTH_DEFAULTS,
  newConsentReplacesPrevious: false,
  connect,
  registerDynamically: (registration, tools, statement) =>
    registerDynamically(registration, tools, statement, {
      scope: `${SCOPE} cdr:registration`,
      profile: resolveOauthProfile(OAUTH_DEFAULTS, registration.oauth),
      rules: registration.dynamicRegistration,
      checkEndpoint: createEndpointCheck(registration, resourceServersOf(registration)),
    }),
  readEvent: readCdrEvent,
}

function resourceServersOf({ apiBase }: CdrRegistration): ResourceServer[] {
  return [{ baseUrl: apiBase, operations: OPERATIONS }]
}

const CUSTOMER_HEADERS = [
  'authorization',
  'x-fapi-interaction-id',
  'x-fapi-auth-date',
  'x-fapi-customer-ip-address',
  'x-cds-client-headers',
  'x-v',
  'x-min-v',
]

function connect(registration: CdrRegistration, tools: ConnectorTools): BankInterface {
  const checkEndpoint = createEndpointCheck(registration, resourceServersOf(registration))
  const oauth = createOauthClient(
    registration,
    tools,
    resolveOauthProfile(OAUTH_DEFAULTS, registration.oauth),
    checkEndpoint,
  )
  const callBank = withVersions(createBankApi(OPERATIONS, registration.apiBase, tools, ERROR_CODES))

  /** CDR requires both customer headers together, so a request without a known user agent is unattended. */
  const customerHeaders = ({ accessToken, signedInAt }: BankAccess, customer: PresentCustomer | null) => ({
    authorization: `Bearer ${accessToken}`,
    'x-fapi-interaction-id': createInteractionId(tools),
    ...(signedInAt && { 'x-fapi-auth-date': new Date(signedInAt).toUTCString() }),
    ...(customer?.userAgent && {
      'x-fapi-customer-ip-address': customer.ip,
      'x-cds-client-headers': clientHeaders(customer.userAgent),
    }),
  })

  const readPages = <T extends z.ZodType>(
    operation: 'accounts' | 'balances',
    headers: Record<string, string>,
    format: LinkedPageFormat<T>,
  ) =>
    readLinkedPages(
      callBank,
      operation,
      { headers, query: { 'page-size': String(registration.pageSize ?? MAX_PAGE_SIZE) } },
      format,
      tools.report,
    )

  return {
    async requestConsent({ expiresAt, state }) {
      const pending = { consentRef: '', state, codeVerifier: createSecret(tools), nonce: createSecret(tools) }
      const durationSeconds = Math.floor((expiresAt.getTime() - tools.clock.now().getTime()) / 1_000)
      const claims = JSON.stringify({
        sharing_duration: durationSeconds,
        id_token: { acr: { essential: true, values: LEVELS_OF_ASSURANCE } },
      })
      return { kind: 'REDIRECT', url: await oauth.signInUrl({ claims }, pending), pending }
    },

    async continueSignIn(input, pending) {
      const { access, tokenResponse } = await oauth.redeemCode(requireCallback(input), pending)
      const consentRef = tokenResponse['cdr_arrangement_id']
      // Without the id, the gateway can neither revoke the arrangement nor match its revocation by the bank.
      if (typeof consentRef !== 'string' || !isOpaqueId(consentRef))
        throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'token response has no arrangement id' })
      return { kind: 'COMPLETE', access: { ...access, consentRef } }
    },

    refresh: (access) => oauth.refresh(access),

    async accounts(access, customer) {
      const { entries } = await readPages('accounts', customerHeaders(access, customer), ACCOUNT_PAGES)
      return mergeAccounts(collectValues(entries.map(parseAccount), tools.report))
    },

    async balances(access, accountRef, customer) {
      const request = { params: { account: accountRef }, headers: customerHeaders(access, customer) }
      const response = await callBank('balance', request)
      const { data } = parseResponse(balanceResponse, response, tools.report)
      const byRef = parseBalances(data === null ? [] : [data], tools)
      return selectAccount(accountRef, { byRef, isPartial: false }, tools.report)
    },

    async bulkBalances(access, accountRefs, customer) {
      const { entries, isPartial } = await readPages('balances', customerHeaders(access, customer), BALANCE_PAGES)
      return selectAccounts(accountRefs, { byRef: parseBalances(entries, tools), isPartial })
    },

    async revokeConsent({ consentRef }) {
      const form = { cdr_arrangement_id: consentRef }
      await oauth.post('cdr_arrangement_revocation_endpoint', form).catch(ignoreIfEnded)
    },
  }
}
