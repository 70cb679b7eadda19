import { generateKeyPairSync } from 'node:crypto'
import {
  createUrlSchema,
  STANDARDS,
  type BankAccount,
  type BankBalance,
  type BankInterface,
  type StandardId,
} from '../../src/connectors/index.ts'
import { urlFault } from '../../src/kernel/addresses.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { ACCESS, scriptedBank, type ScriptedBank } from './scripted-bank.ts'

/** A public key without a known private key. */
const EVENT_KEY = {
  ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }),
  kid: 'e',
}

/** The URL schema with production's address rules. */
export const ADDRESS = createUrlSchema((url) => urlFault(url, { allowLoopback: false, allowPlainHttp: false }))

export const common = {
  bank: { id: 'testbank', name: 'Testbank', country: 'GB' },
  authorizationServer: 'https://auth.bank.example',
  apiBase: 'https://api.bank.example/base',
  clientId: 'guichet',
  events: { issuer: 'https://bank.example', keys: { keys: [EVENT_KEY] } },
}

export interface Example {
  readonly registration: Record<string, unknown>
  /** A balances response of the standard with one valid balance of 12.30. */
  readonly balances: (extra?: Record<string, unknown>) => unknown
  readonly account: string
  readonly accounts: (extra?: Record<string, unknown>) => unknown
  /** The same response, with another value as the amount. */
  readonly amount: (amount: unknown) => unknown
  /** Values that are not valid amounts. */
  readonly noAmounts: readonly unknown[]
  /** The calls for the accounts, for one account's balances and, if supported, for several accounts' balances. */
  readonly calls: readonly string[]
  /** The headers that a request has only while the customer is present. */
  readonly presence: readonly string[]
  /** Error bodies of the standard with the error code that each maps to, whatever its status. */
  readonly errors: readonly (readonly [status: number, body: unknown, code: string])[]
}

const INVALID_AMOUNT_TEXTS = [
  'NaN',
  'Infinity',
  '',
  ' ',
  '12,30',
  '0x10',
  '--1',
  '1.2.3',
  '١٢',
  '1.234567',
  '9'.repeat(40),
]
const INVALID_AMOUNT_VALUES = [{}, [], true]

export const CANARY = 'CANARY-b7'
export const noise = {
  merchant: CANARY,
  transactions: [{ note: CANARY }],
  [CANARY]: CANARY,
  'x-last': { [CANARY]: CANARY },
}

const fdxAccount = {
  accountCategory: 'DEPOSIT_ACCOUNT',
  accountId: 'a1',
  accountType: 'CHECKING',
  accountNumberDisplay: '****5678',
  nickname: CANARY,
  lineOfBusiness: 'CONSUMER',
  status: 'OPEN',
  currency: { currencyCode: 'GBP' },
}
const URN = (code: string): string => `urn:au-cds:error:cds-all:${code}`
const cdrError = (code: string) => ({ errors: [{ code: URN(code), title: CANARY, detail: CANARY }] })

