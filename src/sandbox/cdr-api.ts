import type { BankConsent, SandboxBank } from './bank.ts'
import { balancesOf, unsigned } from './history.ts'
import { bearer, oauthRoutes } from './oauth.ts'
import { pageSizeFor, type AccountKind, type SandboxAccount } from './people.ts'
import { json, Refusal, type Routes, type SandboxReply, type SandboxRequest } from './server.ts'

const BASE = '/cds-au/v1'
const CATEGORIES = {
  CURRENT: 'TRANS_AND_SAVINGS_ACCOUNTS',
  SAVINGS: 'TRANS_AND_SAVINGS_ACCOUNTS',
  CARD: 'CRED_AND_CHRG_CARDS',
  LOAN: 'RESIDENTIAL_MORTGAGES',
} as const satisfies Record<AccountKind, string>
/** The versions that this bank serves of each endpoint. */
const SERVED = { accounts: '3', balances: '2', balance: '1', transactions: '1' } as const

/** Where the account API begins. */
export const cdrBase = BASE

/** The Australian standard 1.36 as a data holder serves it. */
export function cdrRoutes(bank: SandboxBank): { api: Routes; oauth: Routes } {
  const api: Routes = {
    [`GET ${BASE}/banking/accounts`]: served('accounts', (request) => {
      const consent = liveConsent(bank, request)
      const accounts = opened(bank, consent).map((account) => accountBody(bank, account))
      return paged(bank, consent, request, `${BASE}/banking/accounts`, 'accounts', accounts)
    }),
    [`GET ${BASE}/banking/accounts/balances`]: served('balances', (request) => {
      const consent = liveConsent(bank, request)
      const told = opened(bank, consent).filter(({ id }) => !bank.faultAt(id))
      const balances = told.map((account) => balanceBody(bank, account))
      return paged(bank, consent, request, `${BASE}/banking/accounts/balances`, 'balances', balances)
    }),
    [`GET ${BASE}/banking/accounts/{id}/balance`]: served('balance', (request) => {
      const consent = liveConsent(bank, request)
      const account = opened(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account) throw problem(404, 'Authorisation/InvalidBankingAccount')
      return json(200, { data: balanceBody(bank, account), links: { self: request.url.href }, meta: {} })
    }),
    [`GET ${BASE}/banking/accounts/{id}/transactions`]: served('transactions', (request) => {
      const consent = liveConsent(bank, request)
      const account = opened(bank, consent).find(({ id }) => id === request.params['id'])
      if (!account || !consent.permissions.includes('bank:transactions:read'))
        throw problem(403, 'Authorisation/InvalidConsent')
      return json(200, { data: { transactions: bank.history(account) } })
    }),
  }
  const oauth = oauthRoutes(bank, {
    signedRequests: true,
    openIdConnect: true,
    pushed: true,
    agreed: () => undefined,
    metadata: () => ({ cdr_arrangement_revocation_endpoint: `${bank.origin}/arrangements/revoke` }),
    consentOf: ({ claims, scope }, clientId) => {
      const { sharing_duration: seconds } = (typeof claims === 'string' ? JSON.parse(claims) : (claims ?? {})) as {
        sharing_duration?: number
      }
      const expiresAt = new Date(bank.now().getTime() + (seconds ?? 86_400) * 1_000).toISOString()
      return bank.addConsent({ clientId, expiresAt, permissions: String(scope).split(' ') })
    },
    withTokens: ({ id }) => ({ cdr_arrangement_id: id }),
    routes: (authenticated) => ({
      'POST /arrangements/revoke': async (request) => {
        const clientId = await authenticated(request)
        const consent = bank.consent(request.form.get('cdr_arrangement_id') ?? '')
        if (consent?.clientId !== clientId) throw problem(422, 'Authorisation/InvalidArrangement')
        bank.endConsent(consent, 'DELETED')
        return { status: 204 }
      },
    }),
  })
  return { api, oauth }
}

const problem = (status: number, code: string): Refusal =>
  new Refusal(
    json(status, { errors: [{ code: `urn:au-cds:error:cds-all:${code}`, title: 'Refused', detail: 'refused' }] }),
  )

/** Headers as the standard has them: a version that is served, an answer that names it, the interaction played back. */
const served =
  (endpoint: keyof typeof SERVED, handler: (request: SandboxRequest) => SandboxReply) =>
  (request: SandboxRequest): SandboxReply => {
    const [most, least] = [Number(request.headers['x-v']), Number(request.headers['x-min-v'] ?? request.headers['x-v'])]
    const version = Number(SERVED[endpoint])
    if (!(most >= 1)) throw problem(400, 'Header/InvalidVersion')
    if (most < version || least > version) throw problem(406, 'Header/UnsupportedVersion')
    if (!request.headers['x-fapi-auth-date']) throw problem(400, 'Header/Missing')
    if (request.headers['x-fapi-customer-ip-address'] && !request.headers['x-cds-client-headers'])
      throw problem(400, 'Header/Missing')
    const reply = handler(request)
    const played = { 'x-fapi-interaction-id': String(request.headers['x-fapi-interaction-id'] ?? '') }
    return { ...reply, headers: { ...reply.headers, ...played, 'x-v': String(version) } }
  }

function paged(
  bank: SandboxBank,
  { customer }: BankConsent,
  { url }: SandboxRequest,
  path: string,
  name: string,
  all: readonly object[],
): SandboxReply {
  if (Number(url.searchParams.get('page-size') ?? 25) > 1_000) throw problem(400, 'Field/InvalidPageSize')
  const from = Number(Buffer.from(url.searchParams.get('cursor') ?? '', 'base64url').toString() || 0)
  const size = pageSizeFor(customer)
  const next = from + size < all.length ? Buffer.from(String(from + size)).toString('base64url') : undefined
  const at = `${bank.origin}${path}`
  return json(200, {
    data: { [name]: all.slice(from, from + size) },
    links: { self: at, ...(next && { next: `${at}?cursor=${next}` }) },
    meta: { totalRecords: all.length, totalPages: Math.ceil(all.length / size) },
  })
}

function liveConsent(bank: SandboxBank, request: SandboxRequest): BankConsent {
  const consent = bearer(bank, request)?.consent
  if (!consent) throw problem(401, 'Authorisation/InvalidToken')
  if (consent.state !== 'LIVE') throw problem(403, 'Authorisation/RevokedConsent')
  if (!consent.permissions.includes('bank:accounts.basic:read')) throw problem(403, 'Authorisation/InvalidConsent')
  return consent
}

const opened = (bank: SandboxBank, consent: BankConsent): SandboxAccount[] =>
  consent.accounts.flatMap((id) => bank.account(id) ?? [])

/** Banks put free text where they please: names that customers wrote, and extensions of their own. */
function accountBody(bank: SandboxBank, account: SandboxAccount) {
  const last = bank.history(account).at(-1)
  return {
    accountId: account.id,
    displayName: last ? `Card at ${last.merchant}` : 'Everyday',
    nickname: last?.note,
    openStatus: 'OPEN',
    isOwned: true,
    maskedNumber: `xxxx xxxx xxxx ${account.number.slice(-4)}`,
    productCategory: CATEGORIES[account.kind],
    productName: 'Everyday',
    'SB-lastPurchase': last?.merchant,
    ...(bank.canary && { [`${bank.canary}-key`]: true }),
  }
}

function balanceBody(bank: SandboxBank, account: SandboxAccount) {
  const history = bank.history(account)
  const { booked, available } = balancesOf(account, history)
  const signed = (cents: number): string => `${cents < 0 ? '-' : ''}${unsigned(cents)}`
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
