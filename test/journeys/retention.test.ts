import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DAY_MS } from '../../src/kernel/clock.ts'
import { EXPIRING_TABLES, RETENTION, type ExpiringTable } from '../../src/kernel/retention.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { recordStatements, type Statements } from '../support/statements.ts'

let gateway: TestGateway
let statements: Statements
beforeAll(async () => {
  statements = recordStatements()
  gateway = await startGateway()
})
afterAll(async () => {
  await gateway.close()
  statements.stop()
})

/** Runs the scheduled job `retention` once. */
async function runRetention(): Promise<void> {
  const finishedAt = async () =>
    (
      await gateway.database.query<{ at: string | null }>(
        `select last_finished_at::text as at from scheduled_job where name = 'retention'`,
      )
    )[0]?.at
  await eventually('the end of an earlier run', async () => {
    const running = `select 1 from scheduled_job where name = 'retention' and claimed_until > now()`
    return (await gateway.database.query(running)).length === 0
  })
  const before = await finishedAt()
  await gateway.database.query(`update scheduled_job set next_run_at = '-infinity' where name = 'retention'`)
  await eventually('the end of the run', async () => (await finishedAt()) !== before)
}

/** Rows of a table, by a column. */
const valuesOf = async (table: string, column: string): Promise<string[]> =>
  (await gateway.database.query<{ value: string }>(`select ${column} as value from ${table} order by ${column}`)).map(
    ({ value }) => value,
  )

/** An alert that was delivered, and everything that it left, as if it had come so long ago. */
async function storeOldAlert(name: string, days: number): Promise<void> {
  const at = new Date(Date.now() - days * DAY_MS)
  const { query } = gateway.database
  const [account] = await query<{ id: string; customer: string; endpoint: string; consent: string }>(
    `select account.id, account.customer_id as customer, (select id from webhook_endpoint limit 1) as endpoint,
       (select id from consent limit 1) as consent from account limit 1`,
  )
  const { id, customer, endpoint, consent } = account!
  await query(
    `insert into alert (id, account_id, type, severity, requested_action, bank_id, customer_id, occurred_at, created_at, shown_at)
     values ($1, $2, 'CARD_SECURITY', 'URGENT', 'NONE', 'northbank', $3, $4, $4, $4)`,
    [name, id, customer, at],
  )
  await query(`insert into alert_read (alert_id, client_id, read_at) select $1, client_id, $2 from consent limit 1`, [
    name,
    at,
  ])
  await query(
    `insert into delivery (id, alert_id, webhook_endpoint_id, consent_id, status, next_attempt_at, created_at, ended_at)
     values ($1, $1, $2, $3, 'DELIVERED', $4, $4, $4)`,
    [name, endpoint, consent, at],
  )
  await query(
    `insert into delivery_attempt (id, delivery_id, number, attempted_at, http_status, outcome) values ($1, $1, 1, $2, 204, 'ACCEPTED')`,
    [name, at],
  )
  await query(`insert into bank_event (issuer, jti_digest, received_at) values ('test', $1, $2)`, [name, at])
  await query(`insert into ledger_entry (occurred_at, action, subject_id) values ($2, 'ALERT_RECEIVED', $1)`, [
    name,
    at,
  ])
}

describe('the retention of tables', () => {
  test('every table of the database has a retention, and no other name has one', async () => {
    const tables = await valuesOf(
      `(select relname::text as name from pg_class
        where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace and relname !~ '^_') as tables`,
      'name',
    )
    expect(Object.keys(RETENTION).sort()).toEqual(tables)
  })

  test('one run of the job deletes from every table with a time, each by an own statement', async () => {
    await runRetention()
    const deletedFrom = (table: ExpiringTable): boolean =>
      [...statements.texts].some((text) => text.includes(`(delete from ${table} where ctid`))
    expect(EXPIRING_TABLES.length).toBeGreaterThan(15)
    expect(EXPIRING_TABLES.filter((table) => !deletedFrom(table))).toEqual([])
  })

  test('alerts and deliveries go after 90 days, attempts after 30, bank events after 8, and all before that stay', async () => {
    await gateway.customer('ada', ['northbank'])
    for (const days of [7.9, 8.1, 29.9, 30.1, 89.9, 90.1, 729.9, 730.1]) await storeOldAlert(`old-${days}`, days)
    await runRetention()
    const left = async (table: string, column: string) =>
      (await valuesOf(table, column)).filter((id) => id.startsWith('old-'))
    const upTo90 = ['old-29.9', 'old-30.1', 'old-7.9', 'old-8.1', 'old-89.9']
    expect(await left('delivery', 'id')).toEqual(upTo90)
    expect(await left('alert', 'id')).toEqual(upTo90)
    expect(await left('alert_read', 'alert_id')).toEqual(upTo90)
    expect(await left('delivery_attempt', 'id')).toEqual(['old-29.9', 'old-7.9', 'old-8.1'])
    expect(await left('bank_event', 'jti_digest')).toEqual(['old-7.9'])
    expect(await left(`ledger_entry where subject_id like 'old-%'`, 'subject_id')).toEqual([
      'old-29.9',
      'old-30.1',
      'old-7.9',
      'old-729.9',
      'old-8.1',
      'old-89.9',
      'old-90.1',
    ])
  })

  test('the job waits for no lock and skips a row that another transaction uses', async () => {
    for (const name of ['used', 'unused']) await storeOldAlert(name, 100)
    const using = new pg.Client({ connectionString: gateway.database.url })
    await using.connect()
    await using.query(
      `begin; select from delivery where id = 'used' for update; select from bank_event where jti_digest = 'used' for update`,
    )
    await runRetention()
    expect(await valuesOf(`delivery where id like '%used'`, 'id')).toEqual(['used'])
    expect(await valuesOf(`alert where id like '%used'`, 'id')).toEqual(['used'])
    expect(await valuesOf(`bank_event where jti_digest like '%used'`, 'jti_digest')).toEqual(['used'])
    await using.end()
    await runRetention()
    expect(await valuesOf(`alert where id like '%used'`, 'id')).toEqual([])
  })

  test('the database refuses to delete a ledger entry that is younger than 730 days', async () => {
    for (const days of [0, 729.9]) {
      await storeOldAlert(`entry-${days}`, days)
      await expect(
        gateway.database.query('delete from ledger_entry where subject_id = $1', [`entry-${days}`]),
      ).rejects.toThrow(/only grows/)
    }
  })
})
