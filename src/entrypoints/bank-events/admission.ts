import type { ServerResponse } from 'node:http'
import { SECOND_MS, type Timers, type Timer } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { isPromise } from '../../kernel/maybe-promise.ts'
import { RETRY_AFTER_SECONDS } from '../../kernel/retry-after.ts'

/** Limits how many bank events are stored at once, with a queue for each connector. */
export interface Admission {
  /** Awaits the lookup of a connector. Throws `OVERLOADED` if it takes too long or too many lookups are pending. */
  awaitLookup<T>(lookup: T | Promise<T>): Promise<T>
  /** Throws `OVERLOADED` if the queue of this connector, or all queues together, are full. */
  check(connectorId: string): void
  /**
   * Queues `work`, runs it and returns its result. Throws `OVERLOADED` if the queue is full, if `work` does not start in time,
   * or if it takes too long; in the last case `work` continues and occupies its slot until it ends. If the sender closes the
   * connection while `work` is queued, `work` is never run.
   */
  admit<T>(connectorId: string, response: ServerResponse, work: () => Promise<T>): Promise<T>
}

interface QueueEntry {
  start(): void
}

interface Queue {
  readonly waiting: Set<QueueEntry>
  runningCount: number
}

/** The limits of an admission. */
export interface AdmissionLimits {
  /** Events that are verified and stored at once: of one connector, and of all. */
  readonly connector: number
  readonly all: number
  /** Of the `all` slots, those that are only for connectors with no running event. */
  readonly reserved: number
}

/** The store takes events in batches, in turn from each bank; a bank that sends fast must not fill the queue before it. */
const MAX_RUNNING: AdmissionLimits = { connector: 32, all: 128, reserved: 32 }
/** Queued events: of one connector, and of all. Each holds a body of at most 16 KB. */
const MAX_WAITING = { connector: 100, all: 1_000 }
const TURN_TIMEOUT_MS = 5 * SECOND_MS
const WORK_TIMEOUT_MS = 10 * SECOND_MS

const overloaded = (internal: string): GatewayError =>
  new GatewayError('OVERLOADED', { internalMessage: internal, retryAfterSeconds: RETRY_AFTER_SECONDS.eventQueueFull })

/** Creates an admission control with one queue per connector, served round-robin. */
export function createAdmission(timers: Timers, maxRunning: AdmissionLimits = MAX_RUNNING): Admission {
  const queues = new Map<string, Queue>()
  let runningCount = 0
  let waitingCount = 0
  let pendingLookups = 0

  function queueOf(connectorId: string): Queue {
    let queue = queues.get(connectorId)
    if (!queue) queues.set(connectorId, (queue = { waiting: new Set(), runningCount: 0 }))
    return queue
  }

  const canStart = (queue: Queue): boolean =>
    queue.runningCount < maxRunning.connector &&
    (runningCount < maxRunning.all - maxRunning.reserved || (queue.runningCount === 0 && runningCount < maxRunning.all))

  /** Starts queued events in free slots. A connector that was served moves to the end. */
  function startNext(): void {
    for (const [connectorId, queue] of queues) {
      const [first] = queue.waiting
      if (!first) {
        if (queue.runningCount === 0) queues.delete(connectorId)
        continue
      }
      if (!canStart(queue)) continue
      queues.delete(connectorId)
      queues.set(connectorId, queue)
      first.start()
    }
  }

  /** Resolves once the entry has a slot, which is already counted as running. */
  function waitForTurn(queue: Queue, response: ServerResponse): Promise<void> {
    return new Promise((resolve, reject) => {
      const dequeue = (): void => {
        queue.waiting.delete(entry)
        waitingCount--
        timer.clear()
        response.off('close', onClose)
      }
      const fail = (error: GatewayError): void => {
        dequeue()
        reject(error)
        startNext()
      }
      const onClose = (): void =>
        fail(new GatewayError('MALFORMED_REQUEST', { internalMessage: 'the sender closed the connection' }))
      const timer = timers.setTimeout(() => fail(overloaded('the event was queued for too long')), TURN_TIMEOUT_MS)
      const entry: QueueEntry = {
        start() {
          dequeue()
          queue.runningCount++
          runningCount++
          resolve()
        },
      }
      queue.waiting.add(entry)
      waitingCount++
      response.on('close', onClose)
      if (response.closed) onClose()
      else startNext()
    })
  }

  function check(connectorId: string): void {
    if (waitingCount >= MAX_WAITING.all) throw overloaded('too many events are queued')
    if ((queues.get(connectorId)?.waiting.size ?? 0) >= MAX_WAITING.connector)
      throw overloaded('too many events of the connector are queued')
  }

  return {
    async awaitLookup(lookup) {
      if (!isPromise(lookup)) return lookup
      if (pendingLookups >= MAX_WAITING.all) throw overloaded('too many connector lookups are pending')
      pendingLookups++
      try {
        return await withTimeout(lookup, TURN_TIMEOUT_MS, timers)
      } finally {
        pendingLookups--
      }
    },
    check,
    async admit(connectorId, response, work) {
      check(connectorId)
      const queue = queueOf(connectorId)
      await waitForTurn(queue, response)
      const completion = work().finally(() => {
        queue.runningCount--
        runningCount--
        startNext()
      })
      return withTimeout(completion, WORK_TIMEOUT_MS, timers)
    },
  }
}

async function withTimeout<T>(work: Promise<T>, timeoutMs: number, timers: Timers): Promise<T> {
  let timer: Timer | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = timers.setTimeout(() => reject(overloaded('the work took too long')), timeoutMs)
  })
  try {
    return await Promise.race([work, timeout])
  } finally {
    timer?.clear()
  }
}
