import { z } from 'zod'
import type { ErrorCode } from '../../kernel/errors.ts'
import {
  ignoreIfEnded,
  createBankApi,
  createInteractionId,
  readLinkedPages,
  type LinkedPageFormat,
} from '../bank-api.ts'
import type {
  BankAccess,
  BankInterface,
  PollEvents,
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
import { messageSigningRules, signMessage, type MessageSigningRules } from '../message-signing.ts'
import { createOauthClient } from '../oauth-client.ts'
import { FAPI_ADVANCED } from '../oauth-defaults.ts'
import { resolveOauthProfile, type OauthProfile } from '../oauth-profile.ts'
import { selectAccounts, selectAccount, collectValues, mergeAccounts } from '../parsing.ts'
import { commonRegistration } from '../registration.ts'
import { createCodeMap } from '../code-map.ts'
import { createEventPoller, EVENT_OPERATIONS, readObieEvent } from './events.ts'
import { parseAccount, parseBalances } from './normalise.ts'
import { createObieSignIn, PERMISSIONS } from './sign-in.ts'
import { accountsResponse, balancesResponse } from './wire.ts'

/** Every operation that Guichet calls at the account API of an Open Banking bank. */
const OPERATIONS = {
  createConsent: ['POST', '/account-access-consents'],
  consent: ['GET', '/account-access-consents/{consent}'],
  deleteConsent: ['DELETE', '/account-access-consents/{consent}'],
  accounts: ['GET', '/accounts'],
  balances: ['GET', '/accounts/{account}/balances'],
  allBalances: ['GET', '/balances'],
} as const satisfies AllowedOperations

/** Links of a bank name few sister brands. */
const MAX_LINK_BASES = 8
/** Customers would not wait longer. */
const MAX_CONSENT_READY_SECONDS = 120

/** Codes that are more specific than their HTTP status: 4.0, "UK Open Banking error codes", and those of 3.1.11. */
const ERROR_CODES: ErrorCodes = {
  codes: createCodeMap<ErrorCode>({
    U028: 'RECONNECT_REQUIRED',
    'UK.OBIE.Reauthenticate': 'RECONNECT_REQUIRED',
    'UK.OBIE.Resource.InvalidConsentStatus': 'RECONNECT_REQUIRED',
    U011: 'BALANCE_NOT_PROVIDED',
    'UK.OBIE.Resource.NotFound': 'BALANCE_NOT_PROVIDED',
    'UK.OBIE.Rules.ResourceAlreadyExists': 'BANK_REFUSED',
    'UK.OBIE.Header.Missing': 'BANK_REFUSED',
    'UK.OBIE.Header.Invalid': 'BANK_REFUSED',
  }),
}

const ACCOUNT_PAGES: LinkedPageFormat<typeof accountsResponse> = {
  schema: accountsResponse,
  entriesOf: ({ Data }) => Data.Account,
  nextOf: ({ Links }) => Links?.Next,
}
const BALANCE_PAGES: LinkedPageFormat<typeof balancesResponse> = {
  schema: balancesResponse,
  entriesOf: ({ Data }) => Data.Balance,
  nextOf: ({ Links }) => Links?.Next,
}

/** With the parameters that FAPI 1.0 Advanced repeats outside the request object, and the consent in the ID token. */
const OAUTH_DEFAULTS: OauthProfile = {
  ...FAPI_ADVANCED,
  requestObject: { audience: 'ISSUER', lifetimeSeconds: 300, repeatedParameters: ['response_type', 'scope'] },
  idTokenNamesConsent: true,
  scope: 'openid accounts',
  clientScope: 'accounts',
}

interface ObieRegistration extends Registration {
  readonly version: '3.1.11' | '4.0'
  readonly bulkBalances: boolean
  readonly eventsApi?: string | undefined
  readonly financialId?: string | undefined
  readonly linkBases?: readonly string[] | undefined
  readonly consentReadyAfterSeconds?: number | undefined
  readonly messageSigning?: MessageSigningRules | undefined
  readonly dynamicRegistration?: RegistrationRequestRules | undefined
}

/**
 * UK Open Banking Read/Write 3.1.11 and 4.0, account information, over FAPI 1.0 Advanced with signed requests and JARM
 * responses. The versions differ in the names of types and statuses; both are accepted whichever is registered.
 */
export const obie: Standard<ObieRegistration> = {
  id: 'OBIE',
  name: 'UK Open Banking Read/Write',
  registration: (urlSchema) =>
    z.strictObject({
      ...commonRegistration(urlSchema),
      version: z.enum(['3.1.11', '4.0']),
      bulkBalances: z.boolean().default(false),
      /** Base URL for event notification subscriptions and aggregated polling. */
      eventsApi: urlSchema.optional(),
      /** The bank's id in the directory, if it requires `x-fapi-financial-id`. */
      financialId: z
        .string()
        .regex(/^[\w.-]{1,64}$/, '1 to 64 letters, digits, dots, underscores or hyphens')
        .optional(),
      /** Base URLs of sister brands that the bank writes in links to next pages. Nothing is sent there. */
      linkBases: z.array(urlSchema).max(MAX_LINK_BASES).optional(),
      /** How long after its creation a consent can be used at the latest. Absent if immediately. */
      consentReadyAfterSeconds: z.int().min(1).max(MAX_CONSENT_READY_SECONDS).optional(),
      /** Who signs event subscriptions ("Message Signing"); they are sent unsigned without it. */
      messageSigning: messageSigningRules.optional(),
      /** How the bank takes registration requests (DCR 3.2 to 3.4). */
      dynamicRegistration: registrationRequestRules.optional(),
    }),
  registrationFaults: ({ eventsApi, events }) =>
    eventsApi !== undefined && events?.pollUrl !== undefined
      ? [{ path: ['events', 'pollUrl'], message: 'must be absent with `eventsApi`: the gateway polls there' }]
      : [],
  resourceServers: resourceServersOf,
  describe: (registration) => ({ requestedData: PERMISSIONS, headers: headersOf(registration) }),
  oauthDefaults: OAUTH_DEFAULTS,
  newConsentReplacesPrevious: false,
  connect,
  registerDynamically: (registration, tools, statement) =>
    registerDynamically(registration, tools, statement, {
      scope: 'openid accounts',
      profile: resolveOauthProfile(OAUTH_DEFAULTS, registration.oauth),
      rules: registration.dynamicRegistration,
      checkEndpoint: createEndpointCheck(registration, resourceServersOf(registration)),
    }),
  readEvent: readObieEvent,
}

function resourceServersOf({ apiBase, eventsApi }: ObieRegistration): ResourceServer[] {
  return [
    { baseUrl: apiBase, operations: OPERATIONS },
    ...(eventsApi === undefined ? [] : [{ baseUrl: eventsApi, operations: EVENT_OPERATIONS }]),
  ]
}

/** The header names of each operation that the registration uses. */
function headersOf(registration: ObieRegistration): Record<string, readonly string[]> {
  const { bulkBalances, financialId, consentReadyAfterSeconds, messageSigning } = registration
  const token = [
    'authorization',
    'x-fapi-interaction-id',
    ...(financialId === undefined ? [] : ['x-fapi-financial-id']),
  ]
  const customer = [...token, 'x-fapi-auth-date', 'x-fapi-customer-ip-address', 'x-customer-user-agent']
  return {
    createConsent: [...token, 'x-fapi-customer-ip-address'],
    ...(consentReadyAfterSeconds !== undefined && { consent: token }),
    deleteConsent: token,
    accounts: customer,
    balances: customer,
    ...(bulkBalances && { allBalances: customer }),
    subscriptions: token,
    subscribe: messageSigning ? [...token, 'x-jws-signature'] : token,
    events: token,
  }
}

/** A list at `apiBase` has the same path below each of the bank's `linkBases`. */
const createAliases =
  ({ apiBase, linkBases = [] }: ObieRegistration) =>
  (listUrl: string): string[] =>
    linkBases.map((base) => withoutSlash(base) + listUrl.slice(withoutSlash(apiBase).length))
const withoutSlash = (base: string): string => base.replace(/\/$/, '')

function connect(registration: ObieRegistration, tools: ConnectorTools): BankInterface {
  const checkEndpoint = createEndpointCheck(registration, resourceServersOf(registration))
  const oauth = createOauthClient(
    registration,
    tools,
    resolveOauthProfile(OAUTH_DEFAULTS, registration.oauth),
    checkEndpoint,
  )
  const { apiBase, financialId } = registration
  const callBank = createBankApi(OPERATIONS, apiBase, tools, ERROR_CODES)
  const tokenHeaders = (token: string) => ({
    authorization: `Bearer ${token}`,
    'x-fapi-interaction-id': createInteractionId(tools),
    ...(financialId !== undefined && { 'x-fapi-financial-id': financialId }),
  })
  /** The events API accepts JSON only with its character set (events-openapi.yaml of both versions, `requestBody`). */
  const bodyHeaders = (token: string) => ({
    ...tokenHeaders(token),
    'content-type': 'application/json; charset=utf-8',
  })

  /** Sends the customer's address if and only if the customer is present (3.1.11 and 4.0, "Headers"). */
  const customerHeaders = ({ accessToken, signedInAt }: BankAccess, customer: PresentCustomer | null) => ({
    ...tokenHeaders(accessToken),
    ...(signedInAt && { 'x-fapi-auth-date': new Date(signedInAt).toUTCString() }),
    ...(customer && { 'x-fapi-customer-ip-address': customer.ip }),
    ...(customer?.userAgent && { 'x-customer-user-agent': customer.userAgent }),
  })

  const startEventPoller = (eventsApi: string): PollEvents => {
    const rules = registration.messageSigning
    return createEventPoller({
      callEventsApi: createBankApi(EVENT_OPERATIONS, eventsApi, tools, ERROR_CODES),
      tools,
      version: registration.version === '3.1.11' ? '3.1' : '4.0',
      getToken: () => oauth.clientCredentialsToken(),
      tokenHeaders,
      bodyHeaders,
      sign: rules && ((body) => signMessage(body, rules, oauth.profile.signingAlgorithm, tools)),
    })
  }

  const readPages = <T extends z.ZodType>(
    operation: 'accounts' | 'balances' | 'allBalances',
    request: { params?: Record<string, string>; headers: Record<string, string> },
    format: LinkedPageFormat<T>,
  ) =>
    readLinkedPages(callBank, operation, request, { ...format, aliasesOf: createAliases(registration) }, tools.report)

  return {
    ...createObieSignIn({
      oauth,
      tools,
      callBank,
      tokenHeaders,
      bodyHeaders,
      consentReadyAfterSeconds: registration.consentReadyAfterSeconds,
    }),

    refresh: (access) => oauth.refresh(access),

    async accounts(access, customer) {
      const { entries } = await readPages('accounts', { headers: customerHeaders(access, customer) }, ACCOUNT_PAGES)
      return mergeAccounts(collectValues(entries.map(parseAccount), tools.report))
    },

    async balances(access, accountRef, customer) {
      const request = { params: { account: accountRef }, headers: customerHeaders(access, customer) }
      const { entries, isPartial } = await readPages('balances', request, BALANCE_PAGES)
      return selectAccount(accountRef, { byRef: parseBalances(entries, tools), isPartial }, tools.report)
    },

    bulkBalances: registration.bulkBalances
      ? async (access, accountRefs, customer) => {
          const request = { headers: customerHeaders(access, customer) }
          const { entries, isPartial } = await readPages('allBalances', request, BALANCE_PAGES)
          return selectAccounts(accountRefs, { byRef: parseBalances(entries, tools), isPartial })
        }
      : undefined,

    pollEvents: registration.eventsApi === undefined ? undefined : startEventPoller(registration.eventsApi),

    async revokeConsent({ consentRef }) {
      const token = await oauth.clientCredentialsToken()
      await callBank('deleteConsent', { params: { consent: consentRef }, headers: tokenHeaders(token) }).catch(
        ignoreIfEnded,
      )
    },
  }
}
