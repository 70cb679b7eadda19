import type { BankConsent, SandboxBank } from './bank.ts'
import { computeBalances } from './history.ts'
import { authenticateBearer, oauthRoutes } from './oauth.ts'
import { pageSizeFor, type AccountKind, type SandboxAccount, type SandboxBankConfig } from './personas.ts'
import { json, HttpError, type Routes, type SandboxRequest } from './server.ts'

/** Category, type and 5.x wrapper, by account kind. */
const ACCOUNT_KINDS = {
  CURRENT: { category: 'DEPOSIT_ACCOUNT', type: 'CHECKING', wrapper: 'depositAccount' },
  SAVINGS: { category: 'DEPOSIT_ACCOUNT', type: 'SAVINGS', wrapper: 'depositAccount' },
  CARD: { category: 'LOC_ACCOUNT', type: 'CREDITCARD', wrapper: 'locAccount' },
  LOAN: { category: 'LOAN_ACCOUNT', type: 'AUTOLOAN', wrapper: 'loanAccount' },
} as const satisfies Record<AccountKind, { category: string; type: string; wrapper: string }>

/** Base path of the account API. */
export const fdxBase = ({ version }: SandboxBankConfig): string => `/fdx/v${version[0]}`

/** FDX as a bank serves it: accounts are flat in 6.x and wrapped in 5.x, and carry purchase data. */
export function fdxRoutes(bank: SandboxBank): { api: Routes; oauth: Routes } {
  const BASE = fdxBase(bank.config)
  const api: Routes = {
    [`GET ${BASE}/accounts`]: (request) => {
      const consent = requireAuthorizedConsent(bank, request)
      const withDetails = request.url.searchParams.get('resultType') === 'details'
      const requestedIds = request.url.searchParams.get('accountIds')?.split(',')
      const accounts = consentedAccounts(bank, consent).filter(({ id }) => requestedIds?.includes(id) ?? true)
      const offset = Number(request.url.searchParams.get('nextPageKey') ?? request.url.searchParams.get('offset') ?? 0)
      const pageSize = pageSizeFor(consent.customer)
      const next = offset + pageSize < accounts.length ? String(offset + pageSize) : undefined
      const bodies = accounts.slice(offset, offset + pageSize).map((account) => {
        if (!bank.faultFor(account.id)) return accountBody(bank, account, consent, withDetails)
        return wrapAccount(bank, account, `{"accountId":"${account.id}","error":{"code":706,"message":"locked"}}`)
      })
      const cursorName = bank.config.version === '6.4' ? 'nextPageKey' : 'nextOffset'
      return jsonText(`{"accounts":[${bodies.join(',')}],"page":${next ? `{"${cursorName}":"${next}"}` : '{}'}}`)
    },
    [`GET ${BASE}/accounts/{id}`]: (request) => {
      const consent = requireAuthorizedConsent(bank, request)
      const account = consentedAccounts(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account) throw errorResponse(404, 701)
      return jsonText(accountBody(bank, account, consent, true))
    },
    [`GET ${BASE}/accounts/{id}/transactions`]: (request) => {
      const consent = requireAuthorizedConsent(bank, request)
      const account = consentedAccounts(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account || !consent.permissions.includes('TRANSACTIONS')) throw errorResponse(403, 1205)
      return json(200, { transactions: bank.history(account) })
    },
    [`GET ${BASE}/consents/{id}`]: (request) => {
      const consent = requireOwnConsent(bank, request)
      return json(200, { id: consent.id, status: consent.status === 'AUTHORIZED' ? 'ACTIVE' : 'REVOKED' })
    },
    [`PUT ${BASE}/consents/{id}/revocation`]: (request) => {
      bank.endConsent(requireOwnConsent(bank, request), 'DELETED')
      return { status: 204 }
    },
  }
  const oauth = oauthRoutes(bank, {
    usesSignedRequests: false,
    usesOpenIdConnect: false,
    usesPar: true,
    onAuthorized: () => undefined,
    metadata: () => ({ authorization_details_types_supported: ['fdx_v1.0'] }),
    findConsent: ({ authorization_details: text }, clientId) => {
      if (bank.client(clientId)?.deviations?.usesPlainRequests) {
        const expiresAt = new Date(bank.now().getTime() + 365 * 86_400_000).toISOString()
        return bank.addConsent({ clientId, expiresAt, permissions: ['ACCOUNT_BASIC', 'ACCOUNT_DETAILED', 'BALANCES'] })
      }
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
    extendTokenResponse: ({ id }) => ({ fdx_consent_id: id }),
  })
  return { api, oauth }
}

/** JSON written by hand, to keep trailing zeros that JSON.stringify drops: 20.50 and not 20.5. */
const jsonText = (body: string) => ({ status: 200, headers: { 'content-type': 'application/json' }, body })
const formatAmount = (cents: number): string => (cents / 100).toFixed(2)
const errorResponse = (status: number, code: number): HttpError =>
  new HttpError(json(status, { code, message: 'refused', debugMessage: 'refused' }))

function requireOwnConsent(bank: SandboxBank, request: SandboxRequest): BankConsent {
  const caller = authenticateBearer(bank, request)
  const consent = bank.consent(request.params['id'] ?? '')
  if (!caller || caller.consent) throw errorResponse(401, 1205)
  if (consent?.clientId !== caller.clientId) throw errorResponse(404, 701)
  return consent
}

function requireAuthorizedConsent(bank: SandboxBank, request: SandboxRequest): BankConsent {
  const consent = authenticateBearer(bank, request)?.consent
  if (consent?.status !== 'AUTHORIZED') throw errorResponse(401, 1205)
  if (!['USER', 'BATCH'].includes(String(request.headers['fdx-api-actor-type']))) throw errorResponse(400, 1000)
  return consent
}

const consentedAccounts = (bank: SandboxBank, consent: BankConsent): SandboxAccount[] =>
  consent.accounts.flatMap((id) => bank.account(id) ?? [])

const wrapAccount = ({ config }: SandboxBank, { kind }: SandboxAccount, body: string): string =>
  config.version === '6.4' ? body : `{"${ACCOUNT_KINDS[kind].wrapper}":${body}}`

/** Like real banks, adds recent transactions, bills and notes that were not requested. */
function accountBody(bank: SandboxBank, account: SandboxAccount, consent: BankConsent, withDetails: boolean): string {
  const { category, type } = ACCOUNT_KINDS[account.kind]
  const history = bank.history(account)
  const lastEntry = history.at(-1)
  const body = {
    ...(bank.config.version === '6.4' && { accountCategory: category }),
    accountId: account.id,
    accountType: type,
    accountNumberDisplay: `****${account.number.slice(-4)}`,
    productName: 'Everyday',
    nickname: lastEntry ? `after ${lastEntry.merchant}` : 'rainy days',
    status: bank.fraudDesk.isFrozen(account.id) ? 'RESTRICTED' : 'OPEN',
    lineOfBusiness: 'CONSUMER',
    currency: { currencyCode: account.currency },
    lastActivityDate: lastEntry?.at,
    transactionsIncluded: true,
    transactions: history.slice(-3).map(({ merchant, note, cents }) => ({ payee: merchant, description: note, cents })),
    fiAttributes: [{ name: 'LAST_ALERT', value: lastEntry?.note }],
    bills: [{ payee: lastEntry?.merchant }],
    ...(bank.canary && { [`${bank.canary}-key`]: true }),
  }
  const text = JSON.stringify(body)
  if (
    !withDetails ||
    !consent.permissions.some((permission) => permission === 'BALANCES' || permission === 'ACCOUNT_DETAILED')
  )
    return wrapAccount(bank, account, text)
  const fields = Object.entries(balanceFields(bank, account)).map(([name, value]) => `"${name}":${value}`)
  return wrapAccount(bank, account, `${text.slice(0, -1)},${fields.join(',')}}`)
}

function balanceFields(bank: SandboxBank, account: SandboxAccount): Record<string, string> {
  const history = bank.history(account)
  const { booked, expected } = computeBalances(account, history)
  const lastPayment = { lastPaymentAmount: formatAmount(Math.abs(history.at(-1)?.cents ?? 0)) }
  if (account.kind === 'CARD')
    return {
      balanceType: '"LIABILITY"',
      currentBalance: formatAmount(-booked),
      availableCredit: formatAmount(account.creditLine + expected),
      creditLine: formatAmount(account.creditLine),
      ...lastPayment,
    }
  if (account.kind === 'LOAN')
    return { balanceType: '"LIABILITY"', principalBalance: formatAmount(-booked), ...lastPayment }
  return {
    balanceType: '"ASSET"',
    currentBalance: formatAmount(booked),
    availableBalance: formatAmount(expected),
    balanceAsOf: JSON.stringify(bank.now().toISOString()),
  }
}
