import type { BankConsent, SandboxBank } from './bank.ts'
import { balancesOf, unsigned } from './history.ts'
import { bearer, oauthRoutes } from './oauth.ts'
import type { SandboxAccount } from './people.ts'
import { json, Refusal, type Routes, type SandboxRequest } from './server.ts'

const STATUS: Readonly<Record<BankConsent['state'], string>> = {
  WAITING: 'received',
  LIVE: 'valid',
  REJECTED: 'rejected',
  REVOKED: 'revokedByPsu',
  DELETED: 'terminatedByTpp',
  REPLACED: 'expired',
}
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** NextGenPSD2 1.3.11 as a bank serves it, transactions included for whoever was allowed to ask. */
export function berlinGroupRoutes(bank: SandboxBank): { api: Routes; oauth: Routes } {
  const balancesReply = (card: boolean) => (request: SandboxRequest) => {
    const consent = liveConsent(bank, request, 'balances')
    const account = opened(bank, consent, card).find(({ id }) => id === request.params['id'])
    if (!account) throw problem(404, 'RESOURCE_UNKNOWN')
    if (bank.facts.outageFor.includes(consent.customer ?? ''))
      throw new Refusal({
        status: 503,
        headers: { 'content-type': 'text/html' },
        body: `<h1>Down</h1><p>${bank.history(account).at(-1)?.merchant ?? ''}</p>`,
      })
    return json(200, { ...(card && { debitAccounting: true }), balances: balanceBodies(bank, account, card) })
  }

  const api: Routes = {
    'POST /psd2/v1/consents': (request) => {
      const caller = bearer(bank, request)
      if (!caller) throw problem(401, 'TOKEN_INVALID')
      if (!UUID.test(String(request.headers['x-request-id'])) || !request.headers['psu-ip-address'])
        throw problem(400, 'FORMAT_ERROR')
      const body = JSON.parse(request.body) as {
        access: Record<string, unknown>
        validUntil: string
        frequencyPerDay: number
        recurringIndicator: boolean
      }
      if (!('access' in body) || !('validUntil' in body) || body.frequencyPerDay > 4) throw problem(400, 'FORMAT_ERROR')
      const notifyAt = request.headers['tpp-notification-uri']
      const consent = bank.addConsent({
        clientId: caller.clientId,
        expiresAt: `${body.validUntil}T23:59:59.999Z`,
        permissions: Object.keys(body.access),
        ...(typeof notifyAt === 'string' && { notifyAt }),
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
        { 'aspsp-sca-approach': 'REDIRECT', 'aspsp-notification-support': String(notifyAt !== undefined) },
      )
    },
    'GET /psd2/v1/consents/{id}/status': (request) =>
      json(200, { consentStatus: STATUS[ownConsent(bank, request).state] }),
    'DELETE /psd2/v1/consents/{id}': (request) => {
      bank.endConsent(ownConsent(bank, request), 'DELETED')
      return { status: 204 }
    },
    'GET /psd2/v1/accounts': (request) =>
      json(200, {
        accounts: opened(bank, liveConsent(bank, request, 'accounts'), false).map((account) =>
          accountBody(bank, account),
        ),
      }),
    'GET /psd2/v1/card-accounts': (request) =>
      json(200, {
        cardAccounts: opened(bank, liveConsent(bank, request, 'accounts'), true).map((account) =>
          accountBody(bank, account),
        ),
      }),
    'GET /psd2/v1/accounts/{id}/balances': balancesReply(false),
    'GET /psd2/v1/card-accounts/{id}/balances': balancesReply(true),
    'GET /psd2/v1/accounts/{id}/transactions': (request) => {
      const consent = liveConsent(bank, request, 'transactions')
      const account = opened(bank, consent, false).find(({ id }) => id === request.params['id'])
      if (!account) throw problem(404, 'RESOURCE_UNKNOWN')
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
      signedRequests: false,
      openIdConnect: false,
      pushed: false,
      consentOf: ({ scope }) => bank.consent(/^AIS:(\S+)$/.exec(String(scope))?.[1] ?? ''),
      agreed: (consent) => {
        // 1.3.11, 6.3: a new recurring consent of the same customer for the same party ends the former one.
        for (const former of bank.consentsOf(consent.customer ?? ''))
          if (former.id !== consent.id && former.clientId === consent.clientId && former.state === 'LIVE')
            bank.endConsent(former, 'REPLACED')
      },
    }),
  }
}

