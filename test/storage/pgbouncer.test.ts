import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDatabase } from '../../src/storage/database.ts'
import {
  ALL_SESSION_SETTINGS,
  setRoleDefaults,
  hasSharedSessions,
  findWrongSettings,
} from '../../src/storage/pooler.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { HAS_PGBOUNCER, startPgbouncer, type Pgbouncer } from '../support/pgbouncer.ts'
import { newPlace, startProcess } from '../support/process.ts'
import { startPeerGateway, type PeerGateway } from '../support/peer-gateway.ts'

// Without PgBouncer on the machine all of this is skipped; in CI it fails.
describe.skipIf(!HAS_PGBOUNCER)('a start behind PgBouncer in transaction mode', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-pooled-'))
  let database: TestDatabase
  beforeAll(async () => {
    database = await createTestDatabase()
  })
  afterAll(async () => {
    await database.drop()
    rmSync(dataDir, { recursive: true, force: true })
  })

  test.each([1, 4])(
    'a gateway without a direct address ends and names the missing setting, with %i server connections',
    async (size) => {
      const pooler = await startPgbouncer('transaction', size)
      const started = startProcess(await newPlace(dataDir), {
        DATABASE_URL: pooler.through(database.url),
        GUICHET_SANDBOX_BANKS: 'off',
      })
      await expect(started).rejects.toThrow(/ended with 1: [^]*set DATABASE_DIRECT_URL to PostgreSQL itself/)
      await pooler.stop()
    },
  )

  test('a gateway whose direct address leads to the pooler ends and names the setting', async () => {
    const pooler = await startPgbouncer('transaction', 4)
    const started = startProcess(await newPlace(dataDir), {
      DATABASE_URL: pooler.through(database.url),
      DATABASE_DIRECT_URL: pooler.through(database.url),
      GUICHET_SANDBOX_BANKS: 'off',
    })
    await expect(started).rejects.toThrow(/DATABASE_DIRECT_URL: leads to a pooler that shares sessions/)
    await pooler.stop()
  })

  test('a LISTEN fails if the two addresses lead to different databases', async () => {
    const other = await createTestDatabase()
    const both = openDatabase({ url: other.url, directUrl: database.url }, 2)
    await expect(both.listen('guichet_signal', () => undefined)).rejects.toThrow(/must lead to the same database/)
    await both.close()
    await other.drop()
  })

  test('a pooler in session mode is not mistaken for one that shares sessions', async () => {
    const pooler = await startPgbouncer('session', 10)
    expect(await hasSharedSessions(pooler.through(database.url))).toBe(false)
    expect(await hasSharedSessions(database.url)).toBe(false)
    await pooler.stop()
  })

  test("sessions that the pooler opens have the gateway's settings, for any defaults of the role", async () => {
    const [{ name }] = (await database.query<{ name: string }>('select current_database() as name')) as [
      { name: string },
    ]
    for (const [setting, value] of [
      ['TimeZone', 'Europe/Berlin'],
      ['default_transaction_isolation', 'serializable'],
      ['statement_timeout', '50ms'],
      ['search_path', 'elsewhere'],
    ])
      await database.query(`alter role current_user in database ${name} set ${setting} to '${value}'`)
    const pooler = await startPgbouncer('transaction', 4)
    const url = pooler.through(database.url)
    await setRoleDefaults(url, ALL_SESSION_SETTINGS)
    await eventually('sessions with our settings', async () => (await findWrongSettings(url)).length === 0)
    await pooler.stop()
    const again = await startPgbouncer('transaction', 4)
    expect(await findWrongSettings(again.through(database.url))).toEqual([])
    await again.stop()
  })
})

describe.skipIf(!HAS_PGBOUNCER)('two gateways behind PgBouncer with four server connections', () => {
  const QUERY = '{ customer { currentConsents { id } accounts { nodes { id } } } }'
  let pooler: Pgbouncer
  let gateway: TestGateway
  let second: PeerGateway
  beforeAll(async () => {
    pooler = await startPgbouncer('transaction', 4)
    const reach = (directUrl: string) => ({ url: pooler.through(directUrl), directUrl })
    gateway = await startGateway({ reach })
    second = await startPeerGateway(gateway, reach(gateway.database.url))
  })
  afterAll(async () => {
    await second.close()
    await gateway.close()
    await pooler.stop()
  })

  test('a customer can opt in, and a platform gets exact balances', async () => {
    const token = await gateway.customer('ada', ['northbank', 'rheinbank'])
    const answer = await gateway.ask(
      token,
      '{ customer { accounts { nodes { balances { ... on ExactBalance { value { amount } } } } } } }',
    )
    expect(answer.errors).toBeUndefined()
    const { nodes } = (
      answer.data!['customer'] as { accounts: { nodes: { balances: { value?: { amount: string } }[] }[] } }
    ).accounts
    expect(nodes.length).toBeGreaterThan(0)
    for (const { balances } of nodes) expect(balances[0]!.value?.amount).toMatch(/^-?\d+\.\d\d$/)
  })

  test('two hundred concurrent requests cause no internal error', async () => {
    const token = await gateway.customer('bo', ['northbank'], { clientId: 'chatterbox-bearer' })
    const responses = await Promise.all(Array.from({ length: 200 }, () => second.send(token, QUERY)))
    const failed = responses.filter(
      ({ status, body }) =>
        status === 500 || JSON.stringify(body).includes('INTERNAL') || (status === 200 && body.errors),
    )
    expect(failed.map(({ status, body }) => [status, body])).toEqual([])
    expect(responses.filter(({ status }) => status === 200).length).toBeGreaterThan(0)
  })

  test('a consent that one gateway revokes is refused by the other immediately', async () => {
    const token = await gateway.customer('ada', ['northbank'], { clientId: 'chatterbox-bearer' })
    await second.send(token, QUERY)
    const { status, body } = await second.send(token, QUERY)
    expect(status).toBe(200)
    const { currentConsents } = body.data!['customer'] as { currentConsents: [{ id: string }] }
    const [consent] = currentConsents
    await gateway.app.services.consents.revoke(consent.id, 'CUSTOMER_AT_GATEWAY')
    await eventually('the refusal', async () => (await second.send(token, QUERY)).status === 401)
  })

  test('jobs under one advisory lock run one after the other, and none waits forever', async () => {
    const [one, other] = [0, 1].map(() =>
      openDatabase({ url: pooler.through(gateway.database.url), directUrl: gateway.database.url }, 2),
    )
    let running = 0
    const job = async (): Promise<number> => {
      running++
      expect(running).toBe(1)
      await new Promise((resolve) => setTimeout(resolve, 30))
      return running--
    }
    await Promise.all([one, other, one, other, one].map((database) => database!.withAdvisoryLock('job', job)))
    const held = await gateway.database.query(
      "select 1 from pg_locks where locktype = 'advisory' and objid = hashtext('job')::oid",
    )
    expect(held).toEqual([])
    await Promise.all([one!.close(), other!.close()])
  })
})
