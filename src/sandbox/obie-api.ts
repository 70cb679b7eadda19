import type { BankConsent, SandboxBank } from './bank.ts'
import { balancesOf, unsigned } from './history.ts'
import { bearer, oauthRoutes } from './oauth.ts'
import type { AccountKind, SandboxAccount, SandboxBankFacts } from './people.ts'
import { json, Refusal, type Routes, type SandboxReply, type SandboxRequest } from './server.ts'

/** What the two versions call the same thing. */
const NAMES = {
  '4.0': {
    category: 'AccountCategory',
    type: 'AccountTypeCode',
    types: { CURRENT: 'CACC', SAVINGS: 'SVGS', CARD: 'CARD', LOAN: 'LOAN' },
    balances: { booked: 'ITBD', available: 'ITAV', expected: 'XPCD', forward: 'FWAV' },
    states: {
      WAITING: 'AWAU',
      LIVE: 'AUTH',
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
      WAITING: 'AwaitingAuthorisation',
      LIVE: 'Authorised',
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
    states: Record<BankConsent['state'], string>
  }
>

const namesOf = ({ version }: SandboxBankFacts) => NAMES[version === '3.1.11' ? '3.1.11' : '4.0']

/** Where the account information API begins. */
export const obieBase = ({ version }: SandboxBankFacts): string =>
  `/open-banking/${version === '3.1.11' ? 'v3.1' : 'v4.0'}/aisp`

/** UK Open Banking Read/Write as a bank serves it, in the version that is its own, transactions included for whoever was allowed to ask. */
export function obieRoutes(bank: SandboxBank): { api: Routes; oauth: Routes } {
  const BASE = obieBase(bank.facts)
  const problem = problemOf(bank.facts)
  const routes: Routes = {
    [`POST ${BASE}/account-access-consents`]: (request) => {
      const caller = bearer(bank, request)
      if (!caller || caller.consent) throw problem(401, 'U030')
      const { Data, Risk } = JSON.parse(request.body) as {
        Data: { Permissions: string[]; ExpirationDateTime?: string }
        Risk?: object
      }
      if (!Risk || !Data.Permissions.length) throw problem(400, 'U002')
      const expiresAt = Data.ExpirationDateTime ?? '9999-12-31T00:00:00Z'
      const consent = bank.addConsent({ clientId: caller.clientId, expiresAt, permissions: Data.Permissions })
      return json(201, consentBody(bank, consent))
    },
    [`GET ${BASE}/account-access-consents/{id}`]: (request) => json(200, consentBody(bank, ownConsent(bank, request))),
    [`DELETE ${BASE}/account-access-consents/{id}`]: (request) => {
      bank.endConsent(ownConsent(bank, request), 'DELETED')
      return { status: 204 }
    },
    [`GET ${BASE}/accounts`]: (request) => {
      const consent = liveConsent(bank, request, 'ReadAccountsDetail')
      return json(200, {
        Data: { Account: opened(bank, consent).map((account) => accountBody(bank, account)) },
        Links: { Self: `${bank.origin}${BASE}/accounts` },
        Meta: { TotalPages: 1 },
      })
    },
    [`GET ${BASE}/accounts/{id}/balances`]: (request) => {
      const consent = liveConsent(bank, request, 'ReadBalances')
      const account = opened(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account) throw problem(403, 'U009')
      if (bank.facts.outageFor.includes(consent.customer ?? '')) throw new Refusal({ status: 503 })
      return json(200, {
        Data: { Balance: balanceBodies(bank, account) },
        Links: { Self: `${bank.origin}${BASE}/accounts/${account.id}/balances` },
        Meta: {},
      })
    },
    [`GET ${BASE}/balances`]: (request) => {
      const consent = liveConsent(bank, request, 'ReadBalances')
      const accounts = opened(bank, consent).filter(({ id }) => !bank.faultAt(id))
      if (bank.facts.outageFor.includes(consent.customer ?? '')) throw new Refusal({ status: 503 })
      return json(200, {
        Data: { Balance: accounts.flatMap((account) => balanceBodies(bank, account)) },
        Links: { Self: `${bank.origin}${BASE}/balances` },
        Meta: {},
      })
    },
    [`GET ${BASE}/accounts/{id}/transactions`]: (request) => {
      const consent = liveConsent(bank, request, 'ReadTransactionsDetail')
      const account = opened(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account) throw problem(403, 'U009')
      const Transaction = bank.history(account).map((entry) => ({
        AccountId: account.id,
        TransactionId: entry.id,
        CreditDebitIndicator: entry.cents < 0 ? 'Debit' : 'Credit',
        Status: entry.pending ? 'PDNG' : 'BOOK',
        BookingDateTime: entry.at,
        TransactionInformation: entry.note,
        Amount: { Amount: unsigned(entry.cents), Currency: account.currency },
        MerchantDetails: { MerchantName: entry.merchant, MerchantCategoryCode: entry.categoryCode },
      }))
      return json(200, { Data: { Transaction } })
    },
  }
  const api: Routes = Object.fromEntries(
    Object.entries(routes).map(([route, handler]) => [
      route,
      async (request: SandboxRequest): Promise<SandboxReply> => {
        const reply = await handler(request)
        return {
          ...reply,
          headers: {
            ...reply.headers,
            'x-fapi-interaction-id': String(request.headers['x-fapi-interaction-id'] ?? ''),
          },
        }
      },
    ]),
  )
  return {
    api,
    oauth: oauthRoutes(bank, {
      signedRequests: true,
      openIdConnect: true,
      pushed: false,
      agreed: () => undefined,
      consentOf: ({ claims }) => {
        const parsed = (typeof claims === 'string' ? JSON.parse(claims) : claims) as
          { id_token?: { openbanking_intent_id?: { value?: string } } } | undefined
        return bank.consent(parsed?.id_token?.openbanking_intent_id?.value ?? '')
      },
    }),
  }
}

/** 4.0 has codes of its own; 3.1.11 wraps those of UK.OBIE. */
const problemOf =
  ({ version }: SandboxBankFacts) =>
  (status: number, code: string): Refusal =>
    new Refusal(
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

function ownConsent(bank: SandboxBank, request: SandboxRequest): BankConsent {
  const problem = problemOf(bank.facts)
  const caller = bearer(bank, request)
  const consent = bank.consent(request.params['id'] ?? '')
  if (!caller || caller.consent) throw problem(401, 'U030')
  if (consent?.clientId !== caller.clientId) throw problem(404, 'U011')
  return consent
}

function liveConsent(bank: SandboxBank, request: SandboxRequest, permission: string): BankConsent {
  const problem = problemOf(bank.facts)
  const consent = bearer(bank, request)?.consent
  if (consent?.state !== 'LIVE') throw problem(401, 'U028')
  if (!consent.permissions.includes(permission)) throw problem(403, 'U027')
  return consent
}

const opened = (bank: SandboxBank, consent: BankConsent): SandboxAccount[] =>
  consent.accounts.flatMap((id) => bank.account(id) ?? [])

function consentBody(bank: SandboxBank, consent: BankConsent) {
  return {
    Data: {
      ConsentId: consent.id,
      Status: namesOf(bank.facts).states[consent.state],
      CreationDateTime: consent.createdAt,
      StatusUpdateDateTime: bank.now().toISOString(),
      Permissions: consent.permissions,
      ExpirationDateTime: consent.expiresAt,
    },
    Risk: {},
    Links: { Self: `${bank.origin}${obieBase(bank.facts)}/account-access-consents/${consent.id}` },
    Meta: {},
  }
}

/** Banks put free text where they please: nicknames that customers wrote, descriptions, vendor extensions. */
function accountBody(bank: SandboxBank, account: SandboxAccount) {
  const last = bank.history(account).at(-1)
  const names = namesOf(bank.facts)
  return {
    AccountId: account.id,
    Status: 'Enabled',
    StatusUpdateDateTime: '2026-01-01T00:00:00+00:00',
    Currency: account.currency,
    [names.category]: 'Personal',
    [names.type]: names.types[account.kind],
    Nickname: last ? `for ${last.merchant}` : 'rainy days',
    Description: last?.note,
    Account: [
      {
        SchemeName: account.kind === 'CARD' ? 'UK.OBIE.PAN' : 'UK.OBIE.SortCodeAccountNumber',
        Identification: account.number,
        Name: account.owners.join(' and '),
      },
    ],
    'x-last-purchase': last?.merchant,
    ...(bank.canary && { [`${bank.canary}-key`]: true }),
  }
}

function balanceBodies(bank: SandboxBank, account: SandboxAccount) {
  const history = bank.history(account)
  const { booked, expected, available } = balancesOf(account, history)
  const last = history.at(-1)
  const body = (Type: string, cents: number, included?: boolean) => ({
    AccountId: account.id,
    Type,
    CreditDebitIndicator: cents < 0 ? 'Debit' : 'Credit',
    DateTime: last?.at ?? bank.now().toISOString(),
    Amount: { Amount: unsigned(cents), Currency: account.currency },
    ...(account.creditLine > 0 && {
      CreditLine: [
        {
          Included: included ?? false,
          Type: 'Pre-Agreed',
          Amount: { Amount: unsigned(account.creditLine), Currency: account.currency },
        },
      ],
    }),
    'x-latest': last && { merchant: last.merchant, note: last.note },
  })
  const names = namesOf(bank.facts).balances
  return [
    body(names.booked, booked),
    body(names.available, available, true),
    body(names.expected, expected),
    body(names.forward, expected - 1_00),
  ]
}
