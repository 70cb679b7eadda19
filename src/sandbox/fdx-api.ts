import type { BankConsent, SandboxBank } from './bank.ts'
import { balancesOf } from './history.ts'
import { bearer, oauthRoutes } from './oauth.ts'
import { pageSizeFor, type AccountKind, type SandboxAccount, type SandboxBankFacts } from './people.ts'
import { json, Refusal, type Routes, type SandboxRequest } from './server.ts'

/** Category and type by kind, and the wrapper that 5.x puts around. */
const KINDS = {
  CURRENT: { category: 'DEPOSIT_ACCOUNT', type: 'CHECKING', wrapper: 'depositAccount' },
  SAVINGS: { category: 'DEPOSIT_ACCOUNT', type: 'SAVINGS', wrapper: 'depositAccount' },
  CARD: { category: 'LOC_ACCOUNT', type: 'CREDITCARD', wrapper: 'locAccount' },
  LOAN: { category: 'LOAN_ACCOUNT', type: 'AUTOLOAN', wrapper: 'loanAccount' },
} as const satisfies Record<AccountKind, { category: string; type: string; wrapper: string }>

/** Where the account API begins. */
export const fdxBase = ({ version }: SandboxBankFacts): string => `/fdx/v${version[0]}`

/** FDX as a bank serves it, flat in 6.x and wrapped in 5.x, with all that an account of it may carry. */
export function fdxRoutes(bank: SandboxBank): { api: Routes; oauth: Routes } {
  const BASE = fdxBase(bank.facts)
  const api: Routes = {
    [`GET ${BASE}/accounts`]: (request) => {
      const consent = liveConsent(bank, request)
      const details = request.url.searchParams.get('resultType') === 'details'
      const wanted = request.url.searchParams.get('accountIds')?.split(',')
      const accounts = opened(bank, consent).filter(({ id }) => wanted?.includes(id) ?? true)
      const from = Number(request.url.searchParams.get('nextPageKey') ?? request.url.searchParams.get('offset') ?? 0)
      const page = pageSizeFor(consent.customer)
      const next = from + page < accounts.length ? String(from + page) : undefined
      const bodies = accounts.slice(from, from + page).map((account) => {
        if (!bank.faultAt(account.id)) return accountBody(bank, account, consent, details)
        return wrapped(bank, account, `{"accountId":"${account.id}","error":{"code":706,"message":"locked"}}`)
      })
      const name = bank.facts.version === '6.4' ? 'nextPageKey' : 'nextOffset'
      return raw(`{"accounts":[${bodies.join(',')}],"page":${next ? `{"${name}":"${next}"}` : '{}'}}`)
    },
    [`GET ${BASE}/accounts/{id}`]: (request) => {
      const consent = liveConsent(bank, request)
      const account = opened(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account) throw problem(404, 701)
      return raw(accountBody(bank, account, consent, true))
    },
    [`GET ${BASE}/accounts/{id}/transactions`]: (request) => {
      const consent = liveConsent(bank, request)
      const account = opened(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account || !consent.permissions.includes('TRANSACTIONS')) throw problem(403, 1205)
      return json(200, { transactions: bank.history(account) })
    },
    [`GET ${BASE}/consents/{id}`]: (request) => {
      const consent = ownConsent(bank, request)
      return json(200, { id: consent.id, status: consent.state === 'LIVE' ? 'ACTIVE' : 'REVOKED' })
    },
    [`PUT ${BASE}/consents/{id}/revocation`]: (request) => {
      bank.endConsent(ownConsent(bank, request), 'DELETED')
      return { status: 204 }
    },
  }
  const oauth = oauthRoutes(bank, {
    signedRequests: false,
    openIdConnect: false,
    pushed: true,
    agreed: () => undefined,
    metadata: () => ({ authorization_details_types_supported: ['fdx_v1.0'] }),
    consentOf: ({ authorization_details: text }, clientId) => {
      const [details] = JSON.parse(typeof text === 'string' ? text : '[]') as {
        type: string
        consentRequest: { durationPeriod: number; resources: { dataClusters: string[] }[] }
      }[]
      if (details?.type !== 'fdx_v1.0') return undefined
      const { durationPeriod, resources } = details.consentRequest
      const expiresAt = new Date(bank.now().getTime() + durationPeriod * 86_400_000).toISOString()
      return bank.addConsent({
        clientId,
        expiresAt,
        permissions: resources.flatMap(({ dataClusters }) => dataClusters),
      })
    },
    withTokens: ({ id }) => ({ fdx_consent_id: id }),
  })
  return { api, oauth }
}

