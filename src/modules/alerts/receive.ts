import type { EventPayload, ReceivedEvent } from '../../connectors/index.ts'
import { digest, newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import type { EventStore } from './event-store.ts'
import type { Alert } from './model.ts'
import type { AlertStore } from './store.ts'

/** The dependencies of `createReceiver`. */
export interface ReceiverDependencies {
  readonly database: Database
  readonly world: World
  readonly banks: Banks
  readonly consents: Consents
  readonly ledger: Ledger
  readonly outbox: Outbox
  readonly signals: Signals
}

/** A verified event of a bank. */
type VerifiedEvent = Awaited<ReturnType<Banks['readEvent']>>
type AlertPayload = Extract<EventPayload, { kind: 'ALERT' }>
/** What an event changes, within the transaction that remembers it. */
type Work = (tx: Transaction) => Promise<void>

/** Creates the function that receives one event of a bank, pushed or polled. Its contract is that of `Alerts.receive`. */
export function createReceiver(
  { database, world, banks, consents, ledger, outbox, signals }: ReceiverDependencies,
  store: AlertStore,
  events: EventStore,
) {
  /** Runs all work and remembers the event in one transaction, unless the event was received before. */
  async function processOnce({ bankId, event }: VerifiedEvent, works: readonly Work[]): Promise<void> {
    // Banks can have one issuer, and each states its own: no bank can use up the ids of another one's events.
    const jtiDigest = digest(JSON.stringify([bankId, event.jti]))
    await database.transaction(async (tx) => {
      if (!(await events.insertIfNew(tx, event.issuer, jtiDigest, world.clock.now()))) return
      for (const work of works) await work(tx)
    })
  }

  /** Stores an alert for each account that has an active consent for alerts, and what follows from it. */
  async function storeAlerts(tx: Transaction, bankId: string, payload: AlertPayload): Promise<void> {
    const candidates = await consents.findAccountIdsByRef(tx, bankId, payload.accountRefs)
    const accesses = await consents.findAccess(candidates, 'alerts:read', tx)
    const sharedAccountIds = new Set(accesses.map(({ accountId }) => accountId))
    const { type, severity, requestedAction, occurredAt } = payload
    const alerts = candidates
      .filter((accountId) => sharedAccountIds.has(accountId))
      .map((accountId): Alert & { accountId: string } => ({
        id: newId('alrt', world.randomness),
        accountId,
        type,
        severity,
        requestedAction,
        occurredAt,
      }))
    await store.add(tx, alerts, world.clock.now())
    for (const { id, accountId } of alerts) {
      await outbox.enqueue(tx, 'alert.received', id)
      await ledger.record(tx, { action: 'ALERT_RECEIVED', accountIds: [accountId], subjectId: id })
    }
    const customerIds = [...new Set(accesses.map(({ grant }) => grant.customerId))]
    if (customerIds.length > 0) await signals.publish(tx, { kind: 'ALERTS_CHANGED', customerIds })
  }

  /** The work that follows from a part of an event; undefined if there is none. */
  async function prepare(connectorId: string, bankId: string, payload: EventPayload): Promise<Work | undefined> {
    switch (payload.kind) {
      case 'IGNORED':
        return undefined
      case 'CONSENT_CHECK_REQUIRED': {
        // These events are unsigned, so anybody can send them. One about an unknown consent is not stored.
        const connectionId = await consents.findConnectionByBankConsent(connectorId, payload.consentRef)
        if (connectionId === undefined) return undefined
        // Through the outbox, so that the check is made even if the bank does not respond now or this process ends.
        return (tx) => outbox.enqueue(tx, 'connection.check', connectionId, bankId)
      }
      case 'CONSENT_REVOKED':
        // First, because revoking twice is harmless: if it fails, the bank's repetition of the event must not be ignored.
        await consents.revokeByBankConsent(connectorId, payload.consentRef)
        return () => Promise.resolve()
      case 'ALERT':
        return (tx) => storeAlerts(tx, bankId, payload)
    }
  }

  return async (connectorId: string, received: ReceivedEvent): Promise<void> => {
    const verified = await banks.readEvent(connectorId, received)
    const { bankId, event } = verified
    const works: Work[] = []
    for (const payload of event.payloads) {
      const work = await prepare(connectorId, bankId, payload)
      if (work) works.push(work)
    }
    if (works.length > 0) await processOnce(verified, works)
  }
}