/** Valid responses of each standard, for the contract suite. */
export const EXAMPLES: Readonly<Record<StandardId, Example>> = {
  OBIE: {
    registration: { ...common, version: '4.0', bulkBalances: true },
    account: 'a1',
    calls: ['GET /accounts', 'GET /accounts/a1/balances', 'GET /balances'],
    presence: ['x-fapi-customer-ip-address', 'x-customer-user-agent'],
    noAmounts: [...INVALID_AMOUNT_TEXTS, ...INVALID_AMOUNT_VALUES, null, '1e3', '-1.00', '+1.00'],
    amount: (amount) => EXAMPLES.OBIE.balances({ Amount: { Amount: amount, Currency: 'GBP' } }),
    errors: [
      [400, { Errors: [{ ErrorCode: 'U028', Message: CANARY }] }, 'RECONNECT_REQUIRED'],
      [400, { Code: '400', Errors: [{ ErrorCode: 'UK.OBIE.Reauthenticate', Message: CANARY }] }, 'RECONNECT_REQUIRED'],
      [400, { Errors: [{ ErrorCode: 'UK.OBIE.Resource.NotFound' }] }, 'BALANCE_NOT_PROVIDED'],
      [403, { Errors: [{ ErrorCode: 'UK.OBIE.Header.Invalid' }] }, 'BANK_REFUSED'],
    ],
    balances: (extra) => ({
      Data: {
        Balance: [
          {
            AccountId: 'a1',
            CreditDebitIndicator: 'Credit',
            Type: 'ITAV',
            DateTime: '2026-01-01T00:00:00Z',
            Amount: { Amount: '12.30', Currency: 'GBP' },
            ...extra,
          },
        ],
        ...extra,
      },
      ...extra,
    }),
    accounts: (extra) => ({
      Data: {
        Account: [
          {
            AccountId: 'a1',
            Currency: 'GBP',
            AccountTypeCode: 'CACC',
            AccountCategory: 'Personal',
            Status: 'Enabled',
            Nickname: CANARY,
            Account: [
              { SchemeName: 'UK.OBIE.SortCodeAccountNumber', Identification: '20000012345678', Name: CANARY, ...extra },
            ],
            ...extra,
          },
        ],
      },
      ...extra,
    }),
  },
  BERLIN_GROUP: {
    registration: { ...common, version: '1.3.11', cardAccounts: false },
    account: 'a1',
    calls: ['GET /v1/accounts', 'GET /v1/accounts/a1/balances'],
    presence: ['psu-ip-address', 'psu-user-agent'],
    noAmounts: [...INVALID_AMOUNT_TEXTS, ...INVALID_AMOUNT_VALUES, null, '1e3'],
    amount: (amount) => EXAMPLES.BERLIN_GROUP.balances({ balanceAmount: { amount, currency: 'GBP' } }),
    errors: [
      [400, { tppMessages: [{ category: 'ERROR', code: 'CONSENT_EXPIRED', text: CANARY }] }, 'RECONNECT_REQUIRED'],
      [400, { type: 'https://x', title: CANARY, code: 'CONSENT_INVALID' }, 'RECONNECT_REQUIRED'],
      [400, { type: 'https://x', additionalErrors: [{ code: 'TOKEN_EXPIRED', title: CANARY }] }, 'RECONNECT_REQUIRED'],
      [403, { tppMessages: [{ category: 'ERROR', code: 'RESOURCE_UNKNOWN' }] }, 'BALANCE_NOT_PROVIDED'],
      [403, { tppMessages: [{ category: 'ERROR', code: 'SERVICE_BLOCKED' }] }, 'BANK_REFUSED'],
      [429, { tppMessages: [{ category: 'ERROR', code: 'ACCESS_EXCEEDED' }] }, 'BANK_QUOTA_EXHAUSTED'],
      [429, [{ category: 'ERROR', code: 'ACCESS_EXCEEDED' }], 'BANK_QUOTA_EXHAUSTED'],
    ],
    balances: (extra) => ({
      balances: [
        {
          balanceType: 'interimAvailable',
          balanceAmount: { amount: '12.30', currency: 'GBP', ...extra },
          lastChangeDateTime: '2026-01-01T10:11:12Z',
          lastCommittedTransaction: CANARY,
          ...extra,
        },
      ],
      ...extra,
    }),
    accounts: (extra) => ({
      accounts: [
        {
          resourceId: 'a1',
          iban: 'GB12345678',
          currency: 'GBP',
          cashAccountType: 'CACC',
          name: CANARY,
          ownerName: CANARY,
          details: CANARY,
          usage: 'PRIV',
          ...extra,
        },
      ],
      ...extra,
    }),
  },
  FDX: {
    registration: { ...common, version: '6.4', balanceCluster: 'BALANCES' },
    account: 'a1',
    calls: ['GET /accounts', 'GET /accounts/a1', 'GET /accounts'],
    presence: ['x-fapi-customer-ip-address'],
    noAmounts: [...INVALID_AMOUNT_TEXTS, ...INVALID_AMOUNT_VALUES],
    amount: (amount) => EXAMPLES.FDX.balances({ availableBalance: amount }),
    errors: [
      [404, { code: 701, message: CANARY, debugMessage: CANARY }, 'BALANCE_NOT_PROVIDED'],
      [409, { code: 705 }, 'BALANCE_NOT_PROVIDED'],
      [403, { code: 706 }, 'ACCOUNT_UNAVAILABLE'],
      [400, { code: '1205' }, 'RECONNECT_REQUIRED'],
      [400, { code: 1207 }, 'BANK_RATE_LIMITED'],
    ],
    balances: (extra) => ({ ...fdxAccount, availableBalance: '12.30', lastPaymentAmount: CANARY, ...extra }),
    accounts: (extra) => ({ accounts: [{ ...fdxAccount, ...extra }], page: {}, ...extra }),
  },
  CDR: {
    registration: { ...common, version: '1.36.0' },
    account: 'a1',
    calls: ['GET /banking/accounts', 'GET /banking/accounts/a1/balance', 'GET /banking/accounts/balances'],
    presence: ['x-fapi-customer-ip-address', 'x-cds-client-headers'],
    noAmounts: [...INVALID_AMOUNT_TEXTS, ...INVALID_AMOUNT_VALUES, '1e3'],
    amount: (amount) => EXAMPLES.CDR.balances({ availableBalance: amount }),
    errors: [
      [403, cdrError('Authorisation/RevokedConsent'), 'RECONNECT_REQUIRED'],
      [403, cdrError('Authorisation/InvalidConsent'), 'RECONNECT_REQUIRED'],
      [403, cdrError('Authorisation/AdrStatusNotActive'), 'BANK_REFUSED'],
      [404, cdrError('Authorisation/UnavailableBankingAccount'), 'ACCOUNT_UNAVAILABLE'],
      [422, cdrError('Authorisation/InvalidBankingAccount'), 'BALANCE_NOT_PROVIDED'],
      [406, cdrError('Header/UnsupportedVersion'), 'BANK_REFUSED'],
      [
        403,
        {
          errors: [
            { code: 'VENDOR-7', title: CANARY, detail: CANARY, meta: { urn: URN('Authorisation/RevokedConsent') } },
          ],
        },
        'RECONNECT_REQUIRED',
      ],
    ],
    balances: (extra) => ({
      data: { accountId: 'a1', availableBalance: '12.30', currency: 'GBP', ...extra },
      links: { self: 'https://x' },
      ...extra,
    }),
    accounts: (extra) => ({
      data: {
        accounts: [
          {
            accountId: 'a1',
            productCategory: 'TRANS_AND_SAVINGS_ACCOUNTS',
            maskedNumber: 'xxxx xxxx 5678',
            displayName: CANARY,
            nickname: CANARY,
            ...extra,
          },
        ],
      },
      ...extra,
    }),
  },
}

export const connect = (
  id: StandardId,
  respond: (request: OutboundRequest) => OutboundResponse,
  registration: Record<string, unknown> = {},
): ScriptedBank & { readonly bank: BankInterface } => {
  const scripted = scriptedBank(respond)
  const parsed = STANDARDS[id].registration(ADDRESS).parse({ ...EXAMPLES[id].registration, ...registration })
  return { bank: STANDARDS[id].connect(parsed, scripted.tools), ...scripted }
}

/** The balances of one account, without the customer present. */
export const balancesOf = async (bank: BankInterface, ref = 'a1'): Promise<readonly BankBalance[]> =>
  (await bank.balances(ACCESS, ref, null)).balances

/** The accounts, without the customer present. */
export const accountsOf = (bank: BankInterface): Promise<BankAccount[]> => bank.accounts(ACCESS, null)

export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'NONE',
    (error: unknown) => (error as { code?: string }).code ?? 'NOT A GATEWAY ERROR',
  )
