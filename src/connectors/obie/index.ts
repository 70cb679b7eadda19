import { z } from 'zod'
import { GatewayError } from '../../kernel/errors.ts'
import { parseWire } from '../../kernel/wire.ts'
import { bankApi, interactionId, type AllowedPaths } from '../bank-api.ts'
import type { BankAccount, BankInterface, ConnectorTools, Registration, Standard } from '../connector.ts'
import { fapiClient } from '../fapi.ts'
import { commonRegistration } from '../registration.ts'
import { readObieEvent } from './events.ts'
import { toAccount, toBalances } from './normalise.ts'
import { accountsAnswer, balancesAnswer, consentAnswer } from './wire.ts'

/** All that Guichet ever calls at an Open Banking bank. */
const PATHS = {
  createConsent: ['POST', '/account-access-consents'],
  deleteConsent: ['DELETE', '/account-access-consents/{consent}'],
  accounts: ['GET', '/accounts'],
  balances: ['GET', '/accounts/{account}/balances'],
} as const satisfies AllowedPaths

/** All that Guichet ever asks a customer's bank for. */
const PERMISSIONS = ['ReadAccountsDetail', 'ReadBalances']
const MAX_PAGES = 20

interface ObieRegistration extends Registration {
  readonly version: '3.1.11' | '4.0'
}

/**
 * UK Open Banking Read/Write 3.1.11 and 4.0, account information, over FAPI 1.0 Advanced with signed requests and JARM
 * answers. The two differ in the names of types and states, and both are read whichever the bank says it speaks.
 */
export const obie: Standard<ObieRegistration> = {
  id: 'OBIE',
  name: 'UK Open Banking Read/Write',
  registration: z.strictObject({ ...commonRegistration, version: z.enum(['3.1.11', '4.0']) }),
  newConsentEndsEarlier: false,
  connect,
  readEvent: readObieEvent,
}

function connect(registration: ObieRegistration, tools: ConnectorTools): BankInterface {
  const oauth = fapiClient(registration, tools, { signedMessages: true, openIdConnect: true })
  const call = bankApi(PATHS, registration.apiBase, tools)
  const headers = (token: string) => ({
    authorization: `Bearer ${token}`,
    'x-fapi-interaction-id': interactionId(tools),
  })

  return {
    async requestConsent({ expiresAt, state, customerIp }) {
      const token = await oauth.ownToken('accounts')
      const { text } = await call('createConsent', {
        headers: { ...headers(token), 'x-fapi-customer-ip-address': customerIp },
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
        throw new GatewayError('BANK_ANSWER_INVALID', { internal: 'tokens are for another consent' })
      return access
    },

    refresh: (access) => oauth.refresh(access),

    async accounts(access) {
      const found = new Map<string, BankAccount>()
      let page: string | undefined
      for (let pages = 0; pages < MAX_PAGES; pages++) {
        const { text } = await call('accounts', { headers: headers(access.accessToken), ...(page && { page }) })
        const answer = parseWire(accountsAnswer, text)
        for (const account of answer.Data.Account)
          if (!found.has(account.AccountId)) found.set(account.AccountId, toAccount(account))
        page = answer.Links?.Next
        if (!page) break
      }
      return [...found.values()]
    },

    async balances(access, accountRef) {
      const { text } = await call('balances', { params: { account: accountRef }, headers: headers(access.accessToken) })
      return toBalances(accountRef, parseWire(balancesAnswer, text))
    },

    async revokeConsent(consentRef) {
      const token = await oauth.ownToken('accounts')
      await call('deleteConsent', { params: { consent: consentRef }, headers: headers(token) }).catch(alreadyGone)
    },
  }
}

const secret = (tools: ConnectorTools): string => tools.randomness.bytes(32).toString('base64url')

function alreadyGone(error: unknown): void {
  if (!(error instanceof GatewayError) || (error.code !== 'BALANCE_NOT_PROVIDED' && error.code !== 'BANK_REFUSED'))
    throw error
}
