import { afterEach, expect, test } from 'vitest'
import { OUTAGE_KINDS, startDatabaseLine, type DatabaseLine } from '../support/database-line.ts'
import { eventually } from '../support/gateway.ts'
import { startKilledPipeline, type KilledPipeline } from '../support/killed-pipeline.ts'
import { patientTimers } from '../support/patient-time.ts'
import { findPipelineFaults } from '../support/pipeline-faults.ts'

/** `npm test -- database-outages --rounds=20` is the long form; docs/PERFORMANCE.md has its result. */
const OUTAGES = Number(process.env['GUICHET_ROUNDS'] ?? OUTAGE_KINDS.length)
const OUTAGE_MS = 10_000
/** The guaranteed time from the return of the database to the next acknowledged event. */
const RECOVERY_MS = 5_000
/** Normal work between two outages. */
const PAUSE_MS = 2_000

let line: DatabaseLine | undefined
let pipeline: KilledPipeline | undefined
afterEach(async () => {
  await pipeline?.close()
  await line?.close()
})

test(
  'while the database is away, no process ends, nothing acknowledged is lost, and it recovers within 5 s',
  { timeout: 180_000 + OUTAGES * 30_000 },
  async () => {
    pipeline = await startKilledPipeline({}, async (url) => {
      line = await startDatabaseLine(url)
      return line.url
    })
    const { underLoad, acknowledgedCount, isRunning, countWorker, evidence } = pipeline
    const recoveriesMs: number[] = []
    await underLoad(async () => {
      for (let index = 0; index < OUTAGES; index++) {
        await patientTimers.sleep(PAUSE_MS)
        await line!.fail(OUTAGE_KINDS[index % OUTAGE_KINDS.length]!)
        await patientTimers.sleep(OUTAGE_MS)
        const before = acknowledgedCount()
        const returnedMs = patientTimers.monotonicMs()
        await line!.restore()
        await eventually('a 202', () => Promise.resolve(acknowledgedCount() > before))
        recoveriesMs.push(patientTimers.monotonicMs() - returnedMs)
        expect(isRunning()).toBe(true)
        await patientTimers.sleep(PAUSE_MS)
        countWorker()
      }
    })
    process.stdout.write(`recovered after ${recoveriesMs.map((ms) => `${Math.round(ms)} ms`).join(', ')}\n`)
    countWorker()
    const found = await evidence()
    expect(found.acknowledged.length).toBeGreaterThan(OUTAGES)
    expect(findPipelineFaults(found)).toEqual([])
    expect(Math.max(...recoveriesMs)).toBeLessThan(RECOVERY_MS)
  },
)
