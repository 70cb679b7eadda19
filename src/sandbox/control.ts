import { alertOrder } from './alerts.ts'
import type { BankClient, SandboxBank } from './bank.ts'
import { cdrBase } from './cdr-api.ts'
import { pushAlert, pushConsentRevoked, type How } from './events.ts'
import { EVERYWHERE, FAULTS, type Fault } from './faults.ts'
import { fdxBase } from './fdx-api.ts'
import { keptEventsBase } from './kept-events.ts'
import { obieBase } from './obie-api.ts'
import { TEST_CUSTOMER, type SandboxBankFacts } from './people.ts'
import { softwareStatement } from './registrations.ts'
import { json, type Routes } from './server.ts'
import { walkThrough, type Decision } from './sign-ins.ts'

/** Where each standard's account API begins, and what its registration holds beside the common members. */
const REGISTRATIONS: Readonly<
  Record<SandboxBankFacts['standard'], (facts: SandboxBankFacts) => { base: string; own: Record<string, unknown> }>
> = {
  OBIE: (facts) => ({ base: obieBase(facts), own: { bulkBalances: facts.version === '4.0' } }),
  BERLIN_GROUP: () => ({ base: '/psd2', own: { cardAccounts: true } }),
  FDX: (facts) => ({
    base: fdxBase(facts),
    own: { balanceCluster: facts.version === '6.4' ? 'BALANCES' : 'ACCOUNT_DETAILED' },
  }),
  CDR: () => ({ base: cdrBase, own: {} }),
}
const MAX_TIMES = 1_000_000

/** What a real bank does behind its own doors, here by request: registration data, introductions, alerts, revocations. */
export function controlRoutes(bank: SandboxBank): Routes {
  const { facts, canary: configured } = bank
  return {
    'GET /sandbox/registration': () => {
      const { base, own } = REGISTRATIONS[facts.standard](facts)
      return json(200, {
        standard: facts.standard,
        registration: {
          bank: { id: facts.id, name: facts.name, country: facts.country },
          authorizationServer: bank.origin,
          apiBase: `${bank.origin}${base}`,
          clientId: 'guichet',
          handoff: `${bank.origin}/app`,
          testInterface: `${bank.origin}/sandbox`,
          events: { issuer: bank.origin, keys: bank.publicKeys() },
          version: facts.version,
          ...(bank.keepsEvents && { eventsApi: `${bank.origin}${keptEventsBase(facts)}` }),
          ...own,
        },
      })
    },

    // What goes wrong from now on, of one account or of everything, how slowly, and how many times.
    'PUT /sandbox/faults': ({ body }) => {
      const { account = EVERYWHERE, kind, delayMs, times } = JSON.parse(body) as Partial<Fault> & { account?: string }
      if (kind !== undefined && kind !== 'NONE' && !FAULTS.includes(kind)) return json(400, { faults: FAULTS })
      const isFault = kind !== undefined && (kind !== 'NONE' || (delayMs ?? 0) > 0)
      bank.setFault(account, isFault ? { kind, delayMs: delayMs ?? 0, times: times ?? MAX_TIMES } : undefined)
      return { status: 204 }
    },
    'DELETE /sandbox/faults': () => {
      bank.clearFaults()
      return { status: 204 }
    },

    // The standard's directory, in which the gateway's software is written down.
    'POST /sandbox/software-statements': async ({ body }) => {
      const { keys, redirectUri, eventsUrl } = JSON.parse(body) as BankClient
      const about = { software_jwks: { keys }, software_redirect_uris: [redirectUri], events_url: eventsUrl }
      return json(201, { softwareStatement: await softwareStatement(bank, about) })
    },

    // A customer goes through the bank's own pages, as they would in a browser, up to the way back.
    'POST /sandbox/sign-ins': async ({ body }) => {
      const { url, customer, decision } = JSON.parse(body) as { url: string; customer?: string; decision: Decision }
      if (new URL(url).origin !== bank.origin) return json(400, { error: 'not a page of this bank' })
      const name = customer ?? TEST_CUSTOMER
      const callback = await walkThrough(url, name, decision)
      return json(200, { callback, accounts: bank.accountsOf(name).map(({ id }) => id) })
    },

    // From now on everything purchase-like holds this text, so that a single one that gets out can be recognised.
    'PUT /sandbox/canary': ({ body }) => {
      bank.canary = (JSON.parse(body) as { canary: string | null }).canary ?? configured
      return { status: 204 }
    },

    // A party keeps its name for as long as it has its keys or its address: two gateways never share a bank.
    'PUT /sandbox/clients/{id}': ({ params, body }) => {
      const [id, client] = [params['id']!, JSON.parse(body) as BankClient]
      const known = bank.client(id)
      const isSame = (one: BankClient): boolean =>
        one.redirectUri === client.redirectUri || JSON.stringify(one.keys) === JSON.stringify(client.keys)
      if (known && !isSame(known)) return json(409, { error: 'belongs_to_another_gateway' })
      bank.introduce(id, client)
      return { status: 204 }
    },

    'POST /sandbox/alerts': async ({ body }) => {
      const { account, type, severity, how } = alertOrder(facts, body)
      return json(200, { pushed: await pushAlert(bank, account, type, severity, how) })
    },

    'POST /sandbox/revocations': async ({ body }) => {
      const { customer, consent: id, how } = JSON.parse(body) as { customer?: string; consent?: string; how?: How }
      const all =
        customer === undefined ? [bank.consent(id ?? '')].flatMap((one) => one ?? []) : bank.consentsOf(customer)
      const live = all.filter(({ state }) => state === 'LIVE')
      for (const consent of live) bank.endConsent(consent, 'REVOKED')
      return json(200, {
        pushed: (await Promise.all(live.map((consent) => pushConsentRevoked(bank, consent, how)))).flat(),
      })
    },

    'GET /sandbox/consents': ({ url }) =>
      json(200, {
        consents: bank
          .consentsOf(url.searchParams.get('customer') ?? '')
          .map(({ id, state, accounts }) => ({ id, state, accounts })),
      }),

    'GET /sandbox/customers': () =>
      json(200, { customers: [...new Set(facts.accounts.flatMap(({ owners }) => owners))] }),
  }
}
