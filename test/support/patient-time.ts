import type { Timer, Timers } from '../../src/kernel/clock.ts'

/** How often time passes, and how much of it passes at most while this process does not run. */
const TICK_MS = 5
const MAX_STEP_MS = 8

// Taken before any test replaces them.
const [startTimer, stopTimer, startInterval] = [setTimeout, clearTimeout, setInterval]
const readMs = performance.now.bind(performance)

let passedMs = 0
let lastTickMs = readMs()

function elapsedMs(): number {
  return passedMs + Math.min(readMs() - lastTickMs, MAX_STEP_MS)
}

startInterval(() => {
  passedMs = elapsedMs()
  lastTickMs = readMs()
}, TICK_MS).unref()

/** Calls `run` once `delayMs` have passed on the clock below. */
function setOnce(run: () => void, delayMs: number): Timer {
  const dueMs = elapsedMs() + delayMs
  let isReferenced = true
  let handle = arm(delayMs)
  function arm(leftMs: number): NodeJS.Timeout {
    const next = startTimer(() => {
      const remainingMs = dueMs - elapsedMs()
      if (remainingMs < 1) run()
      else handle = arm(remainingMs)
    }, leftMs)
    return isReferenced ? next : next.unref()
  }
  const timer: Timer = {
    clear: () => stopTimer(handle),
    unref() {
      isReferenced = false
      handle.unref()
      return timer
    },
  }
  return timer
}

/**
 * The machine's timers, but the clock stands still while this process waits for a processor or is busy. So a deadline is not
 * missed because other programs run, and a duration says how long the gateway let somebody wait, not how fast the machine is.
 */
export const patientTimers: Timers = {
  monotonicMs: elapsedMs,
  setTimeout: setOnce,
  setInterval(run, intervalMs) {
    let isReferenced = true
    let current = setOnce(repeat, intervalMs)
    function repeat() {
      current = setOnce(repeat, intervalMs)
      if (!isReferenced) current.unref()
      run()
    }
    const timer: Timer = {
      clear: () => current.clear(),
      unref() {
        isReferenced = false
        current.unref()
        return timer
      },
    }
    return timer
  },
  sleep: (delayMs) => new Promise((resolve) => void setOnce(resolve, delayMs)),
}
