import type { BankConsent, SandboxBank } from './bank.ts'
import { computeBalances, formatUnsigned } from './history.ts'
import { authenticateBearer, oauthRoutes } from './oauth.ts'
import { pageSizeFor, type AccountKind, type SandboxAccount } from './personas.ts'
import { json, HttpError, type Routes, type SandboxResponse, type SandboxRequest } from './server.ts'

const BASE = '/cds-au/v1'
const CATEGORIES = {
  CURRENT: 'TRANS_AND_SAVINGS_ACCOUNTS',
  SAVINGS: 'TRANS_AND_SAVINGS_ACCOUNTS',
  CARD: 'CRED_AND_CHRG_CARDS',
  LOAN: 'RESIDENTIAL_MORTGAGES',
} as const satisfies Record<AccountKind, string>
/** The version that this bank supports of each endpoint. */
const SUPPORTED_VERSIONS = { accounts: '3', balances: '2', balance: '1', transactions: '1' } as const

/** Base path of the account API. */
export const cdrBase = BASE

/** CDR 1.36 as a data holder serves it. */
export function cdrRoutes(bank: SandboxBank): { api: Routes; oauth: Routes } {
  const api: Routes = {
    [`GET ${BASE}/banking/accounts`]: withVersionCheck('accounts', (request) => {
      const consent = requireAuthorizedConsent(bank, request)
      const accounts = consentedAccounts(bank, consent).map((account) => accountBody(bank, account))
      return paginate(bank, consent, request, `${BASE}/banking/accounts`, 'accounts', accounts)
    }),
    [`GET ${BASE}/banking/accounts/balances`]: withVersionCheck('balances', (request) => {
      const consent = requireAuthorizedConsent(bank, request)
      const healthyAccounts = consentedAccounts(bank, consent).filter(({ id }) => !bank.faultFor(id))
      const balances = healthyAccounts.map((account) => balanceBody(bank, account))
      return paginate(bank, consent, request, `${BASE}/banking/accounts/balances`, 'balances', balances)
    }),
    [`GET ${BASE}/banking/accounts/{id}/balance`]: withVersionCheck('balance', (request) => {
      const consent = requireAuthorizedConsent(bank, request)
      const account = consentedAccounts(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account) throw errorResponse(404, 'Authorisation/InvalidBankingAccount')
      return json(200, { data: balanceBody(bank, account), links: { self: request.url.href }, meta: {} })
    }),
    [`GET ${BASE}/banking/accounts/{id}/transactions`]: withVersionCheck('transactions', (request) => {
      const consent = requireAuthorizedConsent(bank, request)
      const account = consentedAccounts(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account || !consent.permissions.includes('bank:transactions:read'))
        throw errorResponse(403, 'Authorisation/InvalidConsent')
      return json(200, { data: { transactions: bank.history(account) } })
    }),
  }
  const oauth = oauthRoutes(bank, {
    usesSignedRequests: true,
    usesOpenIdConnect: true,
    usesPar: true,
    onAuthorized: () => undefined,
    metadata: () => ({ cdr_arrangement_revocation_endpoint: `${bank.origin}/arrangements/revoke` }),
    findConsent: ({ claims, scope }, clientId) => {
      const { sharing_duration: seconds } = (typeof claims === 'string' ? JSON.parse(claims) : (claims ?? {})) as {
        sharing_duration?: number
      }
      const expiresAt = new Date(bank.now().getTime() + (seconds ?? 86_400) * 1_000).toISOString()
      return bank.addConsent({ clientId, expiresAt, permissions: String(scope).split(' ') })
    },
    extendTokenResponse: ({ id }) => ({ cdr_arrangement_id: id }),
    routes: (authenticateClient) => ({
      'POST /arrangements/revoke': async (request) => {
        const clientId = await authenticateClient(request)
        const consent = bank.consent(request.form.get('cdr_arrangement_id') ?? '')
        if (consent?.clientId !== clientId) throw errorResponse(422, 'Authorisation/InvalidArrangement')
        bank.endConsent(consent, 'DELETED')
        return { status: 204 }
      },
    }),
  })
  return { api, oauth }
}

const errorResponse = (status: number, code: string): HttpError =>
  new HttpError(
    json(status, { errors: [{ code: `urn:au-cds:error:cds-all:${code}`, title: 'Refused', detail: 'refused' }] }),
  )

