import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { signEvent } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { startPeerGateway } from '../support/peer-gateway.ts'
import { ok } from '../support/scripted-bank.ts'

const RISC = 'https://schemas.openid.net/secevent/risc/event-type'
const ACCOUNT = { format: 'opaque', id: 'sb-60001' }

let gateway: TestGateway
let pollUrl: string
beforeAll(async () => {
  gateway = await startGateway({ keepsEvents: true })
  pollUrl = `${gateway.sandbox.banks.southbank}/ssf/poll`
  await gateway.customer('cody', ['southbank'])
})
afterEach(() => {
  gateway.intercept = undefined
})
afterAll(() => gateway.close())

/** Has the bank sign an event of RISC and keep it until it is polled. */
const keepAtBank = (type: string, subject: object = ACCOUNT, deliveryMode = 'QUEUED') =>
  fetch(`${gateway.sandbox.banks.southbank}/sandbox/events`, {
    method: 'POST',
    body: JSON.stringify({ type: `${RISC}/${type}`, subject, deliveryMode }),
  })
const alertTypes = async (): Promise<string[]> =>
  (await gateway.database.query<{ type: string }>('select type from alert order by created_at, id')).map(
    ({ type }) => type,
  )
const queueLength = (): number => {
  const state = JSON.parse(readFileSync(join(gateway.dataDir, 'sandbox', 'southbank.json'), 'utf8')) as {
    events?: Record<string, Record<string, string>>
  }
  return Object.keys(state.events?.['guichet'] ?? {}).length
}
const pollAtOnce = () => gateway.database.query('update connector set events_polled_at = null')
/** Answers the polls of the bank in order, and then with an empty queue. */
function answerPolls(...responses: (OutboundResponse | Promise<OutboundResponse>)[]): Record<string, unknown>[] {
  const bodies: Record<string, unknown>[] = []
  gateway.intercept = ({ url, body }) => {
    if (url !== pollUrl) return undefined
    bodies.push(JSON.parse(body!) as Record<string, unknown>)
    return Promise.resolve(responses.shift() ?? ok({ sets: {} }))
  }
  return bodies
}

describe('a bank with a queue of events (RFC 8936)', () => {
  test('what the bank queued while nobody fetched it arrives, is acknowledged once stored, and leaves the queue', async () => {
    await keepAtBank('account-disabled')
    await keepAtBank('credential-compromise')
    await eventually('both alerts', async () => (await alertTypes()).length === 2)
    expect((await alertTypes()).sort()).toEqual(['ACCOUNT_RESTRICTED', 'ACCOUNT_TAKEOVER_SUSPECTED'])
    await eventually('the empty queue', () => Promise.resolve(queueLength() === 0))
  })

  test('a forged event is rejected and leaves the queue without effect', async () => {
    const before = (await alertTypes()).length
    await keepAtBank('account-enabled', ACCOUNT, 'QUEUED_TAMPERED')
    await eventually('the empty queue', () => Promise.resolve(queueLength() === 0))
    expect(await alertTypes()).toHaveLength(before)
  })

  test('an event about nothing that the gateway knows is acknowledged and leaves the queue', async () => {
    await keepAtBank('account-enabled', { format: 'email', email: 'cody@example.com' })
    await eventually('the empty queue', () => Promise.resolve(queueLength() === 0))
  })

  test('an event that waited for longer than one may take by push is accepted from the queue', async () => {
    const before = (await alertTypes()).length
    const claims = {
      iat: Math.floor(Date.now() / 1_000) - 7.5 * 86_400,
      sub_id: ACCOUNT,
      events: { [`${RISC}/account-enabled`]: {} },
    }
    const { token } = await signEvent(gateway, 'southbank', { claims })
    const polls = answerPolls(ok({ sets: { late: token } }))
    await eventually('the acknowledgement', () =>
      Promise.resolve(polls.some(({ ack }) => (ack as string[]).includes('late'))),
    )
    expect(await alertTypes()).toHaveLength(before + 1)
  })

  test('an event under an id of 257 characters is reported to the bank', async () => {
    const id = 'x'.repeat(257)
    const { token } = await signEvent(gateway, 'southbank', { claims: { sub_id: ACCOUNT } })
    const polls = answerPolls(ok({ sets: { [id]: token } }))
    const rejected = () => polls.find(({ setErrs }) => id in (setErrs as object))
    expect(await eventually('the rejection', () => Promise.resolve(rejected()))).toMatchObject({
      ack: [],
      setErrs: { [id]: { err: 'invalid_request' } },
    })
  })

  test('two processes that poll at the same time store each event once, and the queue ends empty', async () => {
    const before = (await alertTypes()).length
    const peer = await startPeerGateway(gateway)
    try {
      const { alerts } = gateway.app.services
      gateway.intercept = ({ url }) => (url === pollUrl ? Promise.resolve(ok({ sets: {} })) : undefined)
      await alerts.waitUntilIdle()
      await Promise.all(Array.from({ length: 60 }, () => keepAtBank('account-enabled')))
      gateway.intercept = undefined
      for (let round = 0; round < 10 && queueLength() > 0; round++) {
        // Each claims a turn although the other one has not ended its own.
        await pollAtOnce()
        await alerts.startPolling()
        await pollAtOnce()
        await peer.app.services.alerts.startPolling()
        await Promise.all([alerts.waitUntilIdle(), peer.app.services.alerts.waitUntilIdle()])
      }
      expect(queueLength()).toBe(0)
      expect(await alertTypes()).toHaveLength(before + 60)
    } finally {
      await peer.close()
    }
  })

  test('a bank that says for ever that there is more, without sending it, is asked again only when its turn comes', async () => {
    await gateway.app.services.alerts.waitUntilIdle()
    const empty = ok({ sets: {}, moreAvailable: true })
    const polls = answerPolls(...Array.from({ length: 50 }, () => empty))
    await pollAtOnce()
    await eventually('a poll', () => Promise.resolve(polls.length > 0))
    await gateway.app.services.alerts.waitUntilIdle()
    expect(polls.length).toBeLessThanOrEqual(2)
  })

  test('a bank that sends events for ever gets twenty requests in one turn', async () => {
    await gateway.app.services.alerts.waitUntilIdle()
    const { token } = await signEvent(gateway, 'southbank', {
      claims: { sub_id: ACCOUNT, events: { [`${RISC}/account-enabled`]: {} } },
    })
    const polls: unknown[] = []
    gateway.intercept = ({ url }) => {
      if (url !== pollUrl) return undefined
      polls.push(url)
      return Promise.resolve(ok({ sets: { [randomUUID()]: token }, moreAvailable: true }))
    }
    const before = (await alertTypes()).length
    await pollAtOnce()
    await eventually('a turn', () => Promise.resolve(polls.length >= 20))
    gateway.intercept = ({ url }) => (url === pollUrl ? Promise.resolve(ok({ sets: {} })) : undefined)
    await gateway.app.services.alerts.waitUntilIdle()
    expect(await alertTypes()).toHaveLength(before + 1)
  })

  test('a bank whose queue does not respond delays no poll of another bank', async () => {
    await gateway.customer('ada', ['northbank'])
    let release = (): void => undefined
    const hanging = new Promise<OutboundResponse>((resolve) => {
      release = () => resolve(ok({ sets: {} }))
    })
    const polls = answerPolls(hanging)
    await pollAtOnce()
    await eventually('the hanging poll', () => Promise.resolve(polls.length > 0))
    const before = (await alertTypes()).length
    await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY', deliveryMode: 'QUEUED' })
    await eventually('the alert of the other bank', async () => (await alertTypes()).length === before + 1)
    release()
  })
})
