import { afterAll, beforeAll, expect, test } from 'vitest'
import { DAY_MS, HOUR_MS } from '../../src/kernel/clock.ts'
import { createReminderTools } from '../support/consent-reminders.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

test('the worker sends reminders by its schedule, and the platform verifies them', async () => {
  const { id } = await createReminderTools(gateway).newConsent()
  gateway.forward(60 * DAY_MS + HOUR_MS)
  const received = async () => (await gateway.received()).filter(({ body }) => body.type === 'consent.expiring')
  await eventually('the reminder', async () => (await received()).length > 0, 20_000)
  expect(await received()).toMatchObject([
    { verified: true, body: { data: { id, bankId: 'northbank', daysLeft: 30 } } },
  ])
})