/** Checks the required headers, and adds the version and the interaction id to the response, as the standard requires. */
const withVersionCheck =
  (endpoint: keyof typeof SUPPORTED_VERSIONS, handler: (request: SandboxRequest) => SandboxResponse) =>
  (request: SandboxRequest): SandboxResponse => {
    const [maxVersion, minVersion] = [
      Number(request.headers['x-v']),
      Number(request.headers['x-min-v'] ?? request.headers['x-v']),
    ]
    const version = Number(SUPPORTED_VERSIONS[endpoint])
    if (!(maxVersion >= 1)) throw errorResponse(400, 'Header/InvalidVersion')
    if (maxVersion < version || minVersion > version) throw errorResponse(406, 'Header/UnsupportedVersion')
    if (!request.headers['x-fapi-auth-date']) throw errorResponse(400, 'Header/Missing')
    if (request.headers['x-fapi-customer-ip-address'] && !request.headers['x-cds-client-headers'])
      throw errorResponse(400, 'Header/Missing')
    const response = handler(request)
    const interactionHeader = { 'x-fapi-interaction-id': String(request.headers['x-fapi-interaction-id'] ?? '') }
    return { ...response, headers: { ...response.headers, ...interactionHeader, 'x-v': String(version) } }
  }

function paginate(
  bank: SandboxBank,
  { customer }: BankConsent,
  { url }: SandboxRequest,
  path: string,
  listName: string,
  entries: readonly object[],
): SandboxResponse {
  if (Number(url.searchParams.get('page-size') ?? 25) > 1_000) throw errorResponse(400, 'Field/InvalidPageSize')
  const from = Number(Buffer.from(url.searchParams.get('cursor') ?? '', 'base64url').toString() || 0)
  const size = pageSizeFor(customer)
  const next = from + size < entries.length ? Buffer.from(String(from + size)).toString('base64url') : undefined
  const baseUrl = `${bank.origin}${path}`
  return json(200, {
    data: { [listName]: entries.slice(from, from + size) },
    links: { self: baseUrl, ...(next && { next: `${baseUrl}?cursor=${next}` }) },
    meta: { totalRecords: entries.length, totalPages: Math.ceil(entries.length / size) },
  })
}

function requireAuthorizedConsent(bank: SandboxBank, request: SandboxRequest): BankConsent {
  const consent = authenticateBearer(bank, request)?.consent
  if (!consent) throw errorResponse(401, 'Authorisation/InvalidToken')
  if (consent.status !== 'AUTHORIZED') throw errorResponse(403, 'Authorisation/RevokedConsent')
  if (!consent.permissions.includes('bank:accounts.basic:read'))
    throw errorResponse(403, 'Authorisation/InvalidConsent')
  return consent
}

const consentedAccounts = (bank: SandboxBank, consent: BankConsent): SandboxAccount[] =>
  consent.accounts.flatMap((id) => bank.account(id) ?? [])

/** Like real banks, adds free text (names that customers wrote) and vendor extensions. */
function accountBody(bank: SandboxBank, account: SandboxAccount) {
  const lastEntry = bank.history(account).at(-1)
  return {
    accountId: account.id,
    displayName: lastEntry ? `Card at ${lastEntry.merchant}` : 'Everyday',
    nickname: lastEntry?.note,
    openStatus: 'OPEN',
    isOwned: true,
    maskedNumber: `xxxx xxxx xxxx ${account.number.slice(-4)}`,
    productCategory: CATEGORIES[account.kind],
    productName: 'Everyday',
    'SB-lastPurchase': lastEntry?.merchant,
    ...(bank.canary && { [`${bank.canary}-key`]: true }),
  }
}

function balanceBody(bank: SandboxBank, account: SandboxAccount) {
  const history = bank.history(account)
  const { booked, available } = computeBalances(account, history)
  const signed = (cents: number): string => `${cents < 0 ? '-' : ''}${formatUnsigned(cents)}`
  return {
    accountId: account.id,
    currentBalance: signed(booked),
    availableBalance: signed(Math.max(0, available)),
    ...(account.creditLine > 0 && {
      creditLimit: signed(account.creditLine),
      amortisedLimit: signed(account.creditLine),
    }),
    'SB-latest': history.at(-1)?.merchant,
  }
}
