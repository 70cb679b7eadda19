import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DAY_MS, systemClock } from '../../src/kernel/clock.ts'
import { createIdempotency } from '../../src/storage/idempotency.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { recordStatements } from '../support/statements.ts'

let gateway: TestGateway
let database: Database
beforeAll(async () => {
  // A gateway without a worker: each test decides what is done, and when.
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  database = openDatabase(gateway.database.url, 4)
  await gateway.customer('ada', ['northbank'])
})
afterAll(async () => {
  await database.close()
  await gateway.close()
})

/** Adds `count` copies of ada's consent, with IDs of `id` and a number, a status, and `at` as the interval until they expire. */
async function addCopies(id: string, count: number, status: string, at: string): Promise<void> {
  await gateway.database.query(
    `insert into consent (id, client_id, customer_id, bank_id, status, scopes, purposes, expires_at, created_at, oauth_grant_id)
     select $1 || n, client_id, customer_id, bank_id, $2, scopes, purposes, now() + $3::interval, now() + $3::interval, $1 || n
     from (select * from consent where id like 'cons%' limit 1) as one, generate_series(1, $4::int) as n`,
    [id, status, at, count],
  )
}

const countByStatus = async (id: string): Promise<Record<string, number>> =>
  Object.fromEntries(
    (
      await gateway.database.query<{ status: string; count: number }>(
        'select status, count(*)::int as count from consent where id like $1 group by status',
        [`${id}%`],
      )
    ).map(({ status, count }) => [status, count]),
  )

describe('the work of housekeeping', () => {
  test('one round ends every expired consent, for any number of them, and no other', async () => {
    await addCopies('due_', 250, 'ACTIVE', '-1 minute')
    await addCopies('live_', 3, 'ACTIVE', '1 hour')
    expect(await gateway.app.services.consents.jobs.endExpired()).toBe(250)
    expect(await countByStatus('due_')).toEqual({ EXPIRED: 250 })
    expect(await countByStatus('live_')).toEqual({ ACTIVE: 3 })
  })

  test('a consent that cannot be ended does not prevent the end of the others', async () => {
    await addCopies('stuck_', 3, 'ACTIVE', '-1 minute')
    await gateway.database.query(`
      create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
      create trigger refuse before update on consent for each row when (old.id = 'stuck_1') execute function refuse()`)
    expect(await gateway.app.services.consents.jobs.endExpired()).toBe(2)
    expect(await countByStatus('stuck_')).toEqual({ ACTIVE: 1, EXPIRED: 2 })
    expect(gateway.log.some((line) => line.includes('consent.end_failed') && line.includes('stuck_1'))).toBe(true)
    await gateway.database.query('drop trigger refuse on consent')
  })

  test('a round stops between two consents when the process stops', async () => {
    await addCopies('late_', 5, 'ACTIVE', '-1 minute')
    let checkCount = 0
    expect(await gateway.app.services.consents.jobs.endExpired(() => ++checkCount <= 2)).toBe(2)
    await gateway.app.services.consents.jobs.endExpired()
  })

  test('one round rejects every abandoned opt-in, for any number of them', async () => {
    await addCopies('abandoned_', 130, 'PENDING', '-1 hour')
    expect(await gateway.app.services.consents.jobs.rejectAbandoned()).toBe(130)
    expect(await countByStatus('abandoned_')).toEqual({ REJECTED: 130 })
  })

  test('expired rows are deleted in statements of 1,000 rows that skip rows locked by other transactions', async () => {
    await gateway.database.query(
      `insert into idempotency_record (client_id, mutation, idempotency_key, input_digest, result_id, created_at)
       select 'client', 'mutation', n, '', '', case when n <= 2500 then now() - interval '2 days' else now() end
       from generate_series(1, 2510) as n`,
    )
    const recorded = recordStatements()
    const ownDatabase = openDatabase(gateway.database.url, 1)
    const deleteOld = () => createIdempotency(ownDatabase, systemClock).deleteOlderThan(new Date(Date.now() - DAY_MS))
    const held = Promise.withResolvers()
    const isHeld = Promise.withResolvers()
    const holding = database.transaction(async (tx) => {
      await (tx as unknown as Database['tables'])
        .$queryRaw`select 1 from idempotency_record where idempotency_key = '7' for update`
      isHeld.resolve(true)
      await held.promise
    })
    await isHeld.promise
    expect(await deleteOld()).toBe(2_499)
    held.resolve(true)
    await holding
    expect(await deleteOld()).toBe(1)
    expect(await gateway.database.query('select idempotency_key from idempotency_record')).toHaveLength(10)
    expect([...recorded.texts].filter((text) => text.includes('idempotency_record')).join()).toMatch(/limit 1000\b/)
    recorded.stop()
    await ownDatabase.close()
  })

  test('sign-ins that ended a day ago are deleted, except those that must still be ended at their bank', async () => {
    await gateway.database.query(
      `insert into bank_sign_in (state_digest, consent_id, connector_id, interaction_uid, sealed_data, expires_at)
       select name, consent_id, connector_id, name, sealed, now() - since::interval
       from (select consent_id, connector_id from bank_sign_in limit 1) as one,
         (values ('old', '', '25 hours'), ('unfinished', 'x', '25 hours'), ('new', '', '1 hour')) as made (name, sealed, since)`,
    )
    expect(await gateway.app.services.consents.jobs.deleteEndedSignIns()).toBe(1)
    const rows = await gateway.database.query<{ name: string }>(
      "select state_digest as name from bank_sign_in where state_digest in ('old', 'unfinished', 'new') order by 1",
    )
    expect(rows.map(({ name }) => name)).toEqual(['new', 'unfinished'])
  })

  test('housekeeping with one sealing key scans no column, and /metrics counts no table', async () => {
    const recorded = recordStatements()
    expect(await gateway.app.reseal.resealBatch(500)).toBe(false)
    expect(await gateway.app.reseal.countRemainingColumns()).toBe(0)
    await (await fetch(gateway.app.metricsUrl()!)).text()
    recorded.stop()
    const sent = [...recorded.texts]
    expect(sent.filter((text) => /reseal_progress|from (account|snapshot) where/i.test(text))).toEqual([])
    expect(sent.filter((text) => /count\(\*\)/i.test(text) && !text.includes('limit'))).toEqual([])
  })
})
