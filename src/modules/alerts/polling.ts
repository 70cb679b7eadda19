import type { PollEvents, ReceivedEvent, EventAcknowledgements } from '../../connectors/index.ts'
import { errorLogFields, toGatewayError } from '../../kernel/errors.ts'
import type { EventCounter } from '../../kernel/event-counter.ts'
import type { World } from '../../kernel/world.ts'
import type { Banks } from '../banks/index.ts'

/** Batches of fifty events that are received of one bank in one turn. */
const MAX_POLL_ROUNDS = 20
/** Events of one batch that may fail to be stored before the turn ends. */
const MAX_FAILURES_PER_BATCH = 3

/** What polling depends on. */
export interface PollingDependencies {
  readonly world: World
  readonly banks: Banks
  readonly rejectedEvents: EventCounter
  /** Receives one event. Throws `EVENT_REJECTED` for one that the bank must not send again. */
  readonly receive: (connectorId: string, event: ReceivedEvent) => Promise<void>
}

/** Fetches the events of banks that store them until they are polled. */
export function createPolling({ world, banks, rejectedEvents, receive }: PollingDependencies) {
  const pollsInFlight = new Map<string, Promise<unknown>>()

  /**
   * Polls one bank until it has no event that could be received, and has been told the outcome of each. An event that cannot
   * be stored stays at the bank and holds up no other.
   */
  async function pollConnector(connectorId: string, startPolling: PollEvents): Promise<void> {
    let acknowledgement: EventAcknowledgements = { acknowledged: [], rejected: [] }
    for (let round = 0; round < MAX_POLL_ROUNDS; round++) {
      const events = await startPolling(acknowledgement)
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
          // If several fail, the fault is not theirs.
          if (++failureCount === MAX_FAILURES_PER_BATCH) throw error
        }
      if (acknowledged.length + rejected.length === 0) return
    }
  }

  return {
    /**
     * Starts to poll the banks that store their events, each on its own, so that none waits for another. Their events are
     * received like pushed ones. One that could not be stored is not acknowledged, so that the bank returns it again.
     */
    async startPolling(): Promise<void> {
      for (const { connectorId, collect: startPolling } of await banks.claimEventPolls()) {
        if (pollsInFlight.has(connectorId)) continue
        const run = pollConnector(connectorId, startPolling)
          .catch((error: unknown) => {
            world.log.warn('bank_events.poll_failed', { connectorId, ...errorLogFields(error) })
          })
          .finally(() => pollsInFlight.delete(connectorId))
        pollsInFlight.set(connectorId, run)
      }
    },

    /** Resolves once the polls in flight have ended. */
    async whenIdle(): Promise<void> {
      await Promise.all(pollsInFlight.values())
    },
  }
}
