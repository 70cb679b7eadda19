import type { Timer } from './clock.ts'
import { errorTrace } from './log.ts'
import type { World } from './world.ts'

/** What a shutdown logs to and waits with. */
type ShutdownWorld = Pick<World, 'log' | 'timers'>

/** A step of the shutdown. */
export interface ShutdownStep {
  /** Names the step in the log. */
  readonly name: string
  /** How long the shutdown waits for the step, in milliseconds. After that, the step is abandoned. */
  readonly timeoutMs: number
  readonly run: () => Promise<unknown>
}

/**
 * Runs the groups in order and the steps of a group concurrently, so that a shutdown takes at most the sum of each group's
 * longest timeout. A step that fails or times out is logged and does not prevent the others. Returns whether every step
 * succeeded.
 */
export async function runShutdown(
  groups: readonly (readonly ShutdownStep[])[],
  world: ShutdownWorld,
): Promise<boolean> {
  let isClean = true
  for (const group of groups) {
    const completed = await Promise.all(group.map((step) => runStep(step, world)))
    isClean &&= completed.every(Boolean)
  }
  return isClean
}

async function runStep({ name, timeoutMs, run }: ShutdownStep, { log, timers }: ShutdownWorld): Promise<boolean> {
  let timer: Timer | undefined
  const timedOut = new Promise<false>((resolve) => {
    timer = timers.setTimeout(() => {
      log.warn('shutdown.step_timed_out', { operation: name, durationMs: timeoutMs })
      resolve(false)
    }, timeoutMs)
  })
  const completed = run().then(
    () => true,
    (error: unknown) => {
      log.warn('shutdown.step_failed', { operation: name, trace: errorTrace(error) })
      return false
    },
  )
  const isClean = await Promise.race([completed, timedOut])
  timer?.clear()
  return isClean
}
