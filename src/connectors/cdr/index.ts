import { z } from 'zod'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { parseWire } from '../../kernel/wire.ts'
import { alreadyGone, bankApi, interactionId, secret, type AllowedPaths, type ErrorWords } from '../bank-api.ts'
import type {
  BankAccess,
  BankInterface,
  ConnectorTools,
  PresentCustomer,
  Registration,
  Standard,
} from '../connector.ts'
import { registerDynamically } from '../dynamic-registration.ts'
import { endpointFaultOf, type Resources } from '../endpoints.ts'
import { fapiClient } from '../fapi.ts'
import { overPages } from '../pages.ts'
import { only, theOne, valuesOf } from '../reading.ts'
import { commonRegistration } from '../registration.ts'
import { wordTable } from '../word-table.ts'
import { readCdrEvent } from './events.ts'
import { toAccount, toBalances } from './normalise.ts'
import { clientHeaders, VERSIONS } from './quirks.ts'
import { accountsAnswer, balanceAnswer, balancesAnswer, errorCodes } from './wire.ts'

/** All that Guichet ever calls at a CDR bank. */
const PATHS = {
  accounts: ['GET', '/banking/accounts'],
  balances: ['GET', '/banking/accounts/balances'],
  balance: ['GET', '/banking/accounts/{account}/balance'],
} as const satisfies AllowedPaths

/** The standard's error codes, without their prefix (1.36, "Error codes"). */
const WORDS: ErrorWords = {
  shape: errorCodes,
  codes: wordTable<ErrorCode>({
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
/** All that Guichet ever asks a customer's bank for; balances need no more. */
const SCOPE = 'openid bank:accounts.basic:read'
const PAGE_SIZE = '1000'

interface CdrRegistration extends Registration {
  readonly version: '1.36.0'
}

/**
 * The Australian Consumer Data Right 1.36, banking: no resource for consents but an arrangement, which the tokens bring;
 * FAPI 1.0 Advanced with pushed, signed requests and JARM answers.
 */
export const cdr: Standard<CdrRegistration> = {
  id: 'CDR',
  name: 'Australian Consumer Data Right',
  registration: (address) => z.strictObject({ ...commonRegistration(address), version: z.literal('1.36.0') }),
  resources: resourcesOf,
  newConsentEndsEarlier: false,
  connect,
  introduce: (registration, tools, statement) =>
    registerDynamically(registration, tools, statement, {
      scope: `${SCOPE} cdr:registration`,
      endpointFault: endpointFaultOf(registration, resourcesOf(registration)),
    }),
  readEvent: readCdrEvent,
}

function resourcesOf({ apiBase }: CdrRegistration): Resources[] {
  return [{ base: apiBase, paths: PATHS }]
}

function connect(registration: CdrRegistration, tools: ConnectorTools): BankInterface {
  const endpointFault = endpointFaultOf(registration, resourcesOf(registration))
  const oauth = fapiClient(registration, tools, {
    signedMessages: true,
    openIdConnect: true,
    pushed: true,
    endpointFault,
  })
  const call = bankApi(PATHS, registration.apiBase, tools, WORDS)

  /** The customer counts as present only with both headers, so without a known browser the look is an unattended one. */
  const onBehalf = ({ accessToken, signedInAt }: BankAccess, customer: PresentCustomer | null) => ({
    authorization: `Bearer ${accessToken}`,
    'x-fapi-interaction-id': interactionId(tools),
    ...(signedInAt && { 'x-fapi-auth-date': new Date(signedInAt).toUTCString() }),
    ...(customer?.userAgent && {
      'x-fapi-customer-ip-address': customer.ip,
      'x-cds-client-headers': clientHeaders(customer.userAgent),
    }),
  })

  const entries = <T extends { links?: { next?: string | undefined } | undefined }>(
    operation: 'accounts' | 'balances',
    headers: Record<string, string>,
    shape: z.ZodType<T>,
    listIn: (answer: T) => unknown[],
  ): Promise<unknown[]> =>
    overPages<string>(async (page) => {
      const where = page ? { page } : { query: { 'page-size': PAGE_SIZE } }
      const answer = parseWire(shape, (await call(operation, { headers, ...where })).text)
      return { entries: listIn(answer), next: answer.links?.next }
    }, tools.report)

  return {
    async requestConsent({ expiresAt, state }) {
      const resume = { consentRef: '', state, codeVerifier: secret(tools), nonce: secret(tools) }
      const seconds = Math.floor((expiresAt.getTime() - tools.clock.now().getTime()) / 1_000)
      const claims = JSON.stringify({ sharing_duration: seconds })
      return { url: await oauth.signInUrl({ scope: SCOPE, response_type: 'code', claims }, resume), resume }
    },

    async completeSignIn(callback, resume) {
      const { access, answer } = await oauth.exchange(callback, resume)
      const consentRef = answer['cdr_arrangement_id']
      // Without it the arrangement could neither be ended by us nor be recognised when the bank ends it.
      if (typeof consentRef !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(consentRef))
        throw new GatewayError('BANK_RESPONSE_INVALID', { internal: 'no arrangement id with the tokens' })
      return { ...access, consentRef }
    },

    refresh: (access) => oauth.refresh(access),

    async accounts(access, customer) {
      const headers = { ...onBehalf(access, customer), ...VERSIONS.accounts }
      const list = await entries('accounts', headers, accountsAnswer, ({ data }) => data.accounts)
      const accounts = valuesOf(list.map(toAccount), tools.report)
      return [...new Map(accounts.map((account) => [account.ref, account])).values()]
    },

    async balances(access, accountRef, customer) {
      const headers = { ...onBehalf(access, customer), ...VERSIONS.balance }
      const { data } = parseWire(
        balanceAnswer,
        (await call('balance', { params: { account: accountRef }, headers })).text,
      )
      return theOne(accountRef, toBalances([data], tools.report), tools.report)
    },

    async bulkBalances(access, accountRefs, customer) {
      const headers = { ...onBehalf(access, customer), ...VERSIONS.balances }
      const list = await entries('balances', headers, balancesAnswer, ({ data }) => data.balances)
      return only(accountRefs, toBalances(list, tools.report))
    },

    async revokeConsent(consentRef) {
      const form = { cdr_arrangement_id: consentRef }
      await oauth.post('cdr_arrangement_revocation_endpoint', form).catch(alreadyGone)
    },
  }
}
