import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { migrate } from '../../src/storage/migrate.ts'

const migrations = join(import.meta.dirname, '../../prisma/migrations')
const folder = mkdtempSync(join(tmpdir(), 'guichet-migrations-'))
const name = `guichet_test_${randomBytes(6).toString('hex')}`
const url = new URL(inject('serverUrl'))
url.pathname = `/${name}`
const admin = new pg.Client({ connectionString: inject('serverUrl') })
let database: pg.Client

beforeAll(async () => {
  await admin.connect()
  await admin.query(`create database ${name}`)
  const earlier = readdirSync(migrations)
    .sort()
    .filter((one) => /^\d/.test(one))
  for (const one of earlier.slice(
    0,
    earlier.findIndex((entry) => entry.endsWith('_deliveries_once_and_fair')),
  ))
    cpSync(join(migrations, one), join(folder, one), { recursive: true })
  await migrate(url.href, folder)
  database = new pg.Client({ connectionString: url.href })
  await database.connect()
})
afterAll(async () => {
  await database.end()
  await admin.query(`drop database ${name} with (force)`)
  await admin.end()
  rmSync(folder, { recursive: true, force: true })
})

test('the migration leaves one delivery per alert and endpoint, the delivered one first, with all attempts', async () => {
  // Rows without their surroundings: only deliveries and attempts matter here.
  await database.query("set session_replication_role = 'replica'")
  const deliveries = [
    ['a-pending', 'alert-1', 'endpoint-1', 'consent-1', 'PENDING', 7],
    ['b-delivered', 'alert-1', 'endpoint-1', 'consent-2', 'DELIVERED', 2],
    ['c-dropped', 'alert-2', 'endpoint-1', 'consent-1', 'DROPPED', 0],
    ['d-pending', 'alert-2', 'endpoint-1', 'consent-2', 'PENDING', 9],
    ['e-alone', 'alert-1', 'endpoint-2', 'consent-1', 'PENDING', 3],
  ]
  for (const row of deliveries)
    await database.query(
      `insert into delivery (id, alert_id, endpoint_id, consent_id, state, attempt_count, next_attempt_at)
       values ($1, $2, $3, $4, $5, $6, now())`,
      row,
    )
  for (const [delivery, number] of [
    ['a-pending', 4],
    ['a-pending', 7],
    ['b-delivered', 1],
    ['b-delivered', 2],
    ['e-alone', 3],
  ])
    await database.query(
      `insert into attempt (id, delivery_id, number, at, outcome) values ($1 || $2::text, $1, $2::int, now(), 'REFUSED')`,
      [delivery, number],
    )
  await migrate(url.href, migrations)
  const { rows } = await database.query<{ id: string; attempt_count: number; numbers: number[] | null }>(
    `select delivery.id, attempt_count, array_agg(number order by number) filter (where number is not null) as numbers
     from delivery left join delivery_attempt on delivery_id = delivery.id group by delivery.id order by delivery.id`,
  )
  expect(rows).toEqual([
    { id: 'b-delivered', attempt_count: 4, numbers: [1, 2, 3, 4] },
    { id: 'd-pending', attempt_count: 0, numbers: null },
    { id: 'e-alone', attempt_count: 1, numbers: [3] },
  ])
  await expect(
    database.query(
      `insert into delivery (id, alert_id, webhook_endpoint_id, consent_id, status, next_attempt_at)
       values ('again', 'alert-1', 'endpoint-2', 'consent-9', 'PENDING', now())`,
    ),
  ).rejects.toThrow('delivery_alert_id_webhook_endpoint_id_key')
})
