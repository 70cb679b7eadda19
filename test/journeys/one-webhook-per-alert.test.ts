import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createApp } from '../../src/app.ts'
import { readConfig } from '../../src/config.ts'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { createWorld } from '../../src/kernel/world.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())
beforeEach(async () => {
  gateway.intercept = undefined
  for (const { id } of await liveConsents()) await terminate(id)
  await eventually('an idle outbox', async () => (await gateway.app.services.outbox.countPending()) === 0)
})

const liveConsents = (): Promise<{ id: string }[]> =>
  gateway.database.query(
    "select id from consent where client_id = 'chatterbox' and status = 'ACTIVE' order by activated_at",
  )

async function terminate(id: string): Promise<void> {
  await gateway.app.services.consents.revoke(id, 'CLIENT')
}

/** Creates two active consents of one customer for one client and the same account. Returns their IDs, the older first. */
async function createTwoConsents(): Promise<string[]> {
  const browser = createBrowser()
  await gateway.customer('bo', ['northbank'], { browser })
  await gateway.customer('bo', ['northbank'], { browser })
  const ids = (await liveConsents()).map(({ id }) => id)
  expect(ids).toHaveLength(2)
  return ids
}

async function newAlert(): Promise<string> {
  await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
  const [alert] = await gateway.database.query<{ id: string }>('select id from alert order by created_at desc limit 1')
  return alert!.id
}

interface Row {
  id: string
  consent_id: string
  status: string
}
const deliveriesOf = (alertId: string): Promise<Row[]> =>
  gateway.database.query<Row>('select id, consent_id, status from delivery where alert_id = $1', [alertId])

const statusesOf = async (alertId: string): Promise<string> =>
  (await deliveriesOf(alertId)).map(({ status }) => status).join()

