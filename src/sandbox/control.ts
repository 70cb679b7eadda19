import { parseAlertRequest } from './alert-request.ts'
import type { BankClient, SandboxBank } from './bank.ts'
import { cdrBase } from './cdr-api.ts'
import { pushAlert, pushConsentRevoked, type DeliveryMode } from './events.ts'
import { ALL_ACCOUNTS, FAULTS, type Fault } from './faults.ts'
import { fdxBase } from './fdx-api.ts'
import { eventsApiBase } from './event-polling.ts'
import { obieBase } from './obie-api.ts'
import { TEST_CUSTOMER, type SandboxBankConfig } from './personas.ts'
import { issueSoftwareStatement } from './registrations.ts'
import { json, type Routes } from './server.ts'
import { completeBankSignIn, type Decision } from './sign-ins.ts'

/** Where each standard's account API begins, and what its registration holds beside the common members. */
const REGISTRATION_DATA: Readonly<
  Record<
    SandboxBankConfig['standard'],
    (facts: SandboxBankConfig) => { basePath: string; extraFields: Record<string, unknown> }
  >
> = {
  OBIE: (facts) => ({ basePath: obieBase(facts), extraFields: { bulkBalances: facts.version === '4.0' } }),
  BERLIN_GROUP: () => ({ basePath: '/psd2', extraFields: { cardAccounts: true } }),
  FDX: (facts) => ({
    basePath: fdxBase(facts),
    extraFields: { balanceCluster: facts.version === '6.4' ? 'BALANCES' : 'ACCOUNT_DETAILED' },
  }),
  CDR: () => ({ basePath: cdrBase, extraFields: {} }),
}
const MAX_TIMES = 1_000_000

/** What a real bank does behind its own doors, here by request: registration data, introductions, alerts, revocations. */
export function controlRoutes(bank: SandboxBank): Routes {
  const { config, canary: configured } = bank
  return {
    'GET /sandbox/registration': () => {
      const { basePath, extraFields } = REGISTRATION_DATA[config.standard](config)
      return json(200, {
        standard: config.standard,
        registration: {
          bank: { id: config.id, name: config.name, country: config.country },
          authorizationServer: bank.origin,
          apiBase: `${bank.origin}${basePath}`,
          clientId: 'guichet',
          bankAppUrl: `${bank.origin}/app`,
          testInterface: `${bank.origin}/sandbox`,
          events: { issuer: bank.origin, keys: bank.publicKeys() },
          version: config.version,
          ...(bank.queuesEvents && { eventsApi: `${bank.origin}${eventsApiBase(config)}` }),
          ...extraFields,
        },
      })
    },

    // What goes wrong from now on, of one account or of everything, how slowly, and how many times.
    'PUT /sandbox/faults': ({ body }) => {
      const { account = ALL_ACCOUNTS, kind, delayMs, times } = JSON.parse(body) as Partial<Fault> & { account?: string }
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
      const softwareMetadata = { software_jwks: { keys }, software_redirect_uris: [redirectUri], events_url: eventsUrl }
      return json(201, { softwareStatement: await issueSoftwareStatement(bank, softwareMetadata) })
    },

    // A customer goes through the bank's own pages, as they would in a browser, up to the way back.
    'POST /sandbox/sign-ins': async ({ body }) => {
      const { url, customer, decision } = JSON.parse(body) as { url: string; customer?: string; decision: Decision }
      if (new URL(url).origin !== bank.origin) return json(400, { error: 'not a page of this bank' })
      const customerName = customer ?? TEST_CUSTOMER
      const callback = await completeBankSignIn(url, customerName, decision)
      return json(200, { callback, accounts: bank.accountsOf(customerName).map(({ id }) => id) })
    },

    // From now on everything purchase-like holds this text, so that a single one that gets out can be recognised.
    'PUT /sandbox/canary': ({ body }) => {
      bank.canary = (JSON.parse(body) as { canary: string | null }).canary ?? configured
      return { status: 204 }
    },

    // A party keeps its name for as long as it has its keys or its address: two gateways never share a bank.
    'PUT /sandbox/clients/{id}': ({ params, body }) => {
      const [id, client] = [params['id']!, JSON.parse(body) as BankClient]
      const existing = bank.client(id)
      const isSameClient = (one: BankClient): boolean =>
        one.redirectUri === client.redirectUri || JSON.stringify(one.keys) === JSON.stringify(client.keys)
      if (existing && !isSameClient(existing)) return json(409, { error: 'belongs_to_another_gateway' })
      bank.registerClient(id, client)
      return { status: 204 }
    },

    'POST /sandbox/alerts': async ({ body }) => {
      const { account, type, severity, deliveryMode } = parseAlertRequest(config, body)
      return json(200, { pushed: await pushAlert(bank, account, type, severity, deliveryMode) })
    },

    'POST /sandbox/revocations': async ({ body }) => {
      const {
        customer,
        consent: id,
        deliveryMode,
      } = JSON.parse(body) as { customer?: string; consent?: string; deliveryMode?: DeliveryMode }
      const consents =
        customer === undefined ? [bank.consent(id ?? '')].flatMap((one) => one ?? []) : bank.consentsOf(customer)
      const authorized = consents.filter(({ status }) => status === 'AUTHORIZED')
      for (const consent of authorized) bank.endConsent(consent, 'REVOKED')
      return json(200, {
        pushed: (
          await Promise.all(authorized.map((consent) => pushConsentRevoked(bank, consent, deliveryMode)))
        ).flat(),
      })
    },

    'GET /sandbox/consents': ({ url }) =>
      json(200, {
        consents: bank
          .consentsOf(url.searchParams.get('customer') ?? '')
          .map(({ id, status, accounts }) => ({ id, status, accounts })),
      }),

    'GET /sandbox/customers': () =>
      json(200, { customers: [...new Set(config.accounts.flatMap(({ owners }) => owners))] }),
  }
}
