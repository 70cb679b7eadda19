import type { PollEvents, ReceivedEvent, EventAcknowledgements } from '../../connectors/index.ts'
import { errorLogFields, toGatewayError } from '../../kernel/errors.ts'
import type { EventCounter } from '../../kernel/event-counter.ts'
import { createInFlight } from '../../kernel/in-flight.ts'
import type { World } from '../../kernel/world.ts'
import type { Banks } from '../banks/index.ts'

/** Batches of up to 50 events that one poll fetches from one bank. */
const MAX_POLL_ROUNDS = 20
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

  /**
   * Fetches batches until none of the events of one could be acknowledged or rejected. Each request acknowledges the batch before.
   * An event that cannot be stored is not acknowledged and does not delay the others.
   */
  async function pollConnector(connectorId: string, pollEvents: PollEvents): Promise<void> {
    let acknowledgement: EventAcknowledgements = { acknowledged: [], rejected: [] }
    for (let round = 0; round < MAX_POLL_ROUNDS; round++) {
      const events = await pollEvents(acknowledgement)
      const [acknowledged, rejected]: [string[], string[]] = [[], []]
      acknowledgement = { acknowledged, rejected }
      let failureCount = 0
      for (const { id, event } of events)
        try {
          await receive(connectorId, event)
          acknowledged.push(id)
        } catch (error) {
          const { code } = toGatewayError(error)
          if (code === 'EVENT_REJECTED') {
            rejectedEvents.increment({ connectorId, code })
            rejected.push(id)
            continue
          }
          world.log.warn('bank_event.write_deferred', { connectorId, code })
          // If several fail, the database is the likely cause, not the events.
          if (++failureCount === MAX_FAILURES_PER_BATCH) throw error
        }
      if (acknowledged.length + rejected.length === 0) return
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