describe('two active consents of a customer for one client', () => {
  test('an alert becomes one delivery and one webhook', async () => {
    await createTwoConsents()
    const before = (await gateway.received()).length
    const alertId = await newAlert()
    await eventually('the delivery', async () =>
      (await deliveriesOf(alertId)).some(({ status }) => status === 'DELIVERED'),
    )
    await eventually('an idle outbox', async () => (await gateway.app.services.outbox.countPending()) === 0)
    expect(await deliveriesOf(alertId)).toHaveLength(1)
    expect((await gateway.received()).slice(before)).toHaveLength(1)
  })

  test('an alert that two processes schedule many times concurrently becomes one delivery', async () => {
    await createTwoConsents()
    const config = readConfig({
      PORT: new URL(gateway.issuer).port,
      GUICHET_DATA_DIR: gateway.dataDir,
      DATABASE_URL: gateway.database.url,
    })
    const database = openDatabase(gateway.database.url, 4)
    const log = createLog(
      'error',
      () => new Date(),
      () => undefined,
    )
    const other = await createApp(config, createWorld(log, createOutboundHttp(config.egress)), database)
    const [account] = await gateway.database.query<{ id: string }>(
      `select account_id as id from consent_account join consent on consent.id = consent_id
       where client_id = 'chatterbox' and status = 'ACTIVE' limit 1`,
    )
    for (let round = 0; round < 5; round++) {
      const id = `alrt_scheduled_at_once_${round}`
      await gateway.database.query(
        `insert into alert (id, bank_id, customer_id, account_id, type, severity, requested_action, occurred_at, created_at, shown_at)
         select $1, bank_id, customer_id, id, 'CARD_SECURITY', 'URGENT', 'CALL_BANK', now(), now(), now() from account where id = $2`,
        [id, account!.id],
      )
      // The same alert is planned by each of them.
      for (let copy = 0; copy < 12; copy++)
        await gateway.database.query(
          "insert into outbox_message (id, topic, subject_id, next_attempt_at) values ($1, 'alert.received', $2, now())",
          [`msg_${round}_${copy}`, id],
        )
      await Promise.all(
        Array.from({ length: 12 }, (_, index) => (index % 2 === 0 ? gateway.app : other).services.deliveries.planDue()),
      )
      expect(await deliveriesOf(id)).toHaveLength(1)
    }
    await database.close()
  })

  test('a delivery is sent under the other consent if the one that it was scheduled for ends', async () => {
    const consents = await createTwoConsents()
    let attempts = 0
    gateway.intercept = ({ url }) =>
      url.endsWith('/webhooks') && ++attempts === 1
        ? Promise.resolve({ status: 503, headers: {}, text: '' })
        : undefined
    const alertId = await newAlert()
    await eventually('a refused attempt', () => Promise.resolve(attempts >= 1))
    const [scheduled] = await eventually('the scheduled delivery', async () => {
      const rows = await deliveriesOf(alertId)
      return rows.length > 0 && rows
    })
    await terminate(scheduled!.consent_id)
    await eventually('an idle outbox', async () => (await gateway.app.services.outbox.countPending()) === 0)
    await gateway.database.query("update delivery set next_attempt_at = now() where status = 'PENDING'")
    const [sent] = await eventually('the delivery', async () => {
      const rows = await deliveriesOf(alertId)
      return rows.some(({ status }) => status !== 'PENDING') && rows
    })
    expect(sent!.status).toBe('DELIVERED')
    expect(sent!.consent_id).toBe(consents.find((id) => id !== scheduled!.consent_id))
    const entries = await gateway.database.query<{ consent_id: string }>(
      "select consent_id from ledger_entry where action = 'ALERT_DELIVERED' and subject_id = $1",
      [alertId],
    )
    expect(entries).toEqual([{ consent_id: sent!.consent_id }])
  })

  test('a delivery is dropped if both consents end', async () => {
    const consents = await createTwoConsents()
    gateway.intercept = ({ url }) =>
      url.endsWith('/webhooks') ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
    const alertId = await newAlert()
    await eventually('a delivery', async () => (await deliveriesOf(alertId)).length > 0)
    await Promise.all(consents.map(terminate))
    await eventually('the end', async () => /^DROPPED(,DROPPED)*$/.test(await statusesOf(alertId)))
  })

  test('a message that its endpoint accepts after the consents have ended is in the ledger', async () => {
    const consents = await createTwoConsents()
    const { reached, letGo } = gateway.holdNext('/webhooks')
    const alertId = await newAlert()
    await reached
    await Promise.all(consents.map(terminate))
    await eventually('the end', async () => /^DROPPED(,DROPPED)*$/.test(await statusesOf(alertId)))
    letGo()
    const accepted = "outcome = 'ACCEPTED' and delivery_id in (select id from delivery where alert_id = $1)"
    await eventually(
      'the attempt',
      async () =>
        (await gateway.database.query(`select 1 from delivery_attempt where ${accepted}`, [alertId])).length > 0,
    )
    const entries = await gateway.database.query<{ consent_id: string }>(
      "select consent_id from ledger_entry where action = 'ALERT_DELIVERED' and subject_id = $1",
      [alertId],
    )
    expect(entries).toHaveLength(1)
    expect(consents).toContain(entries[0]!.consent_id)
  })

  test('a consent from after the alert does not take over the delivery of a consent that ended', async () => {
    const browser = createBrowser()
    await gateway.customer('bo', ['northbank'], { browser })
    const [first] = await liveConsents()
    gateway.intercept = ({ url }) =>
      url.endsWith('/webhooks') ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
    const alertId = await newAlert()
    await eventually('a delivery', async () => (await deliveriesOf(alertId)).length > 0)
    await gateway.customer('bo', ['northbank'], { browser })
    await terminate(first!.id)
    await eventually('the end', async () => /^DROPPED(,DROPPED)*$/.test(await statusesOf(alertId)))
  })

  test('an attempt does not use a consent from after the alert, even before the end of the other is processed', async () => {
    const browser = createBrowser()
    await gateway.customer('bo', ['northbank'], { browser })
    const [first] = await liveConsents()
    let isAccepting = false
    const accepted: string[] = []
    gateway.intercept = ({ url, body }) => {
      if (!url.endsWith('/webhooks')) return undefined
      if (isAccepting) accepted.push(String(body))
      return Promise.resolve({ status: isAccepting ? 204 : 503, headers: {}, text: '' })
    }
    const alertId = await newAlert()
    await eventually('a delivery', async () => (await deliveriesOf(alertId)).length > 0)
    await gateway.customer('bo', ['northbank'], { browser })
    await gateway.database.query("update consent set status = 'REVOKED', ended_at = now() where id = $1", [first!.id])
    isAccepting = true
    await gateway.database.query("update delivery set next_attempt_at = now() where status = 'PENDING'")
    await eventually('the end', async () => (await statusesOf(alertId)) === 'DROPPED')
    expect(accepted.filter((body) => body.includes(alertId))).toEqual([])
  })

  test('a replay keeps the row and the ID of the delivery', async () => {
    await createTwoConsents()
    const alertId = await newAlert()
    await eventually('the delivery', async () => (await statusesOf(alertId)) === 'DELIVERED')
    const [delivery] = await deliveriesOf(alertId)
    const before = (await gateway.received()).length
    await gateway.app.services.deliveries.replay('chatterbox', { select: { deliveryIds: [delivery!.id] } })
    await eventually('the second webhook', async () => (await gateway.received()).length === before + 1)
    expect((await gateway.received()).at(-1)!.id).toBe(delivery!.id)
    expect(await deliveriesOf(alertId)).toHaveLength(1)
  })
})
