import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { holdRows } from '../support/locked-rows.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const WAITING = 60

interface Message {
  attempt_count: number
  done: boolean
}
const messageOf = async (subjectId: string): Promise<Message | undefined> =>
  (
    await gateway.database.query<Message>(
      "select attempt_count, processed_at is not null as done from outbox_message where topic = 'connection.end' and subject_id = $1",
      [subjectId],
    )
  )[0]

test('sixty revocations at a bank that hangs do not delay the revocation of a consent at another bank', async () => {
  await gateway.customer('ada', ['rheinbank'])
  const token = await gateway.customer('bo', ['northbank'])
  const [slow] = await gateway.database.query<{ id: string }>(
    "select connection.id from connection join connector on connector.id = connector_id where bank_id = 'rheinbank'",
  )
  const [other] = await gateway.database.query<{ id: string }>(
    "select connection.id from connection join connector on connector.id = connector_id where bank_id = 'northbank'",
  )
  let hung = 0
  gateway.intercept = ({ method, url }) =>
    method === 'DELETE' && url.startsWith(gateway.sandbox.banks['rheinbank'])
      ? (hung++, new Promise(() => undefined))
      : undefined
  await gateway.database.query(
    `insert into outbox_message (id, topic, subject_id, group_id, next_attempt_at)
     select 'msg_hangs_' || n, 'connection.end', $1, 'rheinbank', now() - interval '1 minute' from generate_series(1, $2::int) n`,
    [slow!.id, WAITING],
  )
  await eventually('endings that hang', () => Promise.resolve(hung >= 4))
  await gateway.ask(token, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
  await eventually('the ending at the other bank', async () => (await messageOf(other!.id))?.done, 20_000)
  expect(hung).toBeLessThanOrEqual(4)
  gateway.intercept = undefined
})

test('the pending revocations of a retired client delay no alert', async () => {
  await gateway.customer('ada', ['northbank'], { clientId: 'chatterbox-bearer' })
  await gateway.customer('bo', ['northbank'])
  const held = await holdRows(
    gateway,
    "select 1 from consent where client_id = 'chatterbox-bearer' and status = 'ACTIVE' for update",
  )
  await gateway.app.services.clients.retire('admin', 'chatterbox-bearer')
  await held.waiting(1)
  // Several alerts, because one that was claimed before the retirement would prove nothing.
  for (let sent = 1; sent <= 2; sent++) {
    expect(await gateway.alert('northbank', { customer: 'bo', type: 'NEW_SIGN_IN' })).toEqual([202])
    await eventually(`${sent} webhooks`, async () => (await gateway.received()).length >= sent, 8_000)
  }
  await held.release()
  await eventually('the end of what the client was given', async () => {
    const live = "select 1 from consent where client_id = 'chatterbox-bearer' and status = 'ACTIVE'"
    return (await gateway.database.query(live)).length === 0
  })
})

test('a message that was claimed repeatedly without an outcome is retried as soon as after one failed attempt', async () => {
  // Without a worker, so that no other process claims the message.
  const idle = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  const id = 'msg_of_killed_processes'
  const { outbox } = idle.app.services
  await idle.database.query(
    `insert into outbox_message (id, topic, subject_id, next_attempt_at) values ($1, 'consent.changed', 'cons_none', now() + interval '1 hour')`,
    [id],
  )
  const claimed: (() => void)[] = []
  const free = "update outbox_message set next_attempt_at = '2000-01-01', claimed_until = null where id = $1"
  const handlers = {
    'alert.received': () => Promise.resolve(),
    'alert-response.given': () => Promise.resolve(),
    'alert-detail.viewed': () => Promise.resolve(),
    'client.retired': () => Promise.resolve(),
    'bank.platform_access_changed': () => Promise.resolve(),
    'webhook-endpoint.disabled': () => Promise.resolve(),
    'connection.end': () => Promise.resolve(),
    'connection.check': () => Promise.resolve(),
    'sign-in.end': () => Promise.resolve(),
    'certification-access.end': () => Promise.resolve(),
    // Never ends, as in a process that was killed.
    'consent.changed': (subjectId: string) =>
      subjectId === 'cons_none' ? new Promise<void>((resolve) => claimed.push(resolve)) : Promise.resolve(),
  }
  for (let claim = 1; claim <= 12; claim++) {
    await idle.database.query(free, [id])
    void outbox.processBatch('FAST', handlers).catch(() => undefined)
    await eventually('the claim', async () => {
      const [row] = await idle.database.query<{ held: boolean }>(
        'select coalesce(claimed_until > now(), false) as held from outbox_message where id = $1',
        [id],
      )
      return row!.held
    })
  }
  await idle.database.query(free, [id])
  await outbox.processBatch('FAST', { ...handlers, 'consent.changed': () => Promise.reject(new Error('fails')) })
  const [row] = await idle.database.query<{ attempt_count: number; wait: number }>(
    'select attempt_count, extract(epoch from next_attempt_at - now())::float as wait from outbox_message where id = $1',
    [id],
  )
  expect(row!.wait).toBeLessThan(5)
  expect(row!.attempt_count).toBe(1)
  await idle.close()
})
