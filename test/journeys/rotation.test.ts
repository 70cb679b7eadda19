import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type App } from '../../src/app.ts'
import { readConfig } from '../../src/config.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createWorld } from '../../src/kernel/world.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { SEALED_COLUMNS } from '../../src/storage/reseal.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { holdRows } from '../support/locked-rows.ts'
import { patientTimers } from '../support/patient-time.ts'

const newKey = () => randomBytes(32).toString('base64url')
const [OLD, NEW, NEXT] = [newKey(), newKey(), newKey()]
let gateway: TestGateway
/** The newest key at the moment. */
let last = NEXT
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_SEALING_KEY: OLD }, lines: ['northbank'] })
})
afterAll(() => gateway.close())

/** The same installation, as a process with these keys sees it. */
async function withKeys<T>(env: Record<string, string>, work: (app: App) => Promise<T>): Promise<T> {
  const config = readConfig({ GUICHET_DATA_DIR: gateway.dataDir, DATABASE_URL: gateway.database.url, ...env })
  const database = openDatabase(gateway.database.url, 4, patientTimers)
  const log = createLog(
    'error',
    () => new Date(),
    () => undefined,
  )
  try {
    const http = createOutboundHttp(config.egress, undefined, { timers: patientTimers })
    return await work(await createApp(config, { ...createWorld(log, http), timers: patientTimers }, database))
  } finally {
    await database.close()
  }
}

