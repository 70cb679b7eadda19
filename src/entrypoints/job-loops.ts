import { errorTrace } from '../kernel/log.ts'
import type { LogEvent } from '../kernel/log-table.ts'
import { RETRIES } from '../kernel/retry.ts'
import type { World } from '../kernel/world.ts'

/** One kind of background work, in rounds. */
export interface Job<Name extends string> {
  readonly name: Name
  /** The log event for a failed round. */
  readonly failureEvent: LogEvent
  /** The shortest time between the starts of two rounds that are not empty: what comes sooner shares the next one. None by default. */
  readonly spacingMs?: number
  /** Runs one round. Returns whether another one should follow at once. `wake` ends the wait of a job. */
  run(wake: (name: Name) => void): Promise<boolean>
}

/** A set of jobs, each repeated in its own loop, so that no job waits for another. */
export interface JobLoops<Name extends string> {
  /** Starts every loop. */
  start(): void
  /** Ends the wait of a job: its next round starts now, or right after the current one. */
  wake(name: Name): void
  /** Lets every loop end after its current round. Resolves once all have ended. */
  stop(): Promise<void>
}

interface Loop<Name extends string> {
  readonly name: Name
  wake(): void
  run(): Promise<void>
}

/**
 * Creates the loops of these jobs. A round follows at once, when the job is woken, or after `RETRIES.workerIdle`. A failed round
 * is logged.
 */
export function createJobLoops<Name extends string>(
  jobs: readonly Job<Name>[],
  { timers, log }: Pick<World, 'timers' | 'log'>,
): JobLoops<Name> {
  let isStopping = false
  let running: Promise<unknown> = Promise.resolve()

  function wake(name: Name): void {
    for (const loop of loops) if (loop.name === name) loop.wake()
  }

  function createLoop({ name, failureEvent, run, spacingMs = 0 }: Job<Name>): Loop<Name> {
    let isWoken = false
    let endWait: () => void = () => undefined
    const wait = (): Promise<void> =>
      new Promise((resolve) => {
        const timer = timers.setTimeout(resolve, RETRIES.workerIdle.delaysMs[0])
        endWait = () => {
          timer.clear()
          resolve()
        }
        if (isWoken) endWait()
      })
    return {
      name,
      wake() {
        isWoken = true
        endWait()
      },
      async run() {
        while (!isStopping) {
          isWoken = false
          const startedAtMs = timers.monotonicMs()
          const hasMore = await run(wake).catch((error: unknown) => {
            log.error(failureEvent, { trace: errorTrace(error) })
            return false
          })
          if (!hasMore) await wait()
          const restMs = startedAtMs + spacingMs - timers.monotonicMs()
          if (restMs > 0) await timers.sleep(restMs)
        }
      },
    }
  }
  const loops = jobs.map(createLoop)

  return {
    start() {
      running = Promise.all(loops.map((loop) => loop.run()))
    },
    wake,
    async stop() {
      isStopping = true
      for (const loop of loops) loop.wake()
      await running
    },
  }
}
