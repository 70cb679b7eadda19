import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { deleteUnsharedLines } from '../../src/modules/accounts/balance-line-store.ts'
import { deleteUnsharedSnapshots } from '../../src/modules/accounts/store.ts'
import { deleteReadState } from '../../src/modules/alerts/read-state-store.ts'
import { responseStore } from '../../src/modules/alerts/responses/store.ts'
import { claimStore } from '../../src/modules/deliveries/claim-store.ts'
import { settlementStore } from '../../src/modules/deliveries/settlement-store.ts'
import { deliveryStore } from '../../src/modules/deliveries/store.ts'
import type { Transaction } from '../../src/kernel/transaction.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { createDeliveryTools, registerOnlyEndpoint } from '../support/delivery-tools.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { holdRows } from '../support/locked-rows.ts'

// Two statements that lock the same rows in different orders can each have what the other waits for. PostgreSQL then ends one of
// them. A saved balance, a settled delivery or the end of a consent would have to be repeated.

const ACCOUNTS = ['nb-10001', 'nb-10002']

let gateway: TestGateway
let database: Database
let consent: { id: string; clientId: string; customerId: string }

beforeAll(async () => {
  // Without a worker: no other statement locks these rows.
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  await gateway.customer('ada', ['northbank'])
  database = openDatabase(gateway.database.url, 4)
  ;[consent] = (await gateway.database.query(
    `select id, client_id as "clientId", customer_id as "customerId" from consent where status = 'ACTIVE'`,
  )) as [typeof consent]
  await registerOnlyEndpoint(gateway, `${gateway.sandbox.platform}/lock-order`)
  const { newDeliveries } = createDeliveryTools(gateway)
  for (const account of [...ACCOUNTS, ...ACCOUNTS]) await newDeliveries({ account })
  await gateway.database.query("update delivery set claimed_until = '2100-01-01'")
  await gateway.database.query(
    'insert into alert_read (alert_id, client_id, read_at) select id, $1, created_at from alert',
    [consent.clientId],
  )
  // So many that no plan returns them in the order of their keys by chance.
  await gateway.database.query(`
    with added as (
      insert into account select (jsonb_populate_record(account,
        jsonb_build_object('id', id || n, 'ref_digest', ref_digest || n))).* from account cross join generate_series(1, 8) as n
      returning id)
    insert into consent_account (consent_id, account_id) select '${consent.id}', id from added`)
  await gateway.database.query(
    `insert into snapshot (bank_account_key, claimed_until)
     select bank_id || '/' || ref_digest, '2100-01-01' from account on conflict do nothing`,
  )
  await gateway.database.query(
    `insert into balance_line (id, client_id, account_id, disclosure_key, sealed, created_at, check_due_at)
     select 'line_' || n || account.id, $1, account.id, account.id, 'x', now(), '2100-01-01'
     from account cross join generate_series(1, 2) as n`,
    [consent.clientId],
  )
})
afterAll(async () => {
  await database.close()
  await gateway.close()
})

interface Writer {
  readonly what: string
  readonly table: string
  readonly key: string
  run(): Promise<unknown>
}

const inTransaction = (work: (tx: Transaction, consentId: string, now: Date) => Promise<void>): Promise<void> =>
  database.transaction((tx) => work(tx, consent.id, new Date('2090-01-01')))

const rowsOf = <Row>(table: string, columns: string): Promise<Row[]> =>
  gateway.database.query<Row & object>(`select ${columns} from ${table}`)

/** Claims of all deliveries, in the reverse order of their keys. */
const claimsOfAll = () =>
  rowsOf<{ id: string; claimedUntil: Date }>('delivery order by id desc', 'id, claimed_until as "claimedUntil"')

/** What a consent's end, a report of a bank, and what happens beside them, write in many rows. Each leaves no row that another still needs. */
const WRITERS: readonly Writer[] = [
  {
    what: 'the deletion of balances that nobody shares',
    table: 'snapshot',
    key: 'bank_account_key',
    run: () => inTransaction(deleteUnsharedSnapshots),
  },
  {
    what: 'the deletion of what was marked as read',
    table: 'alert_read',
    key: 'alert_id',
    run: () => inTransaction(deleteReadState),
  },
  {
    what: 'the deletion of lines that nobody can have',
    table: 'balance_line',
    key: 'id',
    run: () => inTransaction(deleteUnsharedLines),
  },
  {
    what: 'the move of deliveries to another consent',
    table: 'delivery',
    key: 'id',
    async run() {
      const [{ accountId }] = (await rowsOf<{ accountId: string }>(
        'delivery join alert on alert.id = alert_id order by delivery.id limit 1',
        'account_id as "accountId"',
      )) as [{ accountId: string }]
      const { customerId } = consent
      const subject = { bankId: 'northbank', customerId, accountId, clientId: null }
      await deliveryStore(database).moveToConsent(consent.id, subject, {
        consentId: consent.id,
        grantedAt: new Date(0),
      })
    },
  },
  {
    what: 'the dropping of claimed deliveries',
    table: 'delivery',
    key: 'id',
    run: async () => settlementStore.drop(database.delivery, await claimsOfAll(), new Date()),
  },
  {
    what: 'the release of claimed deliveries',
    table: 'delivery',
    key: 'id',
    run: async () => claimStore(database).release(await claimsOfAll()),
  },
  {
    what: "the dropping of a consent's deliveries",
    table: 'delivery',
    key: 'id',
    run: () => deliveryStore(database).dropForConsent(consent.id, new Date()),
  },
  {
    what: 'the note that the details of alerts were viewed',
    table: 'alert_question',
    key: 'alert_id',
    async run() {
      const alerts = await rowsOf<{ id: string }>('alert_question order by alert_id desc', 'alert_id as id')
      const ids = alerts.map(({ id }) => id)
      await database.transaction((tx) => responseStore(database).markDetailViewed(tx, ids, new Date()))
    },
  },
]

describe('a statement that changes many rows locks them in the order of their keys', () => {
  test.each(WRITERS)('$what', async ({ table, key, run }) => {
    // The consent has not ended, for the statements that need it; its customer shares these accounts by it alone.
    await gateway.database.query("update consent set expires_at = '2080-01-01'")
    const keys = (await rowsOf<{ key: string }>(`${table} group by 1 order by 1`, `${key} as key`)).map(
      (row) => row.key,
    )
    expect(keys.length).toBeGreaterThan(1)
    await gateway.database.query(
      "update delivery set status = 'PENDING', ended_at = null, claimed_until = '2100-01-01'",
    )
    // The first row becomes the last one of the table, where a statement without an order comes to it after the others.
    await gateway.database.query(`update ${table} set ${key} = ${key} where ${key} = $1`, [keys[0]])
    const held = await holdRows(gateway, `select 1 from ${table} where ${key} = $1 for update`, [keys[0]])
    try {
      const running = run()
      await held.waiting(1)
      await held.change(`select 1 from ${table} where ${key} <> $1 for update nowait`, [keys[0]])
      await held.release()
      await running
    } catch (error) {
      await held.release().catch(() => undefined)
      throw error
    }
  })
})
