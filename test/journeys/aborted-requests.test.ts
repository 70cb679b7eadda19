import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAuthorizationHeaders } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let blocker: pg.Client
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_MAX_CONCURRENT_REQUESTS: '25' } })
  blocker = new pg.Client({ connectionString: gateway.database.url })
  await blocker.connect()
})
afterAll(async () => {
  await blocker.end()
  await gateway.close()
})

const count = async (sql: string): Promise<number> => (await gateway.database.query<{ n: number }>(sql))[0]!.n
const readCount = (): Promise<number> => count("select count(*)::int n from ledger_entry where action = 'READ_ALERTS'")

test('a GraphQL request whose sender leaves before its authentication is not executed and occupies no slot', async () => {
  const token = await gateway.customer('bo', ['northbank'])
  const url = `${gateway.issuer}/graphql`
  const query = '{ customer { alerts { nodes { id } } } }'
  const send = async (signal?: AbortSignal): Promise<number> =>
    fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(await createAuthorizationHeaders(token, 'POST', url)) },
      body: JSON.stringify({ query }),
      ...(signal && { signal }),
    }).then(
      (answer) => answer.status,
      () => 0,
    )
  expect(await send()).toBe(200)
  const before = await eventually('the entry of that read', async () => (await readCount()) || undefined)
  for (let round = 0; round < 2; round++) await leaveWhileWaiting()
  expect(await send()).toBe(200)
  await new Promise((resolve) => setTimeout(resolve, 500))
  expect(await readCount()).toBe(before + 1)

  /** Twenty requests that wait for the database when their senders leave. */
  async function leaveWhileWaiting(): Promise<void> {
    await blocker.query('begin')
    // Every proof of possession is stored here, once.
    await blocker.query('lock table used_proof in access exclusive mode')
    const leaving = new AbortController()
    const left = Array.from({ length: 20 }, () => send(leaving.signal))
    await eventually(
      'requests that wait',
      async () =>
        (await count(
          "select count(*)::int n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )) > 0,
    )
    await new Promise((resolve) => setTimeout(resolve, 300))
    leaving.abort()
    expect(new Set(await Promise.all(left))).toEqual(new Set([0]))
    await new Promise((resolve) => setTimeout(resolve, 200))
    await blocker.query('rollback')
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
})
