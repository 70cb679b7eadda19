import type { ServerResponse } from 'node:http'
import { SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'

/** Lets events in, connector by connector, as many at once as can be stored. */
export interface Admission {
  /** Waits for what is known about an id. Throws `OVERLOADED` if it takes too long or too many wait already. */
  ask<T>(known: T | Promise<T>): Promise<T>
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
interface Waiting {
  begin(): void
}

interface Line {
  readonly waiting: Set<Waiting>
  running: number
}

/**
 * Events stored at once: of one connector, and of all. Each needs a database connection, and the pool has 16. Of `all`,
 * `reserved` places are only for connectors of which nothing runs.
 */
const RUNNING = { connector: 4, all: 12, reserved: 4 }
/** Events that wait: of one connector, and of all. Each holds a body of at most 16 KB. */
const WAITING = { connector: 100, all: 1_000 }
const TURN_TIMEOUT_MS = 5 * SECOND_MS
const WORK_TIMEOUT_MS = 10 * SECOND_MS
const RETRY_AFTER_S = 2

const overloaded = (internal: string): GatewayError =>
  new GatewayError('OVERLOADED', { internal, retryAfterS: RETRY_AFTER_S })

/** A line for each connector; the connectors take turns. */
export function createAdmission(): Admission {
  const lines = new Map<string, Line>()
  let running = 0
  let waiting = 0
  let asking = 0

  function lineOf(connectorId: string): Line {
    let line = lines.get(connectorId)
    if (!line) lines.set(connectorId, (line = { waiting: new Set(), running: 0 }))
    return line
  }

  const mayBegin = (line: Line): boolean =>
    line.running < RUNNING.connector &&
    (running < RUNNING.all - RUNNING.reserved || (line.running === 0 && running < RUNNING.all))

  /** Gives free places to those who wait. A connector that had its turn goes behind the others. */
  function beginNext(): void {
    for (const [connectorId, line] of lines) {
      const [first] = line.waiting
      if (!first) {
        if (line.running === 0) lines.delete(connectorId)
        continue
      }
      if (!mayBegin(line)) continue
      lines.delete(connectorId)
      lines.set(connectorId, line)
      first.begin()
    }
  }

  /** Resolves when the turn has come. Its place is taken by then. */
  function turnOf(line: Line, response: ServerResponse): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        line.waiting.delete(entry)
        waiting--
        clearTimeout(timer)
        response.off('close', onClose)
      }
      const fail = (error: GatewayError): void => {
        leave()
        reject(error)
        beginNext()
      }
      const onClose = (): void => fail(new GatewayError('MALFORMED_REQUEST', { internal: 'the sender left' }))
      const timer = setTimeout(() => fail(overloaded('no turn in time')), TURN_TIMEOUT_MS)
      const entry: Waiting = {
        begin() {
          leave()
          line.running++
          running++
          resolve()
        },
      }
      line.waiting.add(entry)
      waiting++
      response.on('close', onClose)
      if (response.closed) onClose()
      else beginNext()
    })
  }

  function check(connectorId: string): void {
    if (waiting >= WAITING.all) throw overloaded('all lines together are full')
    if ((lines.get(connectorId)?.waiting.size ?? 0) >= WAITING.connector) throw overloaded('the line is full')
  }

  return {
    async ask(known) {
      if (!(known instanceof Promise)) return known
      if (asking >= WAITING.all) throw overloaded('too many wait for what is known')
      asking++
      try {
        return await within(known, TURN_TIMEOUT_MS)
      } finally {
        asking--
      }
    },
    check,
    async admit(connectorId, response, work) {
      check(connectorId)
      const line = lineOf(connectorId)
      await turnOf(line, response)
      const done = work().finally(() => {
        line.running--
        running--
        beginNext()
      })
      return within(done, WORK_TIMEOUT_MS)
    },
  }
}

async function within<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(overloaded('not done in time')), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
