import type { ServerResponse } from 'node:http'
import { SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'

/** Lets events in, connector by connector, as many at once as can be stored. */
export interface Admission {
  /** Waits for what is known about an id. Throws `OVERLOADED` if it takes too long or too many wait already. */
  awaitLookup<T>(lookup: T | Promise<T>): Promise<T>
  /** Throws `OVERLOADED` if an event of this connector could not even wait. */
  check(connectorId: string): void
  /**
   * Runs `work` when its turn comes and returns what it returns. Throws `OVERLOADED` if the line is full, if the turn does not
   * come in time, or if `work` takes too long; in the last case `work` goes on and keeps its place until it ends. If the
   * sender closes the connection before its turn, `work` is never run.
   */
  admit<T>(connectorId: string, response: ServerResponse, work: () => Promise<T>): Promise<T>
}

/** One that waits for its turn. */
interface QueueEntry {
  start(): void
}

interface Queue {
  readonly waitingCount: Set<QueueEntry>
  runningCount: number
}

/**
 * Events stored at once: of one connector, and of all. Each needs a database connection, and the pool has 16. Of `all`,
 * `reserved` places are only for connectors of which nothing runs.
 */
const MAX_RUNNING = { connector: 4, all: 12, reserved: 4 }
/** Events that wait: of one connector, and of all. Each holds a body of at most 16 KB. */
const MAX_WAITING = { connector: 100, all: 1_000 }
const TURN_TIMEOUT_MS = 5 * SECOND_MS
const WORK_TIMEOUT_MS = 10 * SECOND_MS
const RETRY_AFTER_SECONDS = 2

const overloaded = (internal: string): GatewayError =>
  new GatewayError('OVERLOADED', { internalMessage: internal, retryAfterSeconds: RETRY_AFTER_SECONDS })

/** A line for each connector; the connectors take turns. */
export function createAdmission(): Admission {
  const queues = new Map<string, Queue>()
  let runningCount = 0
  let waitingCount = 0
  let pendingLookups = 0

  function queueOf(connectorId: string): Queue {
    let queue = queues.get(connectorId)
    if (!queue) queues.set(connectorId, (queue = { waitingCount: new Set(), runningCount: 0 }))
    return queue
  }

  const canStart = (line: Queue): boolean =>
    line.runningCount < MAX_RUNNING.connector &&
    (runningCount < MAX_RUNNING.all - MAX_RUNNING.reserved ||
      (line.runningCount === 0 && runningCount < MAX_RUNNING.all))

  /** Gives free places to those who wait. A connector that had its turn goes behind the others. */
  function startNext(): void {
    for (const [connectorId, line] of queues) {
      const [first] = line.waitingCount
      if (!first) {
        if (line.runningCount === 0) queues.delete(connectorId)
        continue
      }
      if (!canStart(line)) continue
      queues.delete(connectorId)
      queues.set(connectorId, line)
      first.start()
    }
  }

  /** Resolves when the turn has come. Its place is taken by then. */
  function waitForTurn(queue: Queue, response: ServerResponse): Promise<void> {
    return new Promise((resolve, reject) => {
      const dequeue = (): void => {
        queue.waitingCount.delete(entry)
        waitingCount--
        clearTimeout(timer)
        response.off('close', onClose)
      }
      const fail = (error: GatewayError): void => {
        dequeue()
        reject(error)
        startNext()
      }
      const onClose = (): void => fail(new GatewayError('MALFORMED_REQUEST', { internalMessage: 'the sender left' }))
      const timer = setTimeout(() => fail(overloaded('no turn in time')), TURN_TIMEOUT_MS)
      const entry: QueueEntry = {
        start() {
          dequeue()
          queue.runningCount++
          runningCount++
          resolve()
        },
      }
      queue.waitingCount.add(entry)
      waitingCount++
      response.on('close', onClose)
      if (response.closed) onClose()
      else startNext()
    })
  }

  function check(connectorId: string): void {
    if (waitingCount >= MAX_WAITING.all) throw overloaded('all lines together are full')
    if ((queues.get(connectorId)?.waitingCount.size ?? 0) >= MAX_WAITING.connector) throw overloaded('the line is full')
  }

  return {
    async awaitLookup(lookup) {
      if (!(lookup instanceof Promise)) return lookup
      if (pendingLookups >= MAX_WAITING.all) throw overloaded('too many wait for what is known')
      pendingLookups++
      try {
        return await withTimeout(lookup, TURN_TIMEOUT_MS)
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
      return withTimeout(completion, WORK_TIMEOUT_MS)
    },
  }
}

async function withTimeout<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(overloaded('not done in time')), timeoutMs)
  })
  try {
    return await Promise.race([work, timeout])
  } finally {
    clearTimeout(timer)
  }
}
