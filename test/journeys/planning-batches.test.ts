import { afterAll, beforeAll, expect, test } from 'vitest'
import { signEvent } from '../support/bank-keys.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
})
afterAll(() => gateway.close())

test('a full batch of waiting alerts is planned in one transaction', async () => {
  await gateway.customer('ada', ['northbank'])
  for (let count = 0; count < 100; count++) {
    const { token, url } = await signEvent(gateway, 'northbank')
    const headers = { 'content-type': 'application/secevent+jwt' }
    expect((await fetch(url, { method: 'POST', headers, body: token })).status).toBe(202)
  }
  await gateway.app.services.deliveries.planDue()
  const { query } = gateway.database
  expect(await query('select count(*)::int as count from delivery')).toEqual([{ count: 100 }])
  // Rows of one transaction have the same.
  expect(await query('select count(distinct xmin::text)::int as count from delivery')).toEqual([{ count: 1 }])
})

test('an urgent alert is planned before the many that waited for their window', async () => {
  const { query } = gateway.database
  await query(
    `insert into outbox_message (id, topic, subject_id, next_attempt_at)
     select 'waiting_' || n, 'alert.received', 'alrt_none', '2000-01-01' from generate_series(1, 300) as n`,
  )
  const before = await query('select id from delivery')
  await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })
  await gateway.app.services.deliveries.planDue()
  expect(await query('select id from delivery')).toHaveLength(before.length + 1)
})
