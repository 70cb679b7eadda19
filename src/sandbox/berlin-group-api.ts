import type { BankConsent, SandboxBank } from './bank.ts'
import { computeBalances, formatUnsigned } from './history.ts'
import { authenticateBearer, oauthRoutes } from './oauth.ts'
import type { SandboxAccount } from './personas.ts'
import { json, HttpError, type Routes, type SandboxRequest } from './server.ts'

const STATUS: Readonly<Record<BankConsent['status'], string>> = {
  AWAITING_AUTHORIZATION: 'received',
  AUTHORIZED: 'valid',
  REJECTED: 'rejected',
  REVOKED: 'revokedByPsu',
  DELETED: 'terminatedByTpp',
  REPLACED: 'expired',
}
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** NextGenPSD2 1.3.11 as a bank serves it, including transactions for consents that allow them. */
export function berlinGroupRoutes(bank: SandboxBank): { api: Routes; oauth: Routes } {
  const balancesHandler = (isCard: boolean) => (request: SandboxRequest) => {
    const consent = requireAuthorizedConsent(bank, request, 'balances')
    const account = consentedAccounts(bank, consent, isCard).find(({ id }) => id === request.params['id'])
    if (!account) throw errorResponse(404, 'RESOURCE_UNKNOWN')
    if (bank.config.outageForCustomers.includes(consent.customer ?? ''))
      throw new HttpError({
        status: 503,
        headers: { 'content-type': 'text/html' },
        body: `<h1>Down</h1><p>${bank.history(account).at(-1)?.merchant ?? ''}</p>`,
      })
    return json(200, { ...(isCard && { debitAccounting: true }), balances: balanceBodies(bank, account, isCard) })
  }

  const api: Routes = {
    'POST /psd2/v1/consents': (request) => {
      const caller = authenticateBearer(bank, request)
      if (!caller) throw errorResponse(401, 'TOKEN_INVALID')
      if (!UUID.test(String(request.headers['x-request-id'])) || !request.headers['psu-ip-address'])
        throw errorResponse(400, 'FORMAT_ERROR')
      const body = JSON.parse(request.body) as {
        access: Record<string, unknown>
        validUntil: string
        frequencyPerDay: number
        recurringIndicator: boolean
      }
      if (!('access' in body) || !('validUntil' in body) || body.frequencyPerDay > 4)
        throw errorResponse(400, 'FORMAT_ERROR')
      const notificationUri = request.headers['tpp-notification-uri']
      const consent = bank.addConsent({
        clientId: caller.clientId,
        expiresAt: `${body.validUntil}T23:59:59.999Z`,
        permissions: Object.keys(body.access),
        ...(typeof notificationUri === 'string' && { notificationUri }),
      })
      const path = `/v1/consents/${consent.id}`
      return json(
        201,
        {
          consentStatus: 'received',
          consentId: consent.id,
          _links: {
            scaOAuth: { href: `${bank.origin}/.well-known/oauth-authorization-server` },
            self: { href: path },
            status: { href: `${path}/status` },
          },
        },
        { 'aspsp-sca-approach': 'REDIRECT', 'aspsp-notification-support': String(notificationUri !== undefined) },
      )
    },
    'GET /psd2/v1/consents/{id}/status': (request) =>
      json(200, { consentStatus: STATUS[requireOwnConsent(bank, request).status] }),
    'DELETE /psd2/v1/consents/{id}': (request) => {
      bank.endConsent(requireOwnConsent(bank, request), 'DELETED')
      return { status: 204 }
    },
    'GET /psd2/v1/accounts': (request) =>
      json(200, {
        accounts: consentedAccounts(bank, requireAuthorizedConsent(bank, request, 'accounts'), false).map((account) =>
          accountBody(bank, account),
        ),
      }),
    'GET /psd2/v1/card-accounts': (request) =>
      json(200, {
        cardAccounts: consentedAccounts(bank, requireAuthorizedConsent(bank, request, 'accounts'), true).map(
          (account) => accountBody(bank, account),
        ),
      }),
    'GET /psd2/v1/accounts/{id}/balances': balancesHandler(false),
    'GET /psd2/v1/card-accounts/{id}/balances': balancesHandler(true),
    'GET /psd2/v1/accounts/{id}/transactions': (request) => {
      const consent = requireAuthorizedConsent(bank, request, 'transactions')
      const account = consentedAccounts(bank, consent, false).find(({ id }) => id === request.params['id'])
      if (!account) throw errorResponse(404, 'RESOURCE_UNKNOWN')
      const entries = bank
        .history(account)
        .map((entry) => ({ pending: entry.pending, body: transactionBody(entry, account) }))
      return json(200, {
        transactions: {
          booked: entries.filter(({ pending }) => !pending).map(({ body }) => body),
          pending: entries.filter(({ pending }) => pending).map(({ body }) => body),
        },
      })
    },
  }
  return {
    api,
    oauth: oauthRoutes(bank, {
      usesSignedRequests: false,
      usesOpenIdConnect: false,
      usesPar: false,
      findConsent: ({ scope }) => bank.consent(/^AIS:(\S+)$/.exec(String(scope))?.[1] ?? ''),
      onAuthorized: (consent) => {
        // 1.3.11, 6.3: a new recurring consent of the same customer and client replaces the previous one.
        for (const previous of bank.consentsOf(consent.customer ?? ''))
          if (previous.id !== consent.id && previous.clientId === consent.clientId && previous.status === 'AUTHORIZED')
            bank.endConsent(previous, 'REPLACED')
      },
    }),
  }
}

