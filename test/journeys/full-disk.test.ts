import { afterAll, beforeAll, expect, test } from 'vitest'
import { startOfHour } from '../../src/kernel/clock.ts'
import { signEvent } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

/** Makes every insert and update fail as PostgreSQL fails if no file can grow. Returns what frees space. */
async function fillDisk(): Promise<() => Promise<void>> {
  const { query } = gateway.database
  await query(`
    create function fail_as_full() returns trigger language plpgsql as
      $$ begin raise exception 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$`)
  const tables = await query<{ name: string }>(
    "select relname::text as name from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace",
  )
  // Each in a transaction of its own: one that locks all of them could wait for a job that waits for it.
  for (const { name } of tables)
    await query(
      `create trigger fail_as_full before insert or update on "${name}" for each row execute function fail_as_full()`,
    )
  return async () => {
    for (const { name } of tables) await query(`drop trigger fail_as_full on "${name}"`)
    await query('drop function fail_as_full')
  }
}

/** Pushes an event of a bank about the account. */
async function push(account: string): Promise<Response> {
  const { token, url } = await signEvent(gateway, 'northbank', {
    claims: {
      sub_id: { format: 'opaque', id: account },
      events: {
        'urn:guichet:events:security-alert': {
          account,
          type: 'CARD_SECURITY',
          severity: 'URGENT',
          requested_action: 'CALL_BANK',
          occurred_at: startOfHour(new Date()).getTime() / 1_000,
        },
      },
    },
  })
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/secevent+jwt' }, body: token })
}

test('while the disk of the database is full, events get 503 and public reads continue, until there is space again', async () => {
  const customer = await gateway.customer('bo', ['northbank'])
  const reads = ['{ banks { nodes { id availability } } }', '{ bank(id: "northbank") { name outages { id } } }']
  const before = (await gateway.received()).length
  const free = await fillDisk()
  for (let round = 0; round < 3; round++) {
    const refused = await push('nb-10003')
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    for (const query of reads) expect(await gateway.ask(undefined, query)).not.toHaveProperty('errors')
  }
  // What customers share is shown only after the read is in the ledger.
  const shown = gateway.ask(customer, '{ customer { accounts { nodes { id } } } }')
  await expect(shown).rejects.toThrow(/503 and DATABASE_UNAVAILABLE/)
  expect((await fetch(`${gateway.issuer}/readyz`)).status).toBe(200)
  expect(gateway.log.join('\n')).toContain('bank_event.write_failed')

  await free()
  expect((await push('nb-10003')).status).toBe(202)
  await eventually('the webhook', async () => (await gateway.received()).length === before + 1)
})
