import type { AlertEnvironment, RunningGateway } from './alert-environment.ts'
import type { LoadCommand, LoadResult } from './bank-load.ts'
import { nowMs, type Child } from './child.ts'
import type { Arrivals, ReceiverCommand } from './webhook-receiver.ts'

/** A running gateway with banks that push alerts to it and platforms that receive them. */
export interface AlertRig {
  readonly environment: AlertEnvironment
  readonly running: RunningGateway
  readonly load: Child
  readonly receiver: Child
  readonly print: (line: string) => void
}

const DRAIN_TIMEOUT_MS = 300_000

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
export const percentile = (numbers: readonly number[], share: number): number =>
  [...numbers].sort((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(numbers.length * share))] ?? NaN
export const shortMs = (ms: number): string => (ms >= 1_000 ? `${(ms / 1_000).toFixed(1)} s` : `${ms.toFixed(1)} ms`)
export const percentilesOf = (numbers: readonly number[]): string =>
  `p50 ${shortMs(percentile(numbers, 0.5))}, p95 ${shortMs(percentile(numbers, 0.95))}, p99 ${shortMs(percentile(numbers, 0.99))}`

/** Sends one command to the load process. */
export const callLoad = <Result = void>(load: Child, command: LoadCommand): Promise<Result> => load.request(command)
export const callReceiver = <Result = void>(receiver: Child, command: ReceiverCommand): Promise<Result> =>
  receiver.request(command)

/** Signs and sends `count` alerts and returns what became of each. */
export async function sendAlerts(
  { load }: Pick<AlertRig, 'load'>,
  { count, perSecond }: { readonly count: number; readonly perSecond: number },
): Promise<LoadResult> {
  await callLoad(load, { kind: 'sign', count, severity: 'URGENT' })
  return callLoad<LoadResult>(load, { kind: 'send', perSecond })
}

export const countAccepted = ({ statuses }: LoadResult): number => statuses.filter((status) => status === 202).length
/** The number of responses by status, such as `202: 980, 503: 20`. */
export function describeStatuses({ statuses }: LoadResult): string {
  const counts = new Map<number, number>()
  for (const status of statuses) counts.set(status, (counts.get(status) ?? 0) + 1)
  return [...counts].map(([status, count]) => `${status}: ${count}`).join(', ')
}

/** Waits until so many different webhooks have arrived. Returns whether they did before the timeout. */
export async function waitForWebhooks(
  { receiver }: AlertRig,
  count: number,
  timeoutMs = DRAIN_TIMEOUT_MS,
): Promise<boolean> {
  const endMs = nowMs() + timeoutMs
  while ((await callReceiver<number>(receiver, { kind: 'count' })) < count) {
    if (nowMs() > endMs) return false
    await sleep(50)
  }
  return true
}

/** From when each event was due until its response, in milliseconds. */
export const latenciesOf = ({ dueMs, respondedMs }: LoadResult): number[] =>
  Array.from(dueMs, (due, index) => respondedMs[index]! - due)

/**
 * From the 202 for each accepted event to the arrival of its webhook, in milliseconds; infinite if none arrived. The two are matched
 * by their account, so no account may have two events.
 */
export async function deliveryDelaysOf(
  { running, environment }: AlertRig,
  { accountRefs, statuses, respondedMs }: LoadResult,
  { ids, atMs }: Arrivals,
): Promise<number[]> {
  if (new Set(accountRefs).size < accountRefs.length) throw new Error('an account has two events')
  const { rows } = await running.database.query<{ id: string; account_id: string }>(
    'select delivery.id, account_id from delivery join alert on alert.id = alert_id where delivery.id = any($1)',
    [ids],
  )
  const accountIdByDelivery = new Map(rows.map(({ id, account_id }) => [id, account_id]))
  const arrivedMs = new Map<string, number>()
  for (const [index, id] of ids.entries()) {
    const accountId = accountIdByDelivery.get(id)
    if (accountId !== undefined && !arrivedMs.has(accountId)) arrivedMs.set(accountId, atMs[index]!)
  }
  const accountIdByRef = new Map(environment.customers.map(({ accountRef, accountId }) => [accountRef, accountId]))
  return accountRefs.flatMap((ref, index) =>
    statuses[index] === 202 ? [(arrivedMs.get(accountIdByRef.get(ref)!) ?? Infinity) - respondedMs[index]!] : [],
  )
}
