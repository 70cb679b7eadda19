import {
  createEventKeys,
  STANDARDS,
  type BankEvent,
  type EventKeys,
  type PollEvents,
  type ReceivedEvent,
} from '../../connectors/index.ts'
import { errorLogFields, GatewayError } from '../../kernel/errors.ts'
import { RETRIES } from '../../kernel/retry.ts'
import type { World } from '../../kernel/world.ts'
import type { Connectors } from './connectors.ts'
import type { EventSenders } from './event-senders.ts'
import type { Connector, ConnectorStatus } from './model.ts'
import type { Reach } from './reach.ts'
import type { BankStore } from './store.ts'

/** The statuses in which events are accepted. A connector must be able to prove its events while it is certified. */
export const EVENT_ACCEPTING_STATUSES: readonly ConnectorStatus[] = ['CERTIFYING', 'ACTIVE']

/** The dependencies of bank events. */
export interface BankEventsDependencies {
  readonly store: BankStore
  readonly world: World
  readonly connectors: Connectors
  readonly reach: Reach
  readonly eventSenders: EventSenders
}

/** Events of banks: which connectors may send them, how they are read, and polling banks that store them. */
export function createBankEvents({ store, world, connectors, reach, eventSenders }: BankEventsDependencies) {
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

  return {
    /** Whether events of this connector are accepted now. */
    acceptsEventsOf: (connectorId: string): boolean | Promise<boolean> => eventSenders.has(connectorId),

    /** Whether a certification run of this process has just requested a forged event of this connector. */
    expectsForgedEvent: reach.expectsForgedEvent,

    /**
     * Reads a received event by the rules of the connector's standard. Throws `NOT_FOUND`, `EVENT_REJECTED`, or `BANK_UNAVAILABLE` if
     * the bank's keys cannot be had now.
     */
    async readEvent(connectorId: string, received: ReceivedEvent): Promise<{ bankId: string; event: BankEvent }> {
      const connector = await connectors.requireCached(connectorId)
      const { standard, status, registration, bankId } = connector
      if (!EVENT_ACCEPTING_STATUSES.includes(status)) throw new GatewayError('NOT_FOUND')
      const tools = { clock: world.clock, keys: keysOf(connector) }
      return { bankId, event: await STANDARDS[standard].readEvent(received, registration, tools) }
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
