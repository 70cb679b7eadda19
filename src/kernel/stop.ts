import { traceOf, type Log } from './log.ts'

/** One step of a stop. */
export interface StopStep {
  /** Names the step in the log. */
  readonly name: string
  /** How long the stop waits for it, in milliseconds. What is not over by then is abandoned. */
  readonly withinMs: number
  readonly run: () => Promise<unknown>
}

/**
 * Runs groups of steps one after the other, the steps of a group at once, so that a stop takes at most the sum of each
 * group's longest bound. A step that fails or is abandoned is logged and keeps none of the others from running. Returns
 * whether every step came to its end.
 */
export async function stopInSteps(groups: readonly (readonly StopStep[])[], log: Log): Promise<boolean> {
  let clean = true
  for (const group of groups) {
    const ended = await Promise.all(group.map((step) => runStep(step, log)))
    clean &&= ended.every(Boolean)
  }
  return clean
}

async function runStep({ name, withinMs, run }: StopStep, log: Log): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => {
      log.warn('stop.abandoned', { operation: name, durationMs: withinMs })
      resolve(false)
    }, withinMs)
  })
  const ended = run().then(
    () => true,
    (error: unknown) => {
      log.warn('stop.failed', { operation: name, trace: traceOf(error) })
      return false
    },
  )
  const clean = await Promise.race([ended, late])
  clearTimeout(timer)
  return clean
}
