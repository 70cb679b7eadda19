import { z } from 'zod'
import { later, MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { parseWire } from '../../kernel/wire.ts'
import { alreadyGone, bankApi, interactionId, secret, type AllowedPaths, type ErrorWords } from '../bank-api.ts'
import type {
  BankAccess,
  BankInterface,
  ConnectorTools,
  PresentCustomer,
  Registration,
  Standard,
} from '../connector.ts'
import { endpointFaultOf, type Resources } from '../endpoints.ts'
import { fapiClient } from '../fapi.ts'
import { valuesOf } from '../reading.ts'
import { commonRegistration } from '../registration.ts'
import { wordTable } from '../word-table.ts'
import { readBerlinGroupEvent } from './events.ts'
import { toAccount, toBalances } from './normalise.ts'
import { cardIdOf } from './quirks.ts'
import {
  accountsAnswer,
  balancesAnswer,
  cardAccountsAnswer,
  consentAnswer,
  consentStatusAnswer,
  ENDED_STATES,
  errorCodes,
} from './wire.ts'

/** All that Guichet ever calls at a NextGenPSD2 bank. */
const PATHS = {
  createConsent: ['POST', '/v1/consents'],
  consentStatus: ['GET', '/v1/consents/{consent}/status'],
  deleteConsent: ['DELETE', '/v1/consents/{consent}'],
  accounts: ['GET', '/v1/accounts'],
  balances: ['GET', '/v1/accounts/{account}/balances'],
  cardAccounts: ['GET', '/v1/card-accounts'],
  cardBalances: ['GET', '/v1/card-accounts/{account}/balances'],
} as const satisfies AllowedPaths

/** How often a day the bank may be asked while the customer is away: what the standard allows without an agreement. */
const FREQUENCY_PER_DAY = 4
/** A token of the gateway's own is used for so long before another is asked for. */
const OWN_TOKEN_MS = 4 * MINUTE_MS

/** Message codes that say more than their status does (1.3.11, 14.11). */
const WORDS: ErrorWords = {
  shape: errorCodes,
  codes: wordTable<ErrorCode>({
    CONSENT_INVALID: 'RECONNECT_REQUIRED',
    CONSENT_EXPIRED: 'RECONNECT_REQUIRED',
    CONSENT_UNKNOWN: 'RECONNECT_REQUIRED',
    TOKEN_UNKNOWN: 'RECONNECT_REQUIRED',
    TOKEN_INVALID: 'RECONNECT_REQUIRED',
    TOKEN_EXPIRED: 'RECONNECT_REQUIRED',
    RESOURCE_UNKNOWN: 'BALANCE_NOT_PROVIDED',
    RESOURCE_EXPIRED: 'BALANCE_NOT_PROVIDED',
    SERVICE_BLOCKED: 'BANK_REFUSED',
    CERTIFICATE_INVALID: 'BANK_REFUSED',
    CERTIFICATE_EXPIRED: 'BANK_REFUSED',
    CERTIFICATE_MISSING: 'BANK_REFUSED',
    SIGNATURE_INVALID: 'BANK_REFUSED',
    FORMAT_ERROR: 'BANK_REFUSED',
    // Counted by the bank's day, for this consent: the bank itself is well.
    ACCESS_EXCEEDED: 'BANK_QUOTA_EXHAUSTED',
  }),
}

interface BerlinGroupRegistration extends Registration {
  readonly version: '1.3.11'
  readonly cardAccounts: boolean
  readonly sca: 'OAUTH' | 'REDIRECT'
}

/** Berlin Group NextGenPSD2 1.3.11, account information, with the customer redirected: OAuth SCA, or the bank's own link. */
export const berlinGroup: Standard<BerlinGroupRegistration> = {
  id: 'BERLIN_GROUP',
  name: 'Berlin Group NextGenPSD2',
  registration: (address) =>
    z.strictObject({
      ...commonRegistration(address),
      version: z.literal('1.3.11'),
      cardAccounts: z.boolean(),
      sca: z.enum(['OAUTH', 'REDIRECT']).default('OAUTH'),
    }),
  resources: resourcesOf,
  newConsentEndsEarlier: true,
  connect,
  readEvent: readBerlinGroupEvent,
}

function resourcesOf({ apiBase }: BerlinGroupRegistration): Resources[] {
  return [{ base: apiBase, paths: PATHS }]
}

function connect(registration: BerlinGroupRegistration, tools: ConnectorTools): BankInterface {
  const endpointFault = endpointFaultOf(registration, resourcesOf(registration))
  const oauth = fapiClient(registration, tools, {
    signedMessages: false,
    openIdConnect: false,
    pushed: false,
    endpointFault,
  })
  const call = bankApi(PATHS, registration.apiBase, tools, WORDS)
  const own = async () => ({
    authorization: `Bearer ${await oauth.ownToken('AIS')}`,
    'x-request-id': interactionId(tools),
  })
  const byOauth = registration.sca === 'OAUTH'

  /** Where the bank's own pages send the customer back to; with OAuth SCA it is the authorization server that adds to it. */
  function back(state: string, error?: string): string {
    const url = new URL(tools.redirectUri)
    if (byOauth) return url.href
    url.searchParams.set('state', state)
    if (error) url.searchParams.set('error', error)
    return url.href
  }

  /** With redirect SCA the customer goes where the bank says, as long as that lies on a registered origin. */
  function signInPage(href: string | undefined): string {
    const url = href ? URL.parse(href, registration.apiBase)?.href : undefined
    if (url === undefined || !tools.http.accepts(url) || endpointFault(url) !== undefined)
      throw new GatewayError('BANK_RESPONSE_INVALID', { internal: 'no page to sign in at' })
    return url
  }

  /** With redirect SCA there are no tokens of the customer: the gateway's own, and the consent's id, open the accounts. */
  async function ownAccess({ consentRef, signedInAt }: { consentRef: string; signedInAt?: string | undefined }) {
    const now = tools.clock.now()
    return {
      consentRef,
      accessToken: await oauth.ownToken('AIS'),
      refreshToken: null,
      expiresAt: later(now, OWN_TOKEN_MS).toISOString(),
      signedInAt: signedInAt ?? now.toISOString(),
    }
  }

  async function statusOf(consentRef: string): Promise<string> {
    const { text } = await call('consentStatus', { params: { consent: consentRef }, headers: await own() })
    return parseWire(consentStatusAnswer, text).consentStatus
  }

  /** The customer's address "if and only if this request was actively initiated by the PSU" (1.3.11, 6.3.1). */
  const onBehalf = (access: BankAccess, customer: PresentCustomer | null) => ({
    authorization: `Bearer ${access.accessToken}`,
    'consent-id': access.consentRef,
    'x-request-id': interactionId(tools),
    ...(customer && { 'psu-ip-address': customer.ip }),
    ...(customer?.userAgent && { 'psu-user-agent': customer.userAgent }),
  })

  return {
    async requestConsent({ expiresAt, state, customer }) {
      const { text } = await call('createConsent', {
        headers: {
          ...(await own()),
          'psu-ip-address': customer.ip,
          'tpp-redirect-uri': back(state),
          'tpp-nok-redirect-uri': back(state, 'access_denied'),
          'tpp-redirect-preferred': 'true',
          'tpp-notification-uri': tools.eventsUrl,
          'tpp-notification-content-preferred': 'status=PROCESS,LAST',
        },
        body: {
          // Empty lists: the customer chooses the accounts at the bank. There is no `transactions` member, ever.
          access: { accounts: [], balances: [] },
          recurringIndicator: true,
          validUntil: expiresAt.toISOString().slice(0, 10),
          frequencyPerDay: FREQUENCY_PER_DAY,
          combinedServiceIndicator: false,
        },
      })
      const { consentId, _links } = parseWire(consentAnswer, text)
      const resume = { consentRef: consentId, state, codeVerifier: secret(tools), nonce: '' }
      if (!byOauth) return { url: signInPage(_links?.scaRedirect?.href), resume }
      return { url: await oauth.signInUrl({ scope: `AIS:${consentId}`, response_type: 'code' }, resume), resume }
    },

    async completeSignIn(callback, resume) {
      if (!byOauth && (callback.searchParams.get('state') !== resume.state || callback.searchParams.has('error')))
        throw new GatewayError('BANK_REFUSED', { internal: 'refused at sign-in' })
      const access = byOauth ? (await oauth.exchange(callback, resume)).access : await ownAccess(resume)
      // A finished sign-in is not yet a valid consent (1.3.11, 14.19), so the consent itself is asked.
      if ((await statusOf(resume.consentRef)) !== 'valid')
        throw new GatewayError('BANK_REFUSED', { internal: 'consent is not valid after sign-in' })
      return access
    },

    refresh: (access) => (byOauth ? oauth.refresh(access) : ownAccess(access)),

    async accounts(access, customer) {
      const cash = await call('accounts', { headers: onBehalf(access, customer) })
      const cards = registration.cardAccounts
        ? parseWire(cardAccountsAnswer, (await call('cardAccounts', { headers: onBehalf(access, customer) })).text)
        : { cardAccounts: [] }
      return valuesOf(
        [
          ...parseWire(accountsAnswer, cash.text).accounts.map((account) => toAccount(account, false)),
          ...cards.cardAccounts.map((account) => toAccount(account, true)),
        ],
        tools.report,
      )
    },

    async balances(access, accountRef, customer) {
      const card = cardIdOf(accountRef)
      const request = { params: { account: card ?? accountRef }, headers: onBehalf(access, customer) }
      const { text } = await call(card === undefined ? 'balances' : 'cardBalances', request)
      return toBalances(parseWire(balancesAnswer, text), card !== undefined, tools.report)
    },

    hasEnded: async (consentRef) => ENDED_STATES.has(await statusOf(consentRef)),

    async revokeConsent(consentRef) {
      await call('deleteConsent', { params: { consent: consentRef }, headers: await own() }).catch((error: unknown) => {
        // CONSENT_UNKNOWN and the like: the gateway's own token was issued a moment ago.
        if (!(error instanceof GatewayError && error.code === 'RECONNECT_REQUIRED')) alreadyGone(error)
      })
    },
  }
}