const problem = (status: number, code: string): Refusal =>
  new Refusal(json(status, { tppMessages: [{ category: 'ERROR', code, text: 'refused' }] }))

function ownConsent(bank: SandboxBank, request: SandboxRequest): BankConsent {
  const caller = bearer(bank, request)
  const consent = bank.consent(request.params['id'] ?? '')
  if (!caller) throw problem(401, 'TOKEN_INVALID')
  if (consent?.clientId !== caller.clientId) throw problem(403, 'CONSENT_UNKNOWN')
  return consent
}

function liveConsent(bank: SandboxBank, request: SandboxRequest, right: string): BankConsent {
  const consent = bearer(bank, request)?.consent
  if (!consent) throw problem(401, 'TOKEN_INVALID')
  if (request.headers['consent-id'] !== consent.id || consent.state !== 'LIVE') throw problem(401, 'CONSENT_INVALID')
  if (!consent.permissions.includes(right)) throw problem(401, 'CONSENT_INVALID')
  if (!UUID.test(String(request.headers['x-request-id']))) throw problem(400, 'FORMAT_ERROR')
  return consent
}

const opened = (bank: SandboxBank, consent: BankConsent, card: boolean): SandboxAccount[] =>
  consent.accounts.flatMap((id) => bank.account(id) ?? []).filter(({ kind }) => (kind === 'CARD') === card)

type Entry = ReturnType<SandboxBank['history']>[number]
const transactionBody = (entry: Entry, account: SandboxAccount) => ({
  transactionId: entry.id,
  creditorName: entry.merchant,
  remittanceInformationUnstructured: entry.note,
  merchantCategoryCode: entry.categoryCode,
  bookingDate: entry.at.slice(0, 10),
  transactionAmount: { currency: account.currency, amount: `${entry.cents < 0 ? '-' : ''}${unsigned(entry.cents)}` },
})

/** Banks put free text where they please, and link to what was not asked for. */
function accountBody(bank: SandboxBank, account: SandboxAccount) {
  const last = bank.history(account).at(-1)
  return {
    resourceId: account.id,
    currency: account.currency,
    status: 'enabled',
    usage: 'PRIV',
    ownerName: account.owners.join(' und '),
    ...(account.kind === 'CARD' ? { maskedPan: account.number } : { iban: account.number, cashAccountType: 'CACC' }),
    name: last ? `Konto ${last.merchant}` : 'Konto',
    product: 'Girokonto',
    details: last?.note,
    ...(bank.canary && { [`${bank.canary}-key`]: true }),
    _links: {
      balances: { href: `/v1/accounts/${account.id}/balances` },
      transactions: { href: `/v1/accounts/${account.id}/transactions` },
    },
  }
}

function balanceBodies(bank: SandboxBank, account: SandboxAccount, card: boolean) {
  const history = bank.history(account)
  const { booked, expected, available } = balancesOf(account, history)
  const last = history.at(-1)
  const body = (balanceType: string, cents: number, creditLimitIncluded?: boolean) => {
    const shown = card ? -cents : cents
    return {
      balanceType,
      balanceAmount: { currency: account.currency, amount: `${shown < 0 ? '-' : ''}${unsigned(shown)}` },
      ...(creditLimitIncluded !== undefined && { creditLimitIncluded }),
      lastChangeDateTime: last?.at,
      lastCommittedTransaction: last?.id,
    }
  }
  return [
    body('interimBooked', booked),
    body('interimAvailable', card ? expected : available, false),
    body('expected', expected),
    body('nonInvoiced', expected - booked),
    body('forwardAvailable', expected - 1_00),
  ]
}
