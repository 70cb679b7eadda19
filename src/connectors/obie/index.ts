import { z } from 'zod'
import { later, MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { parseWire } from '../../kernel/wire.ts'
import { alreadyGone, bankApi, interactionId, secret, type AllowedPaths, type ErrorWords } from '../bank-api.ts'
import type {
  BankAccess,
  BankInterface,
  CollectEvents,
  ConnectorTools,
  PresentCustomer,
  Registration,
  SettledEvents,
  Standard,
} from '../connector.ts'
import { registerDynamically } from '../dynamic-registration.ts'
import { endpointFaultOf, type Resources } from '../endpoints.ts'
import { fapiClient } from '../fapi.ts'
import { overPages } from '../pages.ts'
import { only, theOne, valuesOf } from '../reading.ts'
import { commonRegistration } from '../registration.ts'
import { SECURITY_ALERT } from '../security-events.ts'
import { wordTable } from '../word-table.ts'
import { CONSENT_REVOKED, readObieEvent } from './events.ts'
import { toAccount, toBalances } from './normalise.ts'
import {
  accountsAnswer,
  balancesAnswer,
  consentAnswer,
  errorCodes,
  eventsAnswer,
  MAX_EVENTS,
  subscriptionsAnswer,
} from './wire.ts'

/** All that Guichet ever calls at an Open Banking bank. */
const PATHS = {
  createConsent: ['POST', '/account-access-consents'],
  deleteConsent: ['DELETE', '/account-access-consents/{consent}'],
  accounts: ['GET', '/accounts'],
  balances: ['GET', '/accounts/{account}/balances'],
  allBalances: ['GET', '/balances'],
} as const satisfies AllowedPaths

/** And at its events API, which has an address of its own. */
const EVENT_PATHS = {
  subscriptions: ['GET', '/event-subscriptions'],
  subscribe: ['POST', '/event-subscriptions'],
  events: ['POST', '/events'],
} as const satisfies AllowedPaths

/** All that Guichet ever asks a customer's bank for. */
const PERMISSIONS = ['ReadAccountsDetail', 'ReadBalances']

/** Codes that say more than their status does: 4.0, "UK Open Banking error codes", and those of 3.1.11. */
const WORDS: ErrorWords = {
  shape: errorCodes,
  codes: wordTable<ErrorCode>({
    U028: 'RECONNECT_REQUIRED',
    'UK.OBIE.Reauthenticate': 'RECONNECT_REQUIRED',
    'UK.OBIE.Resource.InvalidConsentStatus': 'RECONNECT_REQUIRED',
    U011: 'BALANCE_NOT_PROVIDED',
    'UK.OBIE.Resource.NotFound': 'BALANCE_NOT_PROVIDED',
    'UK.OBIE.Rules.ResourceAlreadyExists': 'BANK_REFUSED',
    'UK.OBIE.Header.Missing': 'BANK_REFUSED',
    'UK.OBIE.Header.Invalid': 'BANK_REFUSED',
  }),
}

/** A token of the gateway's own is used for so long before another is asked for. */
const OWN_TOKEN_MS = 4 * MINUTE_MS
/** RFC 8935, 2.4: what a bank is told of an event that is not as it must be. */
const NOT_ACCEPTABLE = { err: 'invalid_request', description: 'the event is not acceptable' }

interface ObieRegistration extends Registration {
  readonly version: '3.1.11' | '4.0'
  readonly bulkBalances: boolean
  readonly eventsApi?: string | undefined
}

/**
 * UK Open Banking Read/Write 3.1.11 and 4.0, account information, over FAPI 1.0 Advanced with signed requests and JARM
 * answers. The two differ in the names of types and states, and both are read whichever the bank says it speaks.
 */
export const obie: Standard<ObieRegistration> = {
  id: 'OBIE',
  name: 'UK Open Banking Read/Write',
  registration: (address) =>
    z.strictObject({
      ...commonRegistration(address),
      version: z.enum(['3.1.11', '4.0']),
      bulkBalances: z.boolean().default(false),
      /** Where the bank keeps its events for whoever asks (event notification subscriptions and aggregated polling). */
      eventsApi: address.optional(),
    }),
  resources: resourcesOf,
  newConsentEndsEarlier: false,
  connect,
  introduce: (registration, tools, statement) =>
    registerDynamically(registration, tools, statement, {
      scope: 'openid accounts',
      endpointFault: endpointFaultOf(registration, resourcesOf(registration)),
    }),
  readEvent: readObieEvent,
}

function resourcesOf({ apiBase, eventsApi }: ObieRegistration): Resources[] {
  return [
    { base: apiBase, paths: PATHS },
    ...(eventsApi === undefined ? [] : [{ base: eventsApi, paths: EVENT_PATHS }]),
  ]
}

function connect(registration: ObieRegistration, tools: ConnectorTools): BankInterface {
  const endpointFault = endpointFaultOf(registration, resourcesOf(registration))
  const oauth = fapiClient(registration, tools, {
    signedMessages: true,
    openIdConnect: true,
    pushed: false,
    endpointFault,
  })
  const call = bankApi(PATHS, registration.apiBase, tools, WORDS)
  const headers = (token: string) => ({
    authorization: `Bearer ${token}`,
    'x-fapi-interaction-id': interactionId(tools),
  })

  /** 3.1.11 and 4.0, "Headers": the customer's address exactly where the customer is there. */
  const onBehalf = ({ accessToken, signedInAt }: BankAccess, customer: PresentCustomer | null) => ({
    ...headers(accessToken),
    ...(signedInAt && { 'x-fapi-auth-date': new Date(signedInAt).toUTCString() }),
    ...(customer && { 'x-fapi-customer-ip-address': customer.ip }),
    ...(customer?.userAgent && { 'x-customer-user-agent': customer.userAgent }),
  })

  /**
   * Event notifications, "aggregated polling": what was taken and what was refused is told with the next question. The
   * first time, the bank is asked to keep and deliver events at all, unless it does so already.
   */
  function collecting(eventsApi: string): CollectEvents {
    const ask = bankApi(EVENT_PATHS, eventsApi, tools, WORDS)
    const callback = `${tools.eventsUrl}/event-notifications`
    let isSubscribed = false
    let own: { readonly token: string; readonly until: Date } | undefined

    async function ownToken(): Promise<string> {
      const now = tools.clock.now()
      if (!own || own.until <= now) own = { token: await oauth.ownToken('accounts'), until: later(now, OWN_TOKEN_MS) }
      return own.token
    }

    async function subscribe(token: string): Promise<void> {
      const { text } = await ask('subscriptions', { headers: headers(token) })
      const { EventSubscription = [] } = parseWire(subscriptionsAnswer, text).Data
      if (!EventSubscription.some(({ CallbackUrl }) => CallbackUrl === callback)) {
        const Version = registration.version === '3.1.11' ? '3.1' : '4.0'
        const body = { Data: { CallbackUrl: callback, Version, EventTypes: [CONSENT_REVOKED, SECURITY_ALERT] } }
        await ask('subscribe', { headers: headers(token), body })
      }
      isSubscribed = true
    }

    async function collected({ taken, refused }: SettledEvents): Promise<Record<string, string>> {
      const token = await ownToken()
      if (!isSubscribed) await subscribe(token)
      const setErrs = Object.fromEntries(refused.map((id) => [id, NOT_ACCEPTABLE]))
      const body = { maxEvents: MAX_EVENTS, returnImmediately: true, ack: taken, setErrs }
      return parseWire(eventsAnswer, (await ask('events', { headers: headers(token), body })).text).sets
    }

    return async (settled) => {
      const sets = await collected(settled).catch((error: unknown) => {
        // The bank may have ended it before its time.
        own = undefined
        throw error
      })
      return Object.entries(sets).map(([id, set]) => ({
        id,
        delivered: {
          contentType: 'application/jwt',
          headers: {},
          body: set,
          url: tools.eventsUrl,
          audience: tools.eventsUrl,
        },
      }))
    }
  }

  const entries = <T extends { Links?: { Next?: string | undefined } | undefined }>(
    operation: 'accounts' | 'balances' | 'allBalances',
    request: { params?: Record<string, string>; headers: Record<string, string> },
    shape: z.ZodType<T>,
    listIn: (answer: T) => unknown[],
  ): Promise<unknown[]> =>
    overPages<string>(async (page) => {
      const answer = parseWire(shape, (await call(operation, { ...request, ...(page && { page }) })).text)
      return { entries: listIn(answer), next: answer.Links?.Next }
    }, tools.report)

  return {
    async requestConsent({ expiresAt, state, customer }) {
      const token = await oauth.ownToken('accounts')
      const { text } = await call('createConsent', {
        headers: { ...headers(token), 'x-fapi-customer-ip-address': customer.ip },
        body: { Data: { Permissions: PERMISSIONS, ExpirationDateTime: expiresAt.toISOString() }, Risk: {} },
      })
      const { ConsentId } = parseWire(consentAnswer, text).Data
      const resume = { consentRef: ConsentId, state, codeVerifier: secret(tools), nonce: secret(tools) }
      const intent = JSON.stringify({ id_token: { openbanking_intent_id: { value: ConsentId, essential: true } } })
      return { url: await oauth.signInUrl({ scope: 'openid accounts', claims: intent }, resume), resume }
    },

    async completeSignIn(callback, resume) {
      const { access, claims } = await oauth.exchange(callback, resume)
      // Otherwise a code that was issued for another consent could be slipped into this customer's browser.
      if (claims['openbanking_intent_id'] !== resume.consentRef)
        throw new GatewayError('BANK_RESPONSE_INVALID', { internal: 'tokens are for another consent' })
      return access
    },

    refresh: (access) => oauth.refresh(access),

    async accounts(access, customer) {
      const request = { headers: onBehalf(access, customer) }
      const list = await entries('accounts', request, accountsAnswer, ({ Data }) => Data.Account)
      const accounts = valuesOf(list.map(toAccount), tools.report)
      return [...new Map(accounts.map((account) => [account.ref, account])).values()]
    },

    async balances(access, accountRef, customer) {
      const request = { params: { account: accountRef }, headers: onBehalf(access, customer) }
      const list = await entries('balances', request, balancesAnswer, ({ Data }) => Data.Balance)
      return theOne(accountRef, toBalances(list, tools.report), tools.report)
    },

    bulkBalances: registration.bulkBalances
      ? async (access, accountRefs, customer) => {
          const request = { headers: onBehalf(access, customer) }
          const list = await entries('allBalances', request, balancesAnswer, ({ Data }) => Data.Balance)
          return only(accountRefs, toBalances(list, tools.report))
        }
      : undefined,

    collectEvents: registration.eventsApi === undefined ? undefined : collecting(registration.eventsApi),

    async revokeConsent(consentRef) {
      const token = await oauth.ownToken('accounts')
      await call('deleteConsent', { params: { consent: consentRef }, headers: headers(token) }).catch(alreadyGone)
    },
  }
}
