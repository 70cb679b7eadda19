import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock, systemTimers, type Clock } from '../../src/kernel/clock.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createClockMonitor } from '../../src/storage/clock-monitor.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { createTestDatabase } from '../support/database.ts'
import { createFakeTime } from '../support/fake-time.ts'
import { eventually } from '../support/gateway.ts'
import { processesOf, startProcess, usedPlace } from '../support/process.ts'

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const run of undo.splice(0).reverse()) await run()
})

/** A gateway process whose clock is so many seconds ahead of the machine's, and so of its database's. */
async function startAhead(seconds: number) {
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-clock-'))
  undo.push(() => rmSync(dataDir, { recursive: true, force: true }))
  const shifted = `const Own = Date; const now = () => Own.now() + ${seconds * 1_000};
    globalThis.Date = class extends Own { constructor(...of) { super(...(of.length ? of : [now()])) } static now() { return now() } }`
  const env = {
    GUICHET_SANDBOX_BANKS: 'off',
    NODE_OPTIONS: `--import "data:text/javascript,${encodeURIComponent(shifted)}"`,
  }
  return { dataDir, started: startProcess(await usedPlace(dataDir), env) }
}

describe('a gateway whose clock is not the database’s', () => {
  test.each([
    [60, '6[0-2]\\.\\d s ahead of'],
    [-60, '(5[89]\\.\\d|60\\.0) s behind'],
  ])(
    "a gateway with a clock %i s from the database's does not start, and states the difference and the remedy",
    async (seconds, words) => {
      const { dataDir, started } = await startAhead(seconds)
      await expect(started).rejects.toThrow(
        new RegExp(`DATABASE_URL: the clock of this machine is ${words} the database's.*NTP`),
      )
      expect(processesOf(dataDir)).toEqual([])
    },
  )

  test("a gateway starts if its clock differs from the database's by no more than tokens tolerate", async () => {
    const gateway = await (await startAhead(8)).started
    expect(await gateway.stop('SIGTERM')).toBe(0)
  })

  test.each([
    ['one slow answer', [4, 6], [3_000, 0], [5, 2_000]],
    ['a clock that is set back meanwhile', [4, 6], [-30_000, 0], [5, 2_000]],
    ['a clock that is set forward meanwhile', [0, 30_000], [4, 6], [30_000, 0]],
  ])('the clock difference is measured by the fastest round trip, so %s has no effect', async (_what, ...waits) => {
    let nowMs = 1_000_000
    const query = () => {
      const [there, back] = waits.shift()!
      nowMs += there!
      const atMs = nowMs - 250
      nowMs += back!
      return Promise.resolve([{ atMs }])
    }
    const database = { query } as unknown as Database
    const world = {
      clock: { now: () => new Date(nowMs) },
      timers: systemTimers,
      log: createLog('error', systemClock.now, () => undefined),
    }
    const measured = await createClockMonitor({ database, world, toleranceMs: 10_000 }).offsetMs()
    expect(Math.abs(measured - 250)).toBeLessThanOrEqual(5)
  })

  test('a gateway logs a line a minute while its clock differs by more than the tolerance, and none before', async () => {
    const testDatabase = await createTestDatabase()
    undo.push(() => testDatabase.drop())
    const database = openDatabase(testDatabase.url)
    undo.push(() => database.close())
    let driftMs = 0
    const clock: Clock = { now: () => new Date(systemClock.now().getTime() + driftMs) }
    const lines: string[] = []
    const log = createLog(
      'info',
      () => new Date(),
      (line) => lines.push(line),
    )
    const time = createFakeTime()
    const watch = createClockMonitor({ database, world: { clock, timers: time.timers, log }, toleranceMs: 10_000 })
    undo.push(() => watch.stop())
    watch.start()
    await time.advance(60_000)
    expect(Math.abs(await watch.offsetMs())).toBeLessThan(5_000)
    expect(lines).toEqual([])
    driftMs = -30_000
    await time.advance(60_000)
    const line = await eventually('the line', () => Promise.resolve(lines[0]))
    expect(JSON.parse(line)).toMatchObject({ event: 'clock.skewed', level: 'warn' })
    expect(Math.abs((JSON.parse(line) as { offsetMs: number }).offsetMs + 30_000)).toBeLessThan(5_000)
  })
})