const errorResponse = (status: number, code: string): HttpError =>
  new HttpError(json(status, { tppMessages: [{ category: 'ERROR', code, text: 'refused' }] }))

function requireOwnConsent(bank: SandboxBank, request: SandboxRequest): BankConsent {
  const caller = authenticateBearer(bank, request)
  const consent = bank.consent(request.params['id'] ?? '')
  if (!caller) throw errorResponse(401, 'TOKEN_INVALID')
  if (consent?.clientId !== caller.clientId) throw errorResponse(403, 'CONSENT_UNKNOWN')
  return consent
}

function requireAuthorizedConsent(bank: SandboxBank, request: SandboxRequest, permission: string): BankConsent {
  const consent = authenticateBearer(bank, request)?.consent
  if (!consent) throw errorResponse(401, 'TOKEN_INVALID')
  if (request.headers['consent-id'] !== consent.id || consent.status !== 'AUTHORIZED')
    throw errorResponse(401, 'CONSENT_INVALID')
  if (!consent.permissions.includes(permission)) throw errorResponse(401, 'CONSENT_INVALID')
  if (!UUID.test(String(request.headers['x-request-id']))) throw errorResponse(400, 'FORMAT_ERROR')
  return consent
}

const consentedAccounts = (bank: SandboxBank, consent: BankConsent, isCard: boolean): SandboxAccount[] =>
  consent.accounts.flatMap((id) => bank.account(id) ?? []).filter(({ kind }) => (kind === 'CARD') === isCard)

type Entry = ReturnType<SandboxBank['history']>[number]
const transactionBody = (entry: Entry, account: SandboxAccount) => ({
  transactionId: entry.id,
  creditorName: entry.merchant,
  remittanceInformationUnstructured: entry.note,
  merchantCategoryCode: entry.categoryCode,
  bookingDate: entry.at.slice(0, 10),
  transactionAmount: {
    currency: account.currency,
    amount: `${entry.cents < 0 ? '-' : ''}${formatUnsigned(entry.cents)}`,
  },
})

/** Like real banks, adds free text and links to resources that were not requested. */
function accountBody(bank: SandboxBank, account: SandboxAccount) {
  const lastEntry = bank.history(account).at(-1)
  return {
    resourceId: account.id,
    currency: account.currency,
    status: bank.fraudDesk.isFrozen(account.id) ? 'blocked' : 'enabled',
    usage: 'PRIV',
    ownerName: account.owners.join(' und '),
    ...(account.kind === 'CARD' ? { maskedPan: account.number } : { iban: account.number, cashAccountType: 'CACC' }),
    name: lastEntry ? `Konto ${lastEntry.merchant}` : 'Konto',
    product: 'Girokonto',
    details: lastEntry?.note,
    ...(bank.canary && { [`${bank.canary}-key`]: true }),
    _links: {
      balances: { href: `/v1/accounts/${account.id}/balances` },
      transactions: { href: `/v1/accounts/${account.id}/transactions` },
    },
  }
}

function balanceBodies(bank: SandboxBank, account: SandboxAccount, isCard: boolean) {
  const history = bank.history(account)
  const { booked, expected, available } = computeBalances(account, history)
  const lastEntry = history.at(-1)
  const body = (balanceType: string, cents: number, creditLimitIncluded?: boolean) => {
    const signedCents = isCard ? -cents : cents
    return {
      balanceType,
      balanceAmount: {
        currency: account.currency,
        amount: `${signedCents < 0 ? '-' : ''}${formatUnsigned(signedCents)}`,
      },
      ...(creditLimitIncluded !== undefined && { creditLimitIncluded }),
      lastChangeDateTime: lastEntry?.at,
      lastCommittedTransaction: lastEntry?.id,
    }
  }
  return [
    body('interimBooked', booked),
    body('interimAvailable', isCard ? expected : available, false),
    body('expected', expected),
    body('nonInvoiced', expected - booked),
    body('forwardAvailable', expected - 1_00),
  ]
}
