import {
  createEventKeys,
  STANDARDS,
  type BankEvent,
  type EventKeys,
  type PollEvents,
  type ReceivedEvent,
  type Registration,
} from '../../connectors/index.ts'
import type { AlertAnswer } from '../../kernel/alert-vocabulary.ts'
import { errorLogFields, GatewayError, toGatewayError } from '../../kernel/errors.ts'
import { RETRIES } from '../../kernel/retry.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Connectors } from './connectors.ts'
import { eventCountStore } from './event-count-store.ts'
import { createEventCounts } from './event-counts.ts'
import type { EventSenders } from './event-senders.ts'
import { eventStreamStore } from './event-stream-store.ts'
import { createEventStreams } from './event-streams.ts'
import type { Connector, ConnectorStatus, EventOutcome } from './model.ts'
import type { Reach } from './reach.ts'
import type { BankStore } from './store.ts'

/** The statuses in which events are accepted. A connector must be able to prove its events while it is certified. */
export const EVENT_ACCEPTING_STATUSES: readonly ConnectorStatus[] = ['CERTIFYING', 'ACTIVE']

/** The dependencies of bank events. */
export interface BankEventsDependencies {
  readonly database: Database
  readonly store: BankStore
  readonly world: World
  readonly connectors: Connectors
  readonly reach: Reach
  readonly eventSenders: EventSenders
}

/** An event of a bank, and the answers that the bank takes to an alert. */
interface ReadEvent {
  readonly bankId: string
  readonly event: BankEvent
  readonly offeredResponses: readonly AlertAnswer[]
}

/** A bank that reports alerts without events, what an account id of it can refer to, and the answers that it takes. */
interface AlertPublisher {
  readonly bankId: string
  readonly toAccountRefs: (accountId: string) => readonly string[]
  readonly offeredResponses: readonly AlertAnswer[]
}

const offeredResponsesOf = ({ alertResponses }: Registration): readonly AlertAnswer[] => alertResponses?.accepts ?? []

/** Events of banks: which connectors may send them, how they are read, and polling banks that store them. */
export function createBankEvents(dependencies: BankEventsDependencies) {
  const { store, world, connectors, reach, eventSenders } = dependencies
  const eventStreams = createEventStreams({
    streams: eventStreamStore(dependencies.database),
    world,
    connectors,
    reach,
  })
  const eventCounts = createEventCounts(eventCountStore(dependencies.database), world)
  const keysByConnector = new Map<string, EventKeys>()

  /** The same for each event of a connector, because published keys are cached. */
  function keysOf(connector: Connector): EventKeys {
    let keys = keysByConnector.get(connector.id)
    if (!keys)
      keysByConnector.set(connector.id, (keys = createEventKeys(world.clock, () => reach.getHttp(connector.id))))
    return keys
  }

  /** A bank whose interface cannot be opened is logged and does not stop the others. */
  async function findPoll({ id, ...connector }: Connector): Promise<PollEvents | undefined> {
    try {
      return (await reach.getInterface({ id, ...connector })).pollEvents
    } catch (error) {
      world.log.warn('bank_events.poll_failed', { connectorId: id, ...errorLogFields(error) })
      return undefined
    }
  }

  /** A forged event that a certification run requested is no event of the bank. */
  function countRejected(connectorId: string, error: unknown): void {
    if (toGatewayError(error).code === 'EVENT_REJECTED' && !reach.expectsForgedEvent(connectorId))
      eventCounts.count(connectorId, 'REJECTED')
  }

  /** Reads an event, and takes note of what it says about its own stream. */
  async function readVerified(connectorId: string, read: () => Promise<BankEvent>): Promise<BankEvent> {
    try {
      const event = await read()
      for (const streamEvent of event.streamEvents ?? []) {
        await eventStreams.receive(connectorId, streamEvent)
        eventCounts.count(connectorId, 'STREAM')
      }
      return event
    } catch (error) {
      countRejected(connectorId, error)
      throw error
    }
  }

  return {
    /** The streams in which banks send their events. */
    eventStreams,

    /** How many events had which outcome. */
    eventCounts,

    /**
     * Counts `count` events of a connector that were read and then had this outcome: ALERT, CONSENT_ENDED, RESPONSE_REPORT, DUPLICATE,
     * or UNKNOWN_SUBJECT if nobody shares the account. `readEvent` counts the others. Costs no database query.
     */
    countEvent: (connectorId: string, outcome: EventOutcome, count = 1): void =>
      eventCounts.count(connectorId, outcome, count),

    /** Whether events of this connector are accepted now. */
    acceptsEventsOf: (connectorId: string): boolean | Promise<boolean> => eventSenders.has(connectorId),

    /** Whether a certification run of this process has just requested a forged event of this connector. */
    expectsForgedEvent: reach.expectsForgedEvent,

    /**
     * Reads a received event by the rules of the connector's standard, and counts it if it is rejected, or its parts that have no
     * effect. Throws `NOT_FOUND`, `EVENT_REJECTED`, or `BANK_UNAVAILABLE` if
     * the bank's keys cannot be had now.
     */
    async readEvent(connectorId: string, received: ReceivedEvent): Promise<ReadEvent> {
      const connector = await connectors.requireCached(connectorId)
      const { standard, status, registration, bankId } = connector
      if (!EVENT_ACCEPTING_STATUSES.includes(status)) throw new GatewayError('NOT_FOUND')
      const tools = { clock: world.clock, keys: keysOf(connector) }
      const event = await readVerified(connectorId, () => STANDARDS[standard].readEvent(received, registration, tools))
      for (const payload of event.payloads)
        if (payload.kind === 'IGNORED') eventCounts.count(connectorId, payload.reason, 1, payload.eventType)
      return { bankId, event, offeredResponses: offeredResponsesOf(registration) }
    },

    /**
     * The bank of a connector that accepts events, and what an account id of this bank can refer to in an alert. Throws `NOT_FOUND` if
     * events are not accepted now.
     */
    async resolveAlertAccount(connectorId: string): Promise<AlertPublisher> {
      const { standard, status, registration, bankId } = await connectors.requireCached(connectorId)
      if (!EVENT_ACCEPTING_STATUSES.includes(status)) throw new GatewayError('NOT_FOUND', { path: ['connectorId'] })
      const { toAccountRefs = (accountId: string) => [accountId] } = STANDARDS[standard]
      return { bankId, toAccountRefs, offeredResponses: offeredResponsesOf(registration) }
    },

    /** The active banks that store their events and are due to be polled. One process gets each turn of a bank. */
    async claimEventPolls(): Promise<{ connectorId: string; pollEvents: PollEvents }[]> {
      const claims = (await connectors.activeConnectors()).map(async (connector) => {
        const pollEvents = await findPoll(connector)
        const isClaimed = pollEvents && (await store.claimEventPoll(connector.id, RETRIES.eventPoll.delaysMs[0]))
        return isClaimed ? [{ connectorId: connector.id, pollEvents }] : []
      })
      return (await Promise.all(claims)).flat()
    },
  }
}
