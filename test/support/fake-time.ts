import type { Clock, Timers } from '../../src/kernel/clock.ts'

/** A clock and timers that move only when a test moves them. */
export interface FakeTime {
  readonly clock: Clock
  readonly timers: Timers
  /** Lets `ms` pass on both clocks. Due timers run in order, each at its own time; what they resolve runs in between. */
  advance(ms: number): Promise<void>
  /** Sets the time of day, as an operator or NTP does: no time passes and no timer runs. */
  setWallTime(at: Date): void
}

interface PendingTimer {
  dueMs: number
  readonly run: () => void
  readonly intervalMs: number | undefined
}

/** Creates a fake clock that shows `startsAt`. */
export function createFakeTime(startsAt = new Date('2026-01-15T12:00:00.000Z')): FakeTime {
  const pending = new Set<PendingTimer>()
  let elapsedMs = 0
  let wallOffsetMs = startsAt.getTime()

  function add(timer: PendingTimer) {
    pending.add(timer)
    const handle = { clear: () => void pending.delete(timer), unref: () => handle }
    return handle
  }

  /** The timer that is due next until `untilMs`; of several, the one that was set first. */
  function nextDue(untilMs: number): PendingTimer | undefined {
    return [...pending].filter(({ dueMs }) => dueMs <= untilMs).sort((one, other) => one.dueMs - other.dueMs)[0]
  }

  const setOnce = (run: () => void, delayMs: number) =>
    add({ run, dueMs: elapsedMs + Math.max(0, delayMs), intervalMs: undefined })

  return {
    clock: { now: () => new Date(wallOffsetMs + elapsedMs) },
    timers: {
      monotonicMs: () => elapsedMs,
      setTimeout: setOnce,
      setInterval: (run, intervalMs) => add({ run, dueMs: elapsedMs + intervalMs, intervalMs }),
      sleep: (delayMs) => new Promise((resolve) => void setOnce(resolve, delayMs)),
    },
    async advance(ms) {
      const untilMs = elapsedMs + ms
      await turnOfEventLoop()
      for (let timer = nextDue(untilMs); timer; timer = nextDue(untilMs)) {
        elapsedMs = timer.dueMs
        if (timer.intervalMs === undefined) pending.delete(timer)
        else timer.dueMs += timer.intervalMs
        timer.run()
        await turnOfEventLoop()
      }
      elapsedMs = untilMs
    },
    setWallTime(at) {
      wallOffsetMs = at.getTime() - elapsedMs
    },
  }
}

const turnOfEventLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
