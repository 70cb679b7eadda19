import { z } from 'zod'
import { GatewayError } from '../../kernel/errors.ts'
import { parseWire } from '../../kernel/wire.ts'
import { bankApi, interactionId, type AllowedPaths } from '../bank-api.ts'
import type { BankInterface, ConnectorTools, Registration, Standard } from '../connector.ts'
import { fapiClient } from '../fapi.ts'
import { commonRegistration } from '../registration.ts'
import { readBerlinGroupEvent } from './events.ts'
import { toAccount, toBalances } from './normalise.ts'
import { cardRef, cardIdOf } from './quirks.ts'
import { accountsAnswer, balancesAnswer, cardAccountsAnswer, consentAnswer, consentStatusAnswer } from './wire.ts'

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

interface BerlinGroupRegistration extends Registration {
  readonly version: '1.3.11'
  readonly cardAccounts: boolean
}

/** Berlin Group NextGenPSD2 1.3.11, account information, OAuth SCA approach. */
export const berlinGroup: Standard<BerlinGroupRegistration> = {
  id: 'BERLIN_GROUP',
  name: 'Berlin Group NextGenPSD2',
  registration: z.strictObject({ ...commonRegistration, version: z.literal('1.3.11'), cardAccounts: z.boolean() }),
  newConsentEndsEarlier: true,
  connect,
  readEvent: readBerlinGroupEvent,
}

function connect(registration: BerlinGroupRegistration, tools: ConnectorTools): BankInterface {
  const oauth = fapiClient(registration, tools, { signedMessages: false, openIdConnect: false })
  const call = bankApi(PATHS, registration.apiBase, tools)
  const own = async () => ({
    authorization: `Bearer ${await oauth.ownToken('AIS')}`,
    'x-request-id': interactionId(tools),
  })
  const onBehalf = (access: { accessToken: string; consentRef: string }) => ({
    authorization: `Bearer ${access.accessToken}`,
    'consent-id': access.consentRef,
    'x-request-id': interactionId(tools),
  })

  return {
    async requestConsent({ expiresAt, state, customerIp }) {
      const { text } = await call('createConsent', {
        headers: {
          ...(await own()),
          'psu-ip-address': customerIp,
          'tpp-redirect-uri': tools.redirectUri,
          'tpp-redirect-preferred': 'true',
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
      const { consentId } = parseWire(consentAnswer, text)
      const resume = {
        consentRef: consentId,
        state,
        codeVerifier: tools.randomness.bytes(32).toString('base64url'),
        nonce: '',
      }
      return { url: await oauth.signInUrl({ scope: `AIS:${consentId}`, response_type: 'code' }, resume), resume }
    },

    async completeSignIn(callback, resume) {
      const { access } = await oauth.exchange(callback, resume)
      // A finished sign-in is not yet a valid consent (1.3.11, 14.19), so the consent itself is asked.
      const { text } = await call('consentStatus', { params: { consent: resume.consentRef }, headers: await own() })
      if (parseWire(consentStatusAnswer, text).consentStatus !== 'valid')
        throw new GatewayError('BANK_REFUSED', { internal: 'consent is not valid after sign-in' })
      return access
    },

    refresh: (access) => oauth.refresh(access),

    async accounts(access) {
      const accounts = parseWire(accountsAnswer, (await call('accounts', { headers: onBehalf(access) })).text).accounts
      const found = accounts.map((account) => toAccount(account, account.resourceId))
      if (!registration.cardAccounts) return found
      const cards = parseWire(
        cardAccountsAnswer,
        (await call('cardAccounts', { headers: onBehalf(access) })).text,
      ).cardAccounts
      return [
        ...found,
        ...cards.map((card) => toAccount({ ...card, cashAccountType: 'CARD' }, cardRef(card.resourceId))),
      ]
    },

    async balances(access, accountRef) {
      const card = cardIdOf(accountRef)
      const params = { account: card ?? accountRef }
      const { text } = await call(card ? 'cardBalances' : 'balances', { params, headers: onBehalf(access) })
      return toBalances(parseWire(balancesAnswer, text), card !== undefined)
    },

    async revokeConsent(consentRef) {
      await call('deleteConsent', { params: { consent: consentRef }, headers: await own() }).catch(alreadyGone)
    },
  }
}

/** A consent that is unknown or no longer valid has ended already. */
function alreadyGone(error: unknown): void {
  const gone = ['RECONNECT_REQUIRED', 'BALANCE_NOT_PROVIDED', 'BANK_REFUSED']
  if (!(error instanceof GatewayError) || !gone.includes(error.code)) throw error
}
