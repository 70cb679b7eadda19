import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { eventually } from '../support/gateway.ts'
import { patientTimers } from '../support/patient-time.ts'
import { newPlace, startProcess, type GatewayProcess } from '../support/process.ts'

let database: TestDatabase
let dataDir: string
const running: GatewayProcess[] = []
beforeAll(async () => {
  database = await createTestDatabase()
  dataDir = mkdtempSync(join(tmpdir(), 'guichet-jobs-'))
})
afterAll(async () => {
  for (const { child, stop } of running) if (child.exitCode === null && child.signalCode === null) await stop('SIGKILL')
  await database.drop()
  rmSync(dataDir, { recursive: true, force: true })
})

async function startWorker(): Promise<GatewayProcess> {
  const env = { DATABASE_URL: database.url, GUICHET_SANDBOX_BANKS: 'off', GUICHET_ROLE: 'worker' }
  const worker = await startProcess(await newPlace(dataDir), env)
  running.push(worker)
  return worker
}

/** Whether a process holds the job `retention`, and whether it is due. */
const job = async () =>
  (
    await database.query<{ isClaimed: boolean; isDue: boolean }>(
      `select coalesce(claimed_until > now(), false) as "isClaimed", next_run_at <= now() as "isDue"
       from scheduled_job where name = 'retention'`,
    )
  )[0]

/** Makes the job due while its first table is locked, so that a run that starts does not end. Returns what unlocks it. */
async function blockRuns(): Promise<() => Promise<void>> {
  const locking = new pg.Client({ connectionString: database.url })
  await locking.connect()
  await locking.query('begin; lock table oauth_artifact in access exclusive mode')
  await database.query(`update scheduled_job set next_run_at = now() - interval '1 second' where name = 'retention'`)
  return () => locking.end()
}

test('a worker repeats the job of a killed one after its lease, and not before', async () => {
  const killed = await startWorker()
  await eventually('the end of the first run', async () => (await job())?.isDue === false)
  const unblock = await blockRuns()
  await eventually('a run that does not end', async () => (await job())!.isClaimed)
  const other = await startWorker()
  await killed.stop('SIGKILL')
  await unblock()
  await patientTimers.sleep(3_000)
  expect(await job()).toEqual({ isClaimed: true, isDue: true })
  // Instead of waiting for a minute.
  await database.query(`update scheduled_job set claimed_until = now() where name = 'retention'`)
  await eventually('the end of the run of the other worker', async () => !(await job())!.isDue)
  expect(await job()).toEqual({ isClaimed: false, isDue: false })
  expect(await other.stop('SIGTERM')).toBe(0)
})
