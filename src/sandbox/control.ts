import type { BankClient, SandboxBank } from './bank.ts'
import { pushAlert, pushConsentRevoked } from './events.ts'
import { obieBase } from './obie-api.ts'
import { json, type Routes } from './server.ts'

/** What a real bank does behind its own doors, here by request: registration data, introductions, alerts, revocations. */
export function controlRoutes(bank: SandboxBank): Routes {
  const { facts } = bank
  return {
    'GET /sandbox/registration': () =>
      json(200, {
        standard: facts.standard,
        registration: {
          bank: { id: facts.id, name: facts.name, country: facts.country },
          authorizationServer: bank.origin,
          apiBase: `${bank.origin}${facts.standard === 'OBIE' ? obieBase(facts) : '/psd2'}`,
          clientId: 'guichet',
          handoff: `${bank.origin}/app`,
          events: { issuer: bank.origin, keys: bank.publicKeys() },
          version: facts.version,
          ...(facts.standard === 'BERLIN_GROUP' && { cardAccounts: true }),
        },
      }),

    'PUT /sandbox/clients/{id}': ({ params, body }) => {
      bank.introduce(params['id']!, JSON.parse(body) as BankClient)
      return { status: 204 }
    },

    'POST /sandbox/alerts': async ({ body }) => {
      const { customer, account, type, severity } = JSON.parse(body) as {
        customer?: string
        account?: string
        type: string
        severity?: string
      }
      const id = account ?? bank.accountsOf(customer ?? '')[0]?.id
      if (!id) return json(404, { error: 'no such customer here' })
      return json(200, { pushed: await pushAlert(bank, id, type, severity ?? 'WARNING') })
    },

    'POST /sandbox/revocations': async ({ body }) => {
      const { customer } = JSON.parse(body) as { customer: string }
      const live = bank.consentsOf(customer).filter(({ state }) => state === 'LIVE')
      for (const consent of live) bank.endConsent(consent, 'REVOKED')
      return json(200, { pushed: (await Promise.all(live.map((consent) => pushConsentRevoked(bank, consent)))).flat() })
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