/** Numbers are written as they are meant, which JSON.stringify would not keep: 20.50 and not 20.5. */
const raw = (body: string) => ({ status: 200, headers: { 'content-type': 'application/json' }, body })
const amount = (cents: number): string => (cents / 100).toFixed(2)
const problem = (status: number, code: number): Refusal =>
  new Refusal(json(status, { code, message: 'refused', debugMessage: 'refused' }))

function ownConsent(bank: SandboxBank, request: SandboxRequest): BankConsent {
  const caller = bearer(bank, request)
  const consent = bank.consent(request.params['id'] ?? '')
  if (!caller || caller.consent) throw problem(401, 1205)
  if (consent?.clientId !== caller.clientId) throw problem(404, 701)
  return consent
}

function liveConsent(bank: SandboxBank, request: SandboxRequest): BankConsent {
  const consent = bearer(bank, request)?.consent
  if (consent?.state !== 'LIVE') throw problem(401, 1205)
  if (!['USER', 'BATCH'].includes(String(request.headers['fdx-api-actor-type']))) throw problem(400, 1000)
  return consent
}

const opened = (bank: SandboxBank, consent: BankConsent): SandboxAccount[] =>
  consent.accounts.flatMap((id) => bank.account(id) ?? [])

const wrapped = ({ facts }: SandboxBank, { kind }: SandboxAccount, body: string): string =>
  facts.version === '6.4' ? body : `{"${KINDS[kind].wrapper}":${body}}`

/** Real accounts carry their last transactions, bills and notes of the bank, asked for or not. */
function accountBody(bank: SandboxBank, account: SandboxAccount, consent: BankConsent, details: boolean): string {
  const { category, type } = KINDS[account.kind]
  const history = bank.history(account)
  const last = history.at(-1)
  const described = {
    ...(bank.facts.version === '6.4' && { accountCategory: category }),
    accountId: account.id,
    accountType: type,
    accountNumberDisplay: `****${account.number.slice(-4)}`,
    productName: 'Everyday',
    nickname: last ? `after ${last.merchant}` : 'rainy days',
    status: 'OPEN',
    lineOfBusiness: 'CONSUMER',
    currency: { currencyCode: account.currency },
    lastActivityDate: last?.at,
    transactionsIncluded: true,
    transactions: history.slice(-3).map(({ merchant, note, cents }) => ({ payee: merchant, description: note, cents })),
    fiAttributes: [{ name: 'LAST_ALERT', value: last?.note }],
    bills: [{ payee: last?.merchant }],
    ...(bank.canary && { [`${bank.canary}-key`]: true }),
  }
  const text = JSON.stringify(described)
  if (!details || !consent.permissions.some((one) => one === 'BALANCES' || one === 'ACCOUNT_DETAILED'))
    return wrapped(bank, account, text)
  const fields = Object.entries(balanceFields(bank, account)).map(([name, value]) => `"${name}":${value}`)
  return wrapped(bank, account, `${text.slice(0, -1)},${fields.join(',')}}`)
}

function balanceFields(bank: SandboxBank, account: SandboxAccount): Record<string, string> {
  const history = bank.history(account)
  const { booked, expected } = balancesOf(account, history)
  const lastPayment = { lastPaymentAmount: amount(Math.abs(history.at(-1)?.cents ?? 0)) }
  if (account.kind === 'CARD')
    return {
      balanceType: '"LIABILITY"',
      currentBalance: amount(-booked),
      availableCredit: amount(account.creditLine + expected),
      creditLine: amount(account.creditLine),
      ...lastPayment,
    }
  if (account.kind === 'LOAN') return { balanceType: '"LIABILITY"', principalBalance: amount(-booked), ...lastPayment }
  return {
    balanceType: '"ASSET"',
    currentBalance: amount(booked),
    availableBalance: amount(expected),
    balanceAsOf: JSON.stringify(bank.now().toISOString()),
  }
}
