import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { commandLineOf, type Ended } from '../support/command-line.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { eventually } from '../support/gateway.ts'
import { newPlace, startProcess, type GatewayPlace, type GatewayProcess } from '../support/process.ts'

const folder = mkdtempSync(join(tmpdir(), 'guichet-worker-'))
const newKey = (): string => randomBytes(32).toString('base64url')
const sealingKey = newKey()
const running: GatewayProcess[] = []
let database: TestDatabase
let settings: Record<string, string>

beforeAll(async () => {
  database = await createTestDatabase()
  settings = { DATABASE_URL: database.url, GUICHET_SEALING_KEY: sealingKey, METRICS_PORT: '0' }
  const gateway = await startProcess(await newPlace(join(folder, 'gateway')), {
    ...settings,
    GUICHET_ROLE: 'gateway',
    GUICHET_SANDBOX_BANKS: 'off',
  })
  await gateway.stop('SIGTERM')
})
afterEach(async () => {
  await Promise.all(running.splice(0).map(({ stop }) => stop('SIGKILL')))
})
afterAll(async () => {
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

const WORKER = ['src/entrypoints/cli/main.ts', 'worker']

/** A worker in a folder of its own, as on another machine. */
async function startWorker(): Promise<GatewayProcess & { readonly place: GatewayPlace }> {
  const place = await newPlace(join(folder, `worker-${randomBytes(4).toString('hex')}`))
  const worker = await startProcess(place, settings, '022', ['ignore', 'pipe', 'pipe'], WORKER)
  running.push(worker)
  return { ...worker, place }
}

/** A message about a consent that does not exist: handling it has no effect. */
const enqueue = (id: string): Promise<unknown> =>
  database.query(
    `insert into outbox_message (id, topic, subject_id, next_attempt_at) values ($1, 'consent.changed', 'cns_x', now())`,
    [id],
  )
const isProcessed = async (id: string): Promise<boolean> =>
  (await database.query(`select from outbox_message where id = $1 and processed_at is not null`, [id])).length === 1

/** The command with only these settings. */
const runWorker = (env: Record<string, string>): Promise<Ended> => {
  const { shell } = commandLineOf(() => ({ issuer: '', dataDir: join(folder, 'other') }))
  const words = Object.entries({ DATABASE_URL: '', PORT: '0', METRICS_PORT: '0', ...env }).map(
    ([name, value]) => `${name}='${value}'`,
  )
  return shell(`${words.join(' ')} node ${WORKER.join(' ')}`)
}

describe('guichet worker', () => {
  test('guichet worker handles the messages of the installation and stops with code 0 at SIGINT', async () => {
    const worker = await startWorker()
    expect(worker.output()).toContain('(worker)')
    expect((await fetch(`http://127.0.0.1:${worker.place.port}/readyz`)).status).toBe(200)
    expect((await fetch(`http://127.0.0.1:${worker.place.port}/graphql`)).status).toBe(404)
    await enqueue('msg_one')
    await eventually('that the message is handled', () => isProcessed('msg_one'))
    expect(await worker.stop('SIGINT')).toBe(0)
  })

  test('a worker that is killed leaves its work to the other workers of the database', async () => {
    const [one, two] = [await startWorker(), await startWorker()]
    await one.stop('SIGKILL')
    await enqueue('msg_two')
    await eventually('that the message is handled', () => isProcessed('msg_two'))
    expect(await two.stop('SIGTERM')).toBe(0)
  })

  test('guichet worker refuses to start without DATABASE_URL, and says whose the embedded database is', async () => {
    const { code, err } = await runWorker({ GUICHET_SEALING_KEY: sealingKey })
    expect(code).toBe(1)
    expect(err).toContain(
      'DATABASE_URL: must be set for a worker; the embedded database belongs to one gateway process',
    )
  })

  test('guichet worker refuses to start with another sealing key than the gateways', async () => {
    const { code, err } = await runWorker({ ...settings, GUICHET_SEALING_KEY: newKey() })
    expect(code).toBe(1)
    expect(err).toContain('GUICHET_SEALING_KEY: cannot decrypt the data in this database')
  })

  test('guichet worker names an option that it does not have, and ends with code 2', async () => {
    const { shell } = commandLineOf(() => ({ issuer: '', dataDir: folder }))
    expect(await shell(`node ${WORKER.join(' ')} --ports 1`)).toMatchObject({
      code: 2,
      err: expect.stringContaining('--ports') as string,
    })
    expect((await shell(`node ${WORKER.join(' ')} --help`)).out).toContain('guichet worker --port 4001')
  })
})
