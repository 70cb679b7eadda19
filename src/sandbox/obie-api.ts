import type { BankConsent, SandboxBank } from './bank.ts'
import { computeBalances, formatUnsigned } from './history.ts'
import { authenticateBearer, oauthRoutes } from './oauth.ts'
import type { AccountKind, SandboxAccount, SandboxBankConfig } from './personas.ts'
import { json, HttpError, type Routes, type SandboxResponse, type SandboxRequest } from './server.ts'

/** The names that differ between the two versions. */
const VERSION_NAMES = {
  '4.0': {
    category: 'AccountCategory',
    type: 'AccountTypeCode',
    types: { CURRENT: 'CACC', SAVINGS: 'SVGS', CARD: 'CARD', LOAN: 'LOAN' },
    balances: { booked: 'ITBD', available: 'ITAV', expected: 'XPCD', forward: 'FWAV' },
    states: {
      AWAITING_AUTHORIZATION: 'AWAU',
      AUTHORIZED: 'AUTH',
      REJECTED: 'RJCT',
      REVOKED: 'CANC',
      DELETED: 'CANC',
      REPLACED: 'CANC',
    },
  },
  '3.1.11': {
    category: 'AccountType',
    type: 'AccountSubType',
    types: { CURRENT: 'CurrentAccount', SAVINGS: 'Savings', CARD: 'CreditCard', LOAN: 'Loan' },
    balances: {
      booked: 'InterimBooked',
      available: 'InterimAvailable',
      expected: 'Expected',
      forward: 'ForwardAvailable',
    },
    states: {
      AWAITING_AUTHORIZATION: 'AwaitingAuthorisation',
      AUTHORIZED: 'Authorised',
      REJECTED: 'Rejected',
      REVOKED: 'Revoked',
      DELETED: 'Revoked',
      REPLACED: 'Revoked',
    },
  },
} as const satisfies Record<
  string,
  {
    category: string
    type: string
    types: Record<AccountKind, string>
    balances: Record<string, string>
    states: Record<BankConsent['status'], string>
  }
>

const namesOf = ({ version }: SandboxBankConfig) => VERSION_NAMES[version === '3.1.11' ? '3.1.11' : '4.0']

/** Base path of the account information API. */
export const obieBase = ({ version }: SandboxBankConfig): string =>
  `/open-banking/${version === '3.1.11' ? 'v3.1' : 'v4.0'}/aisp`

/** UK Open Banking Read/Write, in the bank's version, including transactions for consents that allow them. */
export function obieRoutes(bank: SandboxBank): { api: Routes; oauth: Routes } {
  const BASE = obieBase(bank.config)
  const errorResponse = errorResponseFor(bank.config)
  const routes: Routes = {
    [`POST ${BASE}/account-access-consents`]: (request) => {
      const caller = authenticateBearer(bank, request)
      if (!caller || caller.consent) throw errorResponse(401, 'U030')
      const { Data, Risk } = JSON.parse(request.body) as {
        Data: { Permissions: string[]; ExpirationDateTime?: string }
        Risk?: object
      }
      if (!Risk || !Data.Permissions.length) throw errorResponse(400, 'U002')
      const expiresAt = Data.ExpirationDateTime ?? '9999-12-31T00:00:00Z'
      const consent = bank.addConsent({ clientId: caller.clientId, expiresAt, permissions: Data.Permissions })
      return json(201, consentBody(bank, consent))
    },
    [`GET ${BASE}/account-access-consents/{id}`]: (request) =>
      json(200, consentBody(bank, requireOwnConsent(bank, request))),
    [`DELETE ${BASE}/account-access-consents/{id}`]: (request) => {
      bank.endConsent(requireOwnConsent(bank, request), 'DELETED')
      return { status: 204 }
    },
    [`GET ${BASE}/accounts`]: (request) => {
      const consent = requireAuthorizedConsent(bank, request, 'ReadAccountsDetail')
      return json(200, {
        Data: { Account: consentedAccounts(bank, consent).map((account) => accountBody(bank, account)) },
        Links: { Self: `${bank.origin}${BASE}/accounts` },
        Meta: { TotalPages: 1 },
      })
    },
    [`GET ${BASE}/accounts/{id}/balances`]: (request) => {
      const consent = requireAuthorizedConsent(bank, request, 'ReadBalances')
      const account = consentedAccounts(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account) throw errorResponse(403, 'U009')
      if (bank.config.outageForCustomers.includes(consent.customer ?? '')) throw new HttpError({ status: 503 })
      return json(200, {
        Data: { Balance: balanceBodies(bank, account) },
        Links: { Self: `${bank.origin}${BASE}/accounts/${account.id}/balances` },
        Meta: {},
      })
    },
    [`GET ${BASE}/balances`]: (request) => {
      const consent = requireAuthorizedConsent(bank, request, 'ReadBalances')
      const accounts = consentedAccounts(bank, consent).filter(({ id }) => !bank.faultFor(id))
      if (bank.config.outageForCustomers.includes(consent.customer ?? '')) throw new HttpError({ status: 503 })
      return json(200, {
        Data: { Balance: accounts.flatMap((account) => balanceBodies(bank, account)) },
        Links: { Self: `${bank.origin}${BASE}/balances` },
        Meta: {},
      })
    },
    [`GET ${BASE}/accounts/{id}/transactions`]: (request) => {
      const consent = requireAuthorizedConsent(bank, request, 'ReadTransactionsDetail')
      const account = consentedAccounts(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account) throw errorResponse(403, 'U009')
      const Transaction = bank.history(account).map((entry) => ({
        AccountId: account.id,
        TransactionId: entry.id,
        CreditDebitIndicator: entry.cents < 0 ? 'Debit' : 'Credit',
        Status: entry.pending ? 'PDNG' : 'BOOK',
        BookingDateTime: entry.at,
        TransactionInformation: entry.note,
        Amount: { Amount: formatUnsigned(entry.cents), Currency: account.currency },
        MerchantDetails: { MerchantName: entry.merchant, MerchantCategoryCode: entry.categoryCode },
      }))
      return json(200, { Data: { Transaction } })
    },
  }
  const api: Routes = Object.fromEntries(
    Object.entries(routes).map(([route, handler]) => [
      route,
      async (request: SandboxRequest): Promise<SandboxResponse> => {
        const response = await handler(request)
        return {
          ...response,
          headers: {
            ...response.headers,
            'x-fapi-interaction-id': String(request.headers['x-fapi-interaction-id'] ?? ''),
          },
        }
      },
    ]),
  )
  return {
    api,
    oauth: oauthRoutes(bank, {
      usesSignedRequests: true,
      usesOpenIdConnect: true,
      usesPar: false,
      onAuthorized: () => undefined,
      findConsent: ({ claims }) => {
        const parsed = (typeof claims === 'string' ? JSON.parse(claims) : claims) as
          { id_token?: { openbanking_intent_id?: { value?: string } } } | undefined
        return bank.consent(parsed?.id_token?.openbanking_intent_id?.value ?? '')
      },
    }),
  }
}

