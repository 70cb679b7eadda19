import { z } from 'zod'
import { DAY_MS } from '../../kernel/clock.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { parseWire } from '../../kernel/wire.ts'
import { alreadyGone, bankApi, interactionId, secret, type AllowedPaths, type ErrorWords } from '../bank-api.ts'
import type {
  BankAccess,
  BankInterface,
  Balances,
  ConnectorTools,
  PresentCustomer,
  Registration,
  Standard,
} from '../connector.ts'
import { endpointFaultOf, type Resources } from '../endpoints.ts'
import { fapiClient } from '../fapi.ts'
import { overPages } from '../pages.ts'
import { NO_BALANCES, valuesOf } from '../reading.ts'
import { commonRegistration } from '../registration.ts'
import { wordTable } from '../word-table.ts'
import { readFdxEvent } from './events.ts'
import { errorOf, toAccount, toBalances } from './normalise.ts'
import { consentIdIn } from './quirks.ts'
import { accountAnswer, accountsAnswer, errorCodes, readAccount } from './wire.ts'

/** All that Guichet ever calls at an FDX bank. Balances ride on the accounts. */
const PATHS = {
  accounts: ['GET', '/accounts'],
  account: ['GET', '/accounts/{account}'],
  revokeConsent: ['PUT', '/consents/{consent}/revocation'],
} as const satisfies AllowedPaths

/** FDX's own error codes, which are not the HTTP status. */
const WORDS: ErrorWords = {
  shape: errorCodes,
  codes: wordTable<ErrorCode>({
    '701': 'BALANCE_NOT_PROVIDED',
    '705': 'BALANCE_NOT_PROVIDED',
    '706': 'ACCOUNT_UNAVAILABLE',
    '1205': 'RECONNECT_REQUIRED',
    '1207': 'BANK_RATE_LIMITED',
  }),
}
const PAGE_SIZE = '200'

interface FdxRegistration extends Registration {
  readonly version: string
  readonly balanceCluster: 'BALANCES' | 'ACCOUNT_DETAILED'
}

/**
 * FDX API 4.6 to 6.x, accounts wrapped and flat, over FAPI with pushed authorization requests that say in detail what is
 * asked for (RFC 9396). `balanceCluster`: BALANCES where the bank offers such a data cluster, ACCOUNT_DETAILED where
 * balances are part of that.
 */
export const fdx: Standard<FdxRegistration> = {
  id: 'FDX',
  name: 'FDX API',
  registration: (address) =>
    z.strictObject({
      ...commonRegistration(address),
      version: z.string().regex(/^(4\.6|5\.[0-3]|6\.[0-5])$/, '4.6 to 6.5'),
      balanceCluster: z.enum(['BALANCES', 'ACCOUNT_DETAILED']),
    }),
  resources: resourcesOf,
  newConsentEndsEarlier: false,
  connect,
  readEvent: readFdxEvent,
}

function resourcesOf({ apiBase }: FdxRegistration): Resources[] {
  return [{ base: apiBase, paths: PATHS }]
}

function connect(registration: FdxRegistration, tools: ConnectorTools): BankInterface {
  const endpointFault = endpointFaultOf(registration, resourcesOf(registration))
  const oauth = fapiClient(registration, tools, {
    signedMessages: false,
    openIdConnect: false,
    pushed: true,
    endpointFault,
  })
  const call = bankApi(PATHS, registration.apiBase, tools, WORDS)
  const onBehalf = ({ accessToken, signedInAt }: BankAccess, customer: PresentCustomer | null) => ({
    authorization: `Bearer ${accessToken}`,
    'x-fapi-interaction-id': interactionId(tools),
    'fdx-api-actor-type': customer ? 'USER' : 'BATCH',
    ...(signedInAt && { 'x-fapi-auth-date': new Date(signedInAt).toUTCString() }),
    ...(customer && { 'x-fapi-customer-ip-address': customer.ip }),
  })

  const entries = (query: Record<string, string>, headers: Record<string, string>): Promise<unknown[]> =>
    overPages<Record<string, string>>(async (where) => {
      const { text } = await call('accounts', { query: { ...query, limit: PAGE_SIZE, ...where }, headers })
      const { accounts, page } = parseWire(accountsAnswer, text, 'TEXT')
      if (page?.nextPageKey) return { entries: accounts, next: { nextPageKey: page.nextPageKey } }
      const isMore = page?.nextOffset && accounts.length > 0
      return { entries: accounts, next: isMore ? { offset: page.nextOffset! } : undefined }
    }, tools.report)

  return {
    async requestConsent({ expiresAt, state }) {
      const days = Math.ceil((expiresAt.getTime() - tools.clock.now().getTime()) / DAY_MS)
      const clusters = [...new Set(['ACCOUNT_BASIC', registration.balanceCluster])]
      const details = {
        type: 'fdx_v1.0',
        consentRequest: {
          durationType: 'TIME_BOUND',
          durationPeriod: days,
          // Nothing of the past is asked for, and there is no TRANSACTIONS cluster, ever.
          lookbackPeriod: 0,
          resources: [{ resourceType: 'ACCOUNT', dataClusters: clusters }],
        },
      }
      const resume = { consentRef: '', state, codeVerifier: secret(tools), nonce: '' }
      const asked = { response_type: 'code', authorization_details: JSON.stringify([details]) }
      return { url: await oauth.signInUrl(asked, resume), resume }
    },

    async completeSignIn(callback, resume) {
      const { access, answer } = await oauth.exchange(callback, resume)
      const consentRef = consentIdIn(answer)
      // Without it the consent could neither be ended by us nor be recognised when the bank ends it.
      if (!consentRef) throw new GatewayError('BANK_RESPONSE_INVALID', { internal: 'no consent id with the tokens' })
      return { ...access, consentRef }
    },

    refresh: (access) => oauth.refresh(access),

    async accounts(access, customer) {
      const list = await entries({ resultType: 'lightweight' }, onBehalf(access, customer))
      const accounts = valuesOf(list.map(toAccount), tools.report)
      return [...new Map(accounts.map((account) => [account.ref, account])).values()]
    },

    async balances(access, accountRef, customer) {
      const { text } = await call('account', { params: { account: accountRef }, headers: onBehalf(access, customer) })
      const account = parseWire(accountAnswer, text, 'TEXT')
      const error = errorOf(account, WORDS.codes)
      if (error) throw error
      if (account.accountId === accountRef) return toBalances(account, tools.report)
      tools.report('OTHER_ACCOUNT')
      return NO_BALANCES
    },

    async bulkBalances(access, accountRefs, customer) {
      const query = { resultType: 'details', accountIds: accountRefs.join(',') }
      const told = new Map<string, Balances | GatewayError>()
      for (const raw of await entries(query, onBehalf(access, customer))) {
        const account = readAccount(raw)
        if (!account) tools.report('NOT_AN_ACCOUNT')
        else if (accountRefs.includes(account.accountId))
          told.set(account.accountId, errorOf(account, WORDS.codes) ?? toBalances(account, tools.report))
      }
      return told
    },

    async revokeConsent(consentRef) {
      const authorization = `Bearer ${await oauth.ownToken('fdx:consents:revoke')}`
      const headers = { authorization, 'x-fapi-interaction-id': interactionId(tools) }
      const body = { reason: 'USER_ACTION', initiator: 'INDIVIDUAL' }
      await call('revokeConsent', { params: { consent: consentRef }, headers, body }).catch(alreadyGone)
    },
  }
}
