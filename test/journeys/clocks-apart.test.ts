import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { HOUR_MS, addMs } from '../../src/kernel/clock.ts'
import { newId, systemRandomness } from '../../src/kernel/ids.ts'
import type { OutboxHandlers } from '../../src/modules/outbox/index.ts'
import { certificationStore } from '../../src/modules/banks/certification/store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { startSecondGateway, type SecondGateway } from '../support/second-gateway.ts'

let gateway: TestGateway
let ahead: SecondGateway
let behind: SecondGateway
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  ahead = await startSecondGateway(gateway, { now: () => addMs(new Date(), HOUR_MS) })
  behind = await startSecondGateway(gateway, { now: () => addMs(new Date(), -HOUR_MS) })
})
afterAll(async () => {
  await ahead.close()
  await behind.close()
  await gateway.close()
})

/** Handlers of which each call is noted and ends when it is told to. */
function hanging(): { handlers: OutboxHandlers; calls: string[]; end: () => void } {
  const calls: string[] = []
  const { promise, resolve } = Promise.withResolvers<undefined>()
  const handle = (subjectId: string): Promise<undefined> => {
    calls.push(subjectId)
    return promise
  }
  const topics = ['alert.received', 'consent.changed', 'connection.end', 'connection.check', 'sign-in.end'] as const
  return {
    handlers: Object.fromEntries(topics.map((topic) => [topic, handle])) as unknown as OutboxHandlers,
    calls,
    end: () => resolve(undefined),
  }
}

describe('of two processes whose clocks are two hours apart', () => {
  const orders: [string, () => [SecondGateway, SecondGateway]][] = [
    ['the one that is ahead', () => [ahead, behind]],
    ['the one that is behind', () => [behind, ahead]],
  ]

  test.each(orders)('a message that %s processes is not claimed by the other', async (_which, order) => {
    const [first, second] = order()
    const id = newId('msg', systemRandomness)
    await gateway.database.query(
      `insert into outbox_message (id, topic, subject_id, next_attempt_at) values ($1, 'consent.changed', $1, '2000-01-01')`,
      [id],
    )
    const { handlers, calls, end } = hanging()
    const working = first.app.services.outbox.processBatch('FAST', handlers)
    await expect.poll(() => calls).toEqual([id])
    expect(await second.app.services.outbox.processBatch('FAST', handlers)).toBe(0)
    expect(await second.app.services.outbox.startDue('FAST', handlers, () => undefined)).toBe(0)
    end()
    await working
    expect(calls).toEqual([id])
  })

  test.each(orders)('a delivery that %s attempts is not claimed by the other', async (_which, order) => {
    const [first, second] = order()
    const id = newId('dlvr', systemRandomness)
    await gateway.customer('bo', ['northbank'])
    await gateway.alert('northbank', { customer: 'bo', type: 'CARD_SECURITY' })
    await gateway.database.query('update delivery set status = $1', ['DROPPED'])
    await gateway.database.query(
      `insert into delivery (id, alert_id, webhook_endpoint_id, consent_id, customer_id, body, status, next_attempt_at)
       select $1, alert.id, endpoint.id, consent.id, alert.customer_id, '{}', 'PENDING', '2000-01-01'
       from alert, webhook_endpoint endpoint, consent
       where not exists (select 1 from delivery where alert_id = alert.id and webhook_endpoint_id = endpoint.id) limit 1`,
      [id],
    )
    // Each claim is followed by reading the consents.
    const hang = Promise.withResolvers<never[][]>()
    const reads = [first, second].map(({ app }) =>
      vi.spyOn(app.services.consents, 'findGrantsForAlerts').mockReturnValue(hang.promise),
    )
    const starting = first.app.services.deliveries.startDue(() => undefined)
    await expect.poll(() => reads[0]!.mock.calls).toHaveLength(1)
    expect(await second.app.services.deliveries.startDue(() => undefined)).toBe(0)
    hang.resolve([[]])
    expect(await starting).toBe(1)
    await first.app.services.deliveries.waitUntilIdle()
    expect(reads.map(({ mock }) => mock.calls.length)).toEqual([1, 0])
    for (const read of reads) read.mockRestore()
  })

  test('a certification run that one process has started is not started by another', async () => {
    const [connector] = await gateway.database.query<{ id: string }>('select id from connector limit 1')
    await gateway.database.query(
      `insert into certification_run (id, connector_id, created_at, checks, trigger, claimed_until)
       values ('cert_clock', $1, '2000-01-01', '[]', 'PARTNER', now() + interval '1 minute')`,
      [connector!.id],
    )
    expect(await ahead.app.services.banks.runNextCertification(['PARTNER'])).toBe(false)
    expect(await behind.app.services.banks.runNextCertification(['PARTNER'])).toBe(false)
    await gateway.database.query("delete from certification_run where id = 'cert_clock'")
  })
})

test('exactly one of eight processes that request a certification run at the same time gets it', async () => {
  const many = Array.from({ length: 8 }, () => openDatabase(gateway.database.url, 1))
  const [connector] = await gateway.database.query<{ id: string }>('select id from connector limit 1')
  for (let round = 0; round < 40; round++) {
    await gateway.database.query(
      `insert into certification_run (id, connector_id, created_at, checks, trigger) values ($1, $2, '2000-01-01', '[]', 'PARTNER')`,
      [`cert_race_${round}`, connector!.id],
    )
    const got = await Promise.all(many.map((own) => certificationStore(own).claim(['PARTNER'], new Date(), 60_000)))
    expect(got.filter((run) => run !== null)).toHaveLength(1)
    await gateway.database.query('delete from certification_run where id = $1', [`cert_race_${round}`])
  }
  for (const own of many) await own.close()
})