/** 4.0 has short codes; 3.1.11 wraps UK.OBIE codes. */
const errorResponseFor =
  ({ version }: SandboxBankConfig) =>
  (status: number, code: string): HttpError =>
    new HttpError(
      json(
        status,
        version === '3.1.11'
          ? {
              Code: `${status} Error`,
              Id: 'refused',
              Message: 'refused',
              Errors: [{ ErrorCode: 'UK.OBIE.Resource.InvalidConsentStatus', Message: 'refused' }],
            }
          : { Errors: [{ ErrorCode: code, Message: 'refused' }] },
      ),
    )

function requireOwnConsent(bank: SandboxBank, request: SandboxRequest): BankConsent {
  const errorResponse = errorResponseFor(bank.config)
  const caller = authenticateBearer(bank, request)
  const consent = bank.consent(request.params['id'] ?? '')
  if (!caller || caller.consent) throw errorResponse(401, 'U030')
  if (consent?.clientId !== caller.clientId) throw errorResponse(404, 'U011')
  return consent
}

function requireAuthorizedConsent(bank: SandboxBank, request: SandboxRequest, permission: string): BankConsent {
  const errorResponse = errorResponseFor(bank.config)
  const consent = authenticateBearer(bank, request)?.consent
  if (consent?.status !== 'AUTHORIZED') throw errorResponse(401, 'U028')
  if (!consent.permissions.includes(permission)) throw errorResponse(403, 'U027')
  return consent
}

const consentedAccounts = (bank: SandboxBank, consent: BankConsent): SandboxAccount[] =>
  consent.accounts.flatMap((id) => bank.account(id) ?? [])

function consentBody(bank: SandboxBank, consent: BankConsent) {
  return {
    Data: {
      ConsentId: consent.id,
      Status: namesOf(bank.config).states[consent.status],
      CreationDateTime: consent.createdAt,
      StatusUpdateDateTime: bank.now().toISOString(),
      Permissions: consent.permissions,
      ExpirationDateTime: consent.expiresAt,
    },
    Risk: {},
    Links: { Self: `${bank.origin}${obieBase(bank.config)}/account-access-consents/${consent.id}` },
    Meta: {},
  }
}

/** Like real banks, adds free text (nicknames that customers wrote, descriptions) and vendor extensions. */
function accountBody(bank: SandboxBank, account: SandboxAccount) {
  const lastEntry = bank.history(account).at(-1)
  const names = namesOf(bank.config)
  return {
    AccountId: account.id,
    Status: bank.fraudDesk.isFrozen(account.id) ? 'Disabled' : 'Enabled',
    StatusUpdateDateTime: '2026-01-01T00:00:00+00:00',
    Currency: account.currency,
    [names.category]: 'Personal',
    [names.type]: names.types[account.kind],
    Nickname: lastEntry ? `for ${lastEntry.merchant}` : 'rainy days',
    Description: lastEntry?.note,
    Account: [
      {
        SchemeName: account.kind === 'CARD' ? 'UK.OBIE.PAN' : 'UK.OBIE.SortCodeAccountNumber',
        Identification: account.number,
        Name: account.owners.join(' and '),
      },
    ],
    'x-last-purchase': lastEntry?.merchant,
    ...(bank.canary && { [`${bank.canary}-key`]: true }),
  }
}

function balanceBodies(bank: SandboxBank, account: SandboxAccount) {
  const history = bank.history(account)
  const { booked, expected, available } = computeBalances(account, history)
  const lastEntry = history.at(-1)
  const body = (Type: string, cents: number, isCreditLineIncluded?: boolean) => ({
    AccountId: account.id,
    Type,
    CreditDebitIndicator: cents < 0 ? 'Debit' : 'Credit',
    DateTime: lastEntry?.at ?? bank.now().toISOString(),
    Amount: { Amount: formatUnsigned(cents), Currency: account.currency },
    ...(account.creditLine > 0 && {
      CreditLine: [
        {
          Included: isCreditLineIncluded ?? false,
          Type: 'Pre-Agreed',
          Amount: { Amount: formatUnsigned(account.creditLine), Currency: account.currency },
        },
      ],
    }),
    'x-latest': lastEntry && { merchant: lastEntry.merchant, note: lastEntry.note },
  })
  const names = namesOf(bank.config).balances
  return [
    body(names.booked, booked),
    body(names.available, available, true),
    body(names.expected, expected),
    body(names.forward, expected - 1_00),
  ]
}
