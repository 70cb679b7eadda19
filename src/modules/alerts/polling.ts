import type {
  EventAcknowledgements,
  EventErrorCode,
  PolledEvent,
  PollEvents,
  ReceivedEvent,
  RejectedEvent,
} from '../../connectors/index.ts'
import { errorLogFields, toGatewayError } from '../../kernel/errors.ts'
import type { EventCounter } from '../../kernel/event-counter.ts'
import { createInFlight } from '../../kernel/in-flight.ts'
import type { World } from '../../kernel/world.ts'
import type { Banks } from '../banks/index.ts'

/** Batches of up to 50 events that one poll fetches from one bank. */
const MAX_POLL_ROUNDS = 20
/** Events of one batch that are stored at once: they share transactions, and leave database connections to others. */
const EVENTS_AT_ONCE = 10
/** Events of one batch that may fail to be stored before the poll is abandoned. */
const MAX_FAILURES_PER_BATCH = 3

/** The dependencies of polling. */
export interface PollingDependencies {
  readonly world: World
  readonly banks: Banks
  readonly rejectedEvents: EventCounter
  /** Receives one event. Throws `EVENT_REJECTED` if the bank must not send it again. */
  readonly receive: (connectorId: string, event: ReceivedEvent) => Promise<void>
}

/** Fetches events from banks that keep them until they are polled. */
export function createPolling({ world, banks, rejectedEvents, receive }: PollingDependencies) {
  /** By connector; at most one of each. */
  const polls = createInFlight()

  /** Receives one polled event. An event that cannot be stored now is neither acknowledged nor rejected. */
  async function receiveOne(
    connectorId: string,
    { event }: PolledEvent,
  ): Promise<'ACKNOWLEDGED' | EventErrorCode | Error> {
    try {
      await receive(connectorId, event)
      return 'ACKNOWLEDGED'
    } catch (thrown) {
      const error = toGatewayError(thrown)
      const { code } = error
      if (code === 'EVENT_REJECTED') {
        rejectedEvents.increment({ connectorId, code })
        return error.eventErrorCode ?? 'invalid_request'
      }
      world.log.warn('bank_event.write_deferred', { connectorId, code })
      return error
    }
  }

  /** Receives the events of a batch. Throws if several cannot be stored: then the database is the likely cause, not the events. */
  async function receiveBatch(connectorId: string, events: readonly PolledEvent[]): Promise<EventAcknowledgements> {
    const [acknowledged, rejected]: [string[], RejectedEvent[]] = [[], []]
    const failures: Error[] = []
    for (let from = 0; from < events.length; from += EVENTS_AT_ONCE) {
      const group = events.slice(from, from + EVENTS_AT_ONCE)
      const outcomes = await Promise.all(group.map((event) => receiveOne(connectorId, event)))
      for (const [index, outcome] of outcomes.entries()) {
        const { id } = group[index]!
        if (outcome === 'ACKNOWLEDGED') acknowledged.push(id)
        else if (typeof outcome === 'string') rejected.push({ id, err: outcome })
        else failures.push(outcome)
      }
      if (failures.length >= MAX_FAILURES_PER_BATCH) throw failures[0]!
    }
    return { acknowledged, rejected }
  }

  /**
   * Fetches batches until none of the events of one could be acknowledged or rejected. Each request acknowledges the batch before.
   * An event that cannot be stored is not acknowledged and does not delay the others.
   */
  async function pollConnector(connectorId: string, pollEvents: PollEvents): Promise<void> {
    let acknowledgement: EventAcknowledgements = { acknowledged: [], rejected: [] }
    for (let round = 0; round < MAX_POLL_ROUNDS; round++) {
      acknowledgement = await receiveBatch(connectorId, await pollEvents(acknowledgement))
      if (acknowledgement.acknowledged.length + acknowledgement.rejected.length === 0) return
    }
  }

  return {
    /**
     * Starts to poll each bank that is due and not being polled. Does not wait for the polls, so that a slow bank does not delay
     * the others. Events that could not be stored are not acknowledged, so the bank returns them again.
     */
    async startPolling(): Promise<void> {
      for (const { connectorId, pollEvents } of await banks.claimEventPolls())
        if (!polls.hasAny(connectorId))
          polls.start(connectorId, () =>
            pollConnector(connectorId, pollEvents).catch((error: unknown) =>
              world.log.warn('bank_events.poll_failed', { connectorId, ...errorLogFields(error) }),
            ),
          )
    },

    /** Resolves once every poll in flight has ended. */
    waitUntilIdle: (): Promise<void> => polls.waitUntilIdle(),
  }
}
