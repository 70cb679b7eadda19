import { errorTrace, type Log } from './log.ts'

/** One step of a stop. */
export interface ShutdownStep {
  /** Names the step in the log. */
  readonly name: string
  /** How long the stop waits for it, in milliseconds. What is not over by then is abandoned. */
  readonly timeoutMs: number
  readonly run: () => Promise<unknown>
}

/**
 * Runs groups of steps one after the other, the steps of a group at once, so that a stop takes at most the sum of each
 * group's longest bound. A step that fails or is abandoned is logged and keeps none of the others from running. Returns
 * whether every step came to its end.
 */
export async function runShutdown(groups: readonly (readonly ShutdownStep[])[], log: Log): Promise<boolean> {
  let isClean = true
  for (const group of groups) {
    const completed = await Promise.all(group.map((step) => runStep(step, log)))
    isClean &&= completed.every(Boolean)
  }
  return isClean
}

async function runStep({ name, timeoutMs, run }: ShutdownStep, log: Log): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const timedOut = new Promise<false>((resolve) => {
    timer = setTimeout(() => {
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
  clearTimeout(timer)
  return isClean
}
