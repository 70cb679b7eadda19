import type { BankInterface, StreamEvent } from '../../connectors/index.ts'
import { errorLogFields, GatewayError } from '../../kernel/errors.ts'
import { digest } from '../../kernel/ids.ts'
import { createInFlight } from '../../kernel/in-flight.ts'
import { RETRIES } from '../../kernel/retry.ts'
import type { World } from '../../kernel/world.ts'
import type { Connectors } from './connectors.ts'
import type { EventStreamStore } from './event-stream-store.ts'
import type { Connector, ConnectorStatus, EventStream, EventStreamStatus } from './model.ts'
import type { Reach } from './reach.ts'

/** The statuses of connectors whose streams are checked: a suspended bank must not send events that are refused. */
const CHECKED_STATUSES: readonly ConnectorStatus[] = ['ACTIVE', 'SUSPENDED']
const NEVER_CHECKED: EventStream = {
  status: 'UNKNOWN',
  checkedAt: null,
  verificationRequestedAt: null,
  verifiedAt: null,
}

/** The dependencies of the streams. */
export interface EventStreamsDependencies {
  readonly streams: EventStreamStore
  readonly world: World
  readonly connectors: Pick<Connectors, 'requireConnector'>
  readonly reach: Pick<Reach, 'getBankInAnyState'>
}

/** Creates the control of the streams: reads their status, pauses and resumes them with their connectors, and verifies them. */
export function createEventStreams({ streams, world, connectors, reach }: EventStreamsDependencies) {
  /** By connector; at most one of each. */
  const checks = createInFlight()

  /** Pauses the stream of a suspended connector, and resumes what was paused so. What the bank itself paused stays as it is. */
  async function adjust(bank: BankInterface, { id, status: connectorStatus }: Connector): Promise<EventStreamStatus> {
    const isActive = connectorStatus === 'ACTIVE'
    const found = await bank.readEventStream!(isActive)
    const wasPausedByGateway = (await streams.find(id))?.isPausedByGateway ?? false
    const mustPause = !isActive && found === 'ENABLED'
    const mustResume = isActive && found === 'PAUSED' && wasPausedByGateway
    const status = mustPause || mustResume ? await bank.setEventStreamStatus!(mustPause ? 'PAUSED' : 'ENABLED') : found
    // If the resumption has not taken effect, the next check repeats it.
    const isPausedByGateway = mustPause || (wasPausedByGateway && status !== 'ENABLED')
    await streams.recordCheck(id, { status, checkedAt: world.clock.now(), isPausedByGateway })
    return status
  }

  /** Requests an event with a secret state, unless one was requested a short time ago. */
  async function verify(bank: BankInterface, id: string): Promise<void> {
    const now = world.clock.now()
    const requestedAt = (await streams.find(id))?.verificationRequestedAt
    if (requestedAt && now.getTime() - requestedAt.getTime() < RETRIES.streamVerification.delaysMs[0]) return
    const state = world.randomness.bytes(32).toString('base64url')
    // Before the request, because the event can arrive before its response.
    await streams.startVerification(id, digest(state), now)
    const isRequested = await bank.requestStreamVerification!(state).catch(async (error: unknown) => {
      await streams.cancelVerification(id, digest(state))
      throw error
    })
    if (!isRequested) await streams.cancelVerification(id, digest(state))
  }

  async function check(id: string): Promise<void> {
    let connector = await connectors.requireConnector(id)
    let checkedStatus: ConnectorStatus
    do {
      checkedStatus = connector.status
      if (!CHECKED_STATUSES.includes(checkedStatus)) return
      const bank = await reach.getBankInAnyState(id)
      if (!bank.readEventStream) return
      const status = await adjust(bank, connector)
      if (checkedStatus === 'ACTIVE' && (status === 'ENABLED' || status === 'UNKNOWN')) await verify(bank, id)
      // It can have been suspended or activated in the meantime, and another process have made the check that follows from that.
      connector = await connectors.requireConnector(id)
    } while (connector.status !== checkedStatus)
  }

  return {
    /** Starts the checks that are due. Does not wait for them, so that a slow bank does not delay the others. */
    async startChecks(): Promise<void> {
      const inFlight = [...checks.countByGroup().keys()]
      for (const id of await streams.claimChecks(CHECKED_STATUSES, inFlight, RETRIES.streamCheck.delaysMs[0]))
        checks.start(id, () =>
          check(id).catch((error: unknown) =>
            world.log.warn('bank_events.stream_check_failed', { connectorId: id, ...errorLogFields(error) }),
          ),
        )
    },

    /** Resolves once every check in flight has ended. */
    waitUntilIdle: (): Promise<void> => checks.waitUntilIdle(),

    /** The stream of a connector. Null if the bank has no stream control. */
    async find({ id, registration }: Connector): Promise<EventStream | null> {
      return registration.events?.stream ? ((await streams.find(id)) ?? NEVER_CHECKED) : null
    },

    /**
     * Takes note of a verified event about the stream itself. Throws `EVENT_REJECTED` for a verification with a state that was not
     * the last one sent to the bank. Repetitions change nothing.
     */
    async receive(connectorId: string, event: StreamEvent): Promise<void> {
      const now = world.clock.now()
      if (event.kind === 'UPDATED') return streams.recordUpdate(connectorId, event.status, now)
      if (event.state === undefined) return
      if (!(await streams.confirmVerification(connectorId, digest(event.state), now)))
        throw new GatewayError('EVENT_REJECTED', {
          internalMessage: 'state of the verification',
          eventErrorCode: 'invalid_state',
          countsAgainstSender: false,
        })
    },
  }
}
