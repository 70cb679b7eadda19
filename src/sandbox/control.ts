import { RESPONSES_PATH } from './alert-responses.ts'
import { pushAlert } from './alert-events.ts'
import { parseAlertRequest } from './alert-request.ts'
import type { BankClient, EventStreamState, SandboxBank } from './bank.ts'
import { cdrBase } from './cdr-api.ts'
import { changeStreams, pushConsentRevoked, pushSignal, type DeliveryMode } from './events.ts'
import { ALL_ACCOUNTS, FAULTS, type Fault } from './faults.ts'
import { fdxBase } from './fdx-api.ts'
import { eventsApiBase } from './event-polling.ts'
import { obieBase } from './obie-api.ts'
import { TEST_CUSTOMER, type SandboxBankConfig } from './personas.ts'
import { issueSoftwareStatement } from './registrations.ts'
import { json, type Routes } from './server.ts'
import { POLL_PATH } from './shared-signals.ts'
import { completeBankSignIn, type Decision } from './sign-ins.ts'

/** The base path of each standard's account API, and the members that the standard adds to a registration. */
const REGISTRATION_DATA: Readonly<
  Record<
    SandboxBankConfig['standard'],
    (config: SandboxBankConfig) => { basePath: string; extraFields: Record<string, unknown> }
  >
> = {
  OBIE: (config) => ({ basePath: obieBase(config), extraFields: { bulkBalances: config.version === '4.0' } }),
  BERLIN_GROUP: () => ({ basePath: '/psd2', extraFields: { cardAccounts: true } }),
  FDX: (config) => ({
    basePath: fdxBase(config),
    extraFields: { balanceCluster: config.version === '6.4' ? 'BALANCES' : 'ACCOUNT_DETAILED' },
  }),
  CDR: () => ({ basePath: cdrBase, extraFields: {} }),
}
/** The responses that sandbox banks take. */
const ACCEPTED = ['IT_WAS_ME', 'CALL_ME', 'IT_WAS_NOT_ME', 'FREEZE_REQUESTED']
const DEFAULT_FAULT_COUNT = 1_000_000

/** The sandbox control API: registration data, clients, faults, sign-ins, alerts and revocations on request. */
export function controlRoutes(bank: SandboxBank): Routes {
  const { config, canary: configuredCanary } = bank
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
          events: {
            issuer: bank.origin,
            keys: bank.publicKeys(),
            ...(bank.queuesEvents &&
              config.usesSharedSignals && {
                pollUrl: `${bank.origin}${POLL_PATH}`,
                stream: {},
              }),
          },
          version: config.version,
          ...(!config.takesNoResponses && {
            alertResponses: { url: `${bank.origin}${RESPONSES_PATH}`, accepts: [...ACCEPTED] },
          }),
          ...(bank.queuesEvents &&
            config.standard === 'OBIE' && { eventsApi: `${bank.origin}${eventsApiBase(config)}` }),
          ...extraFields,
        },
      })
    },

    // Injects a fault into one account or all accounts, with a delay and a number of times.
    'PUT /sandbox/faults': ({ body }) => {
      const { account = ALL_ACCOUNTS, kind, delayMs, times } = JSON.parse(body) as Partial<Fault> & { account?: string }
      if (kind !== undefined && kind !== 'NONE' && !FAULTS.includes(kind)) return json(400, { faults: FAULTS })
      const isFault = kind !== undefined && (kind !== 'NONE' || (delayMs ?? 0) > 0)
      bank.setFault(account, isFault ? { kind, delayMs: delayMs ?? 0, times: times ?? DEFAULT_FAULT_COUNT } : undefined)
      return { status: 204 }
    },
    'DELETE /sandbox/faults': () => {
      bank.clearFaults()
      return { status: 204 }
    },

    // Acts as the standard's directory, which issues the gateway's software statement.
    'POST /sandbox/software-statements': async ({ body }) => {
      const { keys, redirectUri, eventsUrl } = JSON.parse(body) as BankClient
      const softwareMetadata = { software_jwks: { keys }, software_redirect_uris: [redirectUri], events_url: eventsUrl }
      return json(201, { softwareStatement: await issueSoftwareStatement(bank, softwareMetadata) })
    },

    // Walks through the bank's sign-in pages as a customer would in a browser, and returns the callback URL.
    'POST /sandbox/sign-ins': async ({ body }) => {
      const { url, customer, decision } = JSON.parse(body) as { url: string; customer?: string; decision: Decision }
      if (new URL(url).origin !== bank.origin) return json(400, { error: 'the URL is not a page of this bank' })
      const customerName = customer ?? TEST_CUSTOMER
      const callback = await completeBankSignIn(url, customerName, decision)
      return json(200, { callback, accounts: bank.accountsOf(customerName).map(({ id }) => id) })
    },

    // Puts this text into all purchase data from now on, so that any leak can be recognised.
    'PUT /sandbox/canary': ({ body }) => {
      bank.canary = (JSON.parse(body) as { canary: string | null }).canary ?? configuredCanary
      return { status: 204 }
    },

    // A client id can be reused only with the same keys or redirect URI: two gateways never share a bank.
    'PUT /sandbox/clients/{id}': ({ params, body }) => {
      const [id, client] = [params['id']!, JSON.parse(body) as BankClient]
      const existing = bank.client(id)
      const isSameClient = (other: BankClient): boolean =>
        other.redirectUri === client.redirectUri || JSON.stringify(other.keys) === JSON.stringify(client.keys)
      if (existing && !isSameClient(existing)) return json(409, { error: 'belongs_to_another_gateway' })
      bank.registerClient(id, client)
      return { status: 204 }
    },

    'DELETE /sandbox/clients/{id}': ({ params }) => {
      bank.removeClient(params['id']!)
      return { status: 204 }
    },

    'DELETE /sandbox/alert-responses': () => {
      bank.fraudDesk.reset()
      return { status: 204 }
    },

    'POST /sandbox/alerts': async ({ body }) => {
      return json(200, { pushed: await pushAlert(bank, parseAlertRequest(config, body)) })
    },

    // Sends an event of any type about any subject, such as those of CAEP and RISC.
    'POST /sandbox/events': async ({ body }) => {
      const { type, event, subject, deliveryMode } = JSON.parse(body) as {
        type: string
        event?: Record<string, unknown>
        subject: Record<string, unknown>
        deliveryMode?: DeliveryMode
      }
      return json(200, { pushed: await pushSignal(bank, subject, type, event, deliveryMode) })
    },

    // Changes the status of the streams of all clients, as a bank may do on its own.
    'PUT /sandbox/event-streams': async ({ body }) => {
      const { status } = JSON.parse(body) as { status: EventStreamState['status'] }
      return json(200, { pushed: await changeStreams(bank, status) })
    },

    'POST /sandbox/revocations': async ({ body }) => {
      const {
        customer,
        consent: id,
        deliveryMode,
      } = JSON.parse(body) as { customer?: string; consent?: string; deliveryMode?: DeliveryMode }
      const consents =
        customer === undefined
          ? [bank.consent(id ?? '')].flatMap((consent) => consent ?? [])
          : bank.consentsOf(customer)
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
