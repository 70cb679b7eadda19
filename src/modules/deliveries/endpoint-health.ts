import { MINUTE_MS, subtractMs } from '../../kernel/clock.ts'
import { WEBHOOK_FAILING } from '../../kernel/retry.ts'
import type { World } from '../../kernel/world.ts'
import type { SqlTransaction } from '../../storage/database.ts'
import type { Clients } from '../clients/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import type { ClaimedEndpoint } from './model.ts'
import { endpointHealthStore, type EndpointOutcome } from './webhook-endpoint-store.ts'

/** The dependencies of the health of endpoints. */
export interface EndpointHealthDependencies {
  readonly world: Pick<World, 'clock'>
  readonly clients: Pick<Clients, 'notices'>
  readonly ledger: Ledger
  readonly outbox: Outbox
}

/** One attempt, as far as it says something about its endpoint. */
export interface EndpointAttempt {
  readonly endpoint: ClaimedEndpoint
  readonly attemptedAt: Date
  readonly isAccepted: boolean
  /** Tests are no messages that an endpoint must accept: one that fails does not count. */
  readonly isTest: boolean
  /** Null if there was no response. */
  readonly httpStatus: number | null
}

/** Follows whether endpoints accept messages. */
export interface EndpointHealth {
  /**
   * Stores what requests to the present URLs of endpoints came to. Disables an endpoint that responded with 410, or that has accepted nothing for
   * `WEBHOOK_FAILING`; its pending deliveries then end as DROPPED, and the contact of its client gets a notice.
   */
  record(tx: SqlTransaction, attempts: readonly EndpointAttempt[]): Promise<void>
}

const GONE = 410
const NOTICE_KINDS = { GONE: 'WEBHOOK_ENDPOINT_GONE', FAILING: 'WEBHOOK_ENDPOINT_FAILING' } as const
/** How precise `lastSuccessAt` is. Storing it once a minute costs nothing, and at each attempt one row would be written by all. */
const SUCCESS_PRECISION_MS = MINUTE_MS

/** Creates the health of endpoints. */
export function createEndpointHealth({ world, clients, ledger, outbox }: EndpointHealthDependencies): EndpointHealth {
  return {
    async record(tx, allAttempts) {
      const attempts = allAttempts.filter(
        ({ isTest, isAccepted, httpStatus }) => !isTest || isAccepted || httpStatus === GONE,
      )
      const byUrl = Map.groupBy(attempts, ({ endpoint: { id, url } }) => `${id} ${url}`)
      const outcomes = [...byUrl.values()].flatMap(toOutcome)
      if (outcomes.length === 0) return
      await endpointHealthStore.recordOutcomes(tx, outcomes)
      const failedIds = outcomes.filter(({ failedCount }) => failedCount > 0).map((one) => one.webhookEndpointId)
      if (failedIds.length === 0) return
      const now = world.clock.now()
      const disabled = await endpointHealthStore.disable(tx, failedIds, {
        status410: attempts.filter(({ httpStatus }) => httpStatus === GONE).map(({ endpoint }) => endpoint),
        failing: {
          before: subtractMs(now, WEBHOOK_FAILING.afterMs),
          minAttempts: WEBHOOK_FAILING.minAttempts,
        },
        now,
      })
      if (disabled.length === 0) return
      await ledger.recordEntries(
        tx,
        disabled.map(({ id: subjectId, clientId, reason: detail }) => ({
          action: 'WEBHOOK_ENDPOINT_DISABLED',
          clientId,
          subjectId,
          detail,
        })),
      )
      await clients.notices.record(
        tx,
        disabled.map(({ id: subjectId, clientId, reason }) => ({ clientId, kind: NOTICE_KINDS[reason], subjectId })),
      )
      await outbox.enqueueAll(
        tx,
        disabled.map(({ id }) => ({ topic: 'webhook-endpoint.disabled', subjectId: id })),
      )
    },
  }
}

/** What attempts at one URL of an endpoint came to, if that changes what is stored. */
function toOutcome(attempts: readonly EndpointAttempt[]): EndpointOutcome[] {
  const { endpoint } = attempts[0]!
  const timesOf = (isAccepted: boolean): Date[] =>
    attempts
      .filter((attempt) => attempt.isAccepted === isAccepted)
      .map(({ attemptedAt }) => attemptedAt)
      .sort((one, other) => one.getTime() - other.getTime())
  const acceptedAt = timesOf(true).at(-1) ?? null
  const failures = timesOf(false)
  const isKnown =
    acceptedAt !== null &&
    failures.length === 0 &&
    endpoint.failingSince === null &&
    endpoint.lastSuccessAt !== null &&
    acceptedAt.getTime() - endpoint.lastSuccessAt.getTime() < SUCCESS_PRECISION_MS
  if (isKnown) return []
  return [
    {
      webhookEndpointId: endpoint.id,
      url: endpoint.url,
      acceptedAt,
      failedAt: failures[0] ?? null,
      failedCount: failures.length,
    },
  ]
}
