import { randomUUID } from 'node:crypto'
import type { SandboxBank } from './bank.ts'
import { bearer } from './oauth.ts'
import type { SandboxBankFacts } from './people.ts'
import { json, Refusal, type Routes, type SandboxRequest } from './server.ts'

/** Where the events API begins. */
export const keptEventsBase = ({ version }: SandboxBankFacts): string =>
  `/open-banking/${version === '3.1.11' ? 'v3.1' : 'v4.0'}`

interface Question {
  readonly maxEvents?: number
  readonly ack?: readonly string[]
  readonly setErrs?: Readonly<Record<string, { err: string; description: string }>>
}

/** Open Banking event notification subscriptions and aggregated polling, as a bank serves them to a party it knows. */
export function keptEventRoutes(bank: SandboxBank): Routes {
  const BASE = keptEventsBase(bank.facts)
  const partyOf = (request: SandboxRequest): string => {
    const caller = bearer(bank, request)
    if (!caller || caller.consent) throw new Refusal({ status: 401, body: '' })
    return caller.clientId
  }
  return {
    [`GET ${BASE}/event-subscriptions`]: (request) =>
      json(200, { Data: { EventSubscription: bank.subscriptionsOf(partyOf(request)) }, Links: {}, Meta: {} }),
    [`POST ${BASE}/event-subscriptions`]: (request) => {
      const { Data } = JSON.parse(request.body) as { Data: { CallbackUrl?: string; Version: string } }
      const subscription = { EventSubscriptionId: randomUUID(), ...Data }
      bank.subscribe(partyOf(request), subscription)
      return json(201, { Data: subscription, Links: {}, Meta: {} })
    },
    [`POST ${BASE}/events`]: (request) => {
      const party = partyOf(request)
      const { maxEvents = 100, ack = [], setErrs = {} } = JSON.parse(request.body) as Question
      for (const jti of [...ack, ...Object.keys(setErrs)]) bank.settleEvent(party, jti)
      const kept = Object.entries(bank.keptEvents(party))
      return json(200, {
        moreAvailable: kept.length > maxEvents,
        sets: Object.fromEntries(kept.slice(0, maxEvents)),
      })
    },
  }
}