describe('a sealing key', () => {
  test('a sealing key is replaced while the processes run, without errors or loss, and the old key can be removed', async () => {
    await gateway.customer('ada', ['northbank', 'rheinbank'])
    const [row] = await gateway.database.query<{ customer_id: string; account_id: string }>(
      "select c.customer_id, s.account_id from consent c join consent_account s on s.consent_id = c.id where c.status = 'ACTIVE' order by c.created_at, s.account_id limit 1",
    )
    const caller = { kind: 'CUSTOMER', customerId: row!.customer_id, clientId: 'chatterbox' } as never
    const look = async ({ services: { consents, accounts } }: App) => {
      const { grants } = await consents.findShared(caller)
      const grant = grants.find(({ accountIds }) => accountIds.includes(row!.account_id))!
      const balances = await consents.callBank(
        [grant.open('accounts:read', row!.account_id, new Date())!],
        (bank, access, [ref]) => bank.balances(access, ref!, null),
      )
      const context = { caller, requestId: 'req_test', presence: 'CUSTOMER_PRESENCE_REQUIRED', customer: null } as const
      const ids = (await accounts.list(caller, context)).map(({ publicId }) => publicId)
      return { balances: balances.balances.length > 0, ids, name: consents.subjectOf('chatterbox', row!.customer_id) }
    }
    const before = await look(gateway.app)
    const both = { GUICHET_SEALING_KEY: NEW, GUICHET_PREVIOUS_SEALING_KEYS: OLD }
    await withKeys(both, async (app) => {
      expect(await app.reseal.countRemainingColumns()).toBe(SEALED_COLUMNS.length)
      // Requests go on while it is done, in a process of either kind.
      const [during, still] = await Promise.all([look(app), look(gateway.app), app.reseal.resealBatch(3)])
      expect([during, still]).toEqual([before, before])
      while (await app.reseal.resealBatch(100));
      expect(await app.reseal.countRemainingColumns()).toBe(0)
      expect(await look(app)).toEqual(before)
    })
    expect(await withKeys({ GUICHET_SEALING_KEY: NEW }, look)).toEqual(before)
  })

  test('a sealing key is replaced while a bank renews its tokens, and the new ones are not lost', async () => {
    const [row] = await gateway.database.query<{ customer_id: string; account_id: string }>(
      "select c.customer_id, a.id as account_id from consent c join consent_account s on s.consent_id = c.id join account a on a.id = s.account_id where a.bank_id = 'northbank'",
    )
    const tokenOf = async ({ services: { consents } }: App): Promise<string> => {
      const caller = { kind: 'CUSTOMER', customerId: row!.customer_id, clientId: 'chatterbox' } as never
      const { grants } = await consents.findShared(caller)
      const grant = grants.find(({ accountIds }) => accountIds.includes(row!.account_id))!
      return consents.callBank([grant.open('accounts:read', row!.account_id, new Date())!], (_bank, { accessToken }) =>
        Promise.resolve(accessToken),
      )
    }
    const line = gateway.lines['northbank']!
    const renewals = (): number => line.requests.filter((request) => request === 'POST /token').length
    const both = { GUICHET_SEALING_KEY: NEXT, GUICHET_PREVIOUS_SEALING_KEYS: NEW }
    const before = await withKeys(both, tokenOf)
    await gateway.database.query("update connection set token_expires_at = now() - interval '1 minute'")
    line.requests.length = 0
    line.fault = { kind: 'DELAY', ms: 500 }
    const renewed = await withKeys(both, async (app) => {
      const token = tokenOf(app)
      await expect.poll(renewals).toBe(1)
      while (await app.reseal.resealBatch(100));
      return token
    })
    line.fault = { kind: 'NONE' }
    expect(renewed).not.toBe(before)
    expect(await withKeys({ GUICHET_SEALING_KEY: NEXT }, tokenOf)).toBe(renewed)
    expect(renewals()).toBe(1)
  })

  test('values of an old sealing key are searched again after a pass that found some, and at each start', async () => {
    const [now, next] = [NEXT, newKey()]
    const both = { GUICHET_SEALING_KEY: next, GUICHET_PREVIOUS_SEALING_KEYS: now }
    /** As a process does that does not know of the new key yet. */
    const sealWithOlder = () =>
      gateway.database.query(
        `insert into shared_secret (name, sealed, created_at) values ('another', $1, now())
         on conflict (name) do update set sealed = excluded.sealed`,
        [older],
      )
    const sealedNow = async () =>
      (await gateway.database.query<{ sealed: string }>("select sealed from shared_secret where name = 'another'"))[0]!
        .sealed
    const older = (await gateway.database.query<{ sealed: string }>('select sealed from shared_secret limit 1'))[0]!
      .sealed
    await withKeys(both, async (app) => {
      expect(await app.reseal.resealBatch(10_000)).toBe(true)
      expect(await app.reseal.countRemainingColumns()).toBeGreaterThan(0)
      await sealWithOlder()
      while (await app.reseal.resealBatch(10_000));
      expect(await app.reseal.countRemainingColumns()).toBe(0)
      expect(await sealedNow()).not.toBe(older)
      await sealWithOlder()
    })
    await withKeys(both, async (app) => {
      await app.reseal.start()
      expect(await app.reseal.countRemainingColumns()).toBe(SEALED_COLUMNS.length)
      while (await app.reseal.resealBatch(10_000));
      expect(await sealedNow()).not.toBe(older)
    })
    await gateway.database.query("delete from shared_secret where name = 'another'")
    last = next
  })

  test('resealing does not overwrite a value that was stored concurrently', async () => {
    const both = { GUICHET_SEALING_KEY: newKey(), GUICHET_PREVIOUS_SEALING_KEYS: last }
    const [{ id }] = (await gateway.database.query<{ id: string }>('select id from connection limit 1')) as [
      { id: string },
    ]
    const [{ sealed }] = (await gateway.database.query<{ sealed: string }>(
      'select sealed_access as sealed from connection where id = $1',
      [id],
    )) as [{ sealed: string }]
    const renewed = `${sealed}renewed`
    await withKeys(both, async (app) => {
      const held = await holdRows(gateway, 'select 1 from connection where id = $1 for update', [id])
      await held.change('update connection set sealed_access = $2 where id = $1', [id, renewed])
      const working = app.reseal.resealBatch(100)
      await held.waiting(1)
      await held.release()
      await working
      const [row] = await gateway.database.query('select sealed_access as sealed from connection where id = $1', [id])
      expect(row).toEqual({ sealed: renewed })
      await gateway.database.query('update connection set sealed_access = $2 where id = $1', [id, sealed])
    })
  })

  test('a gateway does not start if it lacks the sealing key of its data', async () => {
    await expect(withKeys({ GUICHET_SEALING_KEY: newKey() }, () => Promise.resolve())).rejects.toThrow(
      /key that is not configured/,
    )
  })

  test('the resealing list has every sealed column', () => {
    const schema = readFileSync(join(import.meta.dirname, '../../prisma/schema.prisma'), 'utf8')
    const models = [...schema.matchAll(/^model \w+ \{([\s\S]*?)^\}/gm)].map(([, body]) => body!)
    const columns = models.flatMap((body) => {
      const table = /@@map\("(\w+)"\)/.exec(body)![1]!
      return [...body.matchAll(/^ {2}(sealed\w*)\s+String\??\s*(?:@map\("(\w+)"\))?/gm)].map(
        ([, field, column]) => `${table}.${column ?? field!}`,
      )
    })
    expect(SEALED_COLUMNS.map(([table, column]) => `${table}.${column}`).sort()).toEqual(columns.sort())
  })
})
