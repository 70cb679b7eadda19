import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { EventStream } from '../../src/modules/banks/model.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { startPeerGateway } from '../support/peer-gateway.ts'
import { ok } from '../support/scripted-bank.ts'

const SSF = 'https://schemas.openid.net/secevent/ssf/event-type'
const ACCOUNT_ENABLED = 'https://schemas.openid.net/secevent/risc/event-type/account-enabled'
const ACCOUNT = { format: 'opaque', id: 'sb-60001' }

let gateway: TestGateway
let bankUrl: string
let connectorId: string
beforeAll(async () => {
  gateway = await startGateway({ keepsEvents: true })
  bankUrl = gateway.sandbox.banks.southbank
  const rows = await gateway.database.query<{ id: string }>("select id from connector where bank_id = 'southbank'")
  connectorId = rows[0]!.id
  await gateway.customer('cody', ['southbank'])
})
afterEach(() => {
  gateway.intercept = undefined
})
afterAll(() => gateway.close())

type Shown = { readonly [K in keyof EventStream]: string | null }
async function shown(clientId = 'southbank-partner', id = connectorId): Promise<Shown | null | undefined> {
  const query =
    'query ($id: ID!) { connector(id: $id) { eventStream { status checkedAt verificationRequestedAt verifiedAt } } }'
  const { data } = await gateway.ask(await gateway.own(clientId, 'connectors:read'), query, { id })
  return (data as { connector: { eventStream: Shown | null } | null }).connector?.eventStream
}
const hasStatus = (status: string) => async () => (await shown())?.status === status
const checkNow = () => gateway.database.query('update event_stream set check_at = now()')
/** What the bank itself says of the stream. */
const atBank = (): string | undefined => {
  const state = JSON.parse(readFileSync(join(gateway.dataDir, 'sandbox', 'southbank.json'), 'utf8')) as {
    streams?: Record<string, { status: string }>
  }
  return state.streams?.['guichet']?.status
}
const isAtBank = (status: string) => () => Promise.resolve(atBank() === status)
const changeAtBank = (status: string) =>
  fetch(`${bankUrl}/sandbox/event-streams`, { method: 'PUT', body: JSON.stringify({ status }) })
const requestsTo = (path: string) => gateway.sent.filter(({ url }) => url.startsWith(`${bankUrl}${path}`))
const alertCount = async (): Promise<number> =>
  (await gateway.database.query<{ n: number }>('select count(*)::int n from alert'))[0]!.n
async function sendStreamEvent(type: string, event: object) {
  const claims = { sub_id: { format: 'opaque', id: 'stream' }, events: { [`${SSF}/${type}`]: event } }
  const { token, url } = await signEvent(gateway, 'southbank', { claims })
  const response = await push(url, token)
  return [response.status, response.status === 202 ? undefined : ((await response.json()) as { err: string }).err]
}

describe('a bank with stream control (Shared Signals Framework)', () => {
  test('the gateway creates its stream, has it verified by an event with a secret state, and shows both to the partner', async () => {
    await eventually('the verification', async () => (await shown())?.verifiedAt ?? undefined)
    const stream = (await shown())!
    expect(stream.status).toBe('ENABLED')
    for (const time of [stream.checkedAt, stream.verificationRequestedAt, stream.verifiedAt])
      expect(Math.abs(Date.parse(time!) - Date.now())).toBeLessThan(600_000)
    const [verification] = requestsTo('/ssf/verify')
    expect((JSON.parse(verification!.body!) as { state: string }).state).toMatch(/^[\w-]{43}$/)
    expect(requestsTo('/ssf/streams').filter(({ method }) => method === 'POST')).toHaveLength(1)
    expect(await shown('eastbank-partner')).toBeUndefined()
  })

  test('a bank without stream control shows none, and gets no such request', async () => {
    const rows = await gateway.database.query<{ id: string }>("select id from connector where bank_id = 'northbank'")
    expect(await shown('northbank-partner', rows[0]!.id)).toBeNull()
    expect(gateway.sent.filter(({ url }) => url.includes('ssf') && !url.startsWith(bankUrl))).toEqual([])
  })

  test('a verification with an unknown state is rejected, one without a state is not, and neither verifies anything', async () => {
    const before = (await shown())!.verifiedAt
    expect(await sendStreamEvent('verification', { state: 'guessed' })).toEqual([400, 'invalid_state'])
    expect(await sendStreamEvent('verification', {})).toEqual([202, undefined])
    expect(await sendStreamEvent('verification', { state: 7 })).toEqual([400, 'invalid_request'])
    expect((await shown())!.verifiedAt).toBe(before)
  })

  test('a verification that the bank sends twice is accepted twice', async () => {
    const { state } = JSON.parse(requestsTo('/ssf/verify').at(-1)!.body!) as { state: string }
    expect(await sendStreamEvent('verification', { state })).toEqual([202, undefined])
  })

  test('the stream is not verified again with every check', async () => {
    const before = requestsTo('/ssf/verify').length
    const checks = requestsTo('/ssf/status').length
    await checkNow()
    await eventually('a check', () => Promise.resolve(requestsTo('/ssf/status').length > checks))
    await gateway.app.services.banks.eventStreams.waitUntilIdle()
    expect(requestsTo('/ssf/verify')).toHaveLength(before)
  })

  test('the stream is paused while the connector is suspended, and what the bank held arrives after its activation', async () => {
    const { banks } = gateway.app.services
    await banks.suspend('southbank-partner', connectorId)
    await eventually('the pause', isAtBank('paused'))
    await eventually('the shown pause', hasStatus('PAUSED'))
    const before = await alertCount()
    await fetch(`${bankUrl}/sandbox/events`, {
      method: 'POST',
      body: JSON.stringify({ type: ACCOUNT_ENABLED, subject: ACCOUNT }),
    })
    await banks.activate('admin', connectorId)
    await eventually('the resumption', isAtBank('enabled'))
    await eventually('the shown resumption', hasStatus('ENABLED'))
    await eventually('the alert', async () => (await alertCount()) === before + 1)
  })

  test('a stream that the bank itself paused is shown, and stays paused until the bank resumes it', async () => {
    await changeAtBank('paused')
    expect((await shown())?.status).toBe('PAUSED')
    const checks = requestsTo('/ssf/status').length
    await checkNow()
    await eventually('a check', () => Promise.resolve(requestsTo('/ssf/status').length > checks))
    await gateway.app.services.banks.eventStreams.waitUntilIdle()
    expect(atBank()).toBe('paused')
    await changeAtBank('enabled')
    expect((await shown())?.status).toBe('ENABLED')
  })

  test('a connector that is activated while its stream is being paused ends with a stream that sends', async () => {
    const { banks } = gateway.app.services
    const peer = await startPeerGateway(gateway)
    try {
      const pausing = gateway.holdNext('/ssf/status')
      await banks.suspend('southbank-partner', connectorId)
      await pausing.reached
      await banks.activate('admin', connectorId)
      // The check that follows from the activation is made by a process that knows nothing of the other one.
      await peer.app.services.banks.eventStreams.startChecks()
      await peer.app.services.banks.eventStreams.waitUntilIdle()
      pausing.letGo()
      await banks.eventStreams.waitUntilIdle()
      expect(atBank()).toBe('enabled')
      expect((await shown())?.status).toBe('ENABLED')
    } finally {
      await peer.close()
    }
  })

  test('a verification that the bank refuses is requested again with the next check', async () => {
    await gateway.database.query("update event_stream set verification_requested_at = now() - interval '7 hours'")
    const states: string[] = []
    gateway.intercept = ({ url, body }) => {
      if (!url.startsWith(`${bankUrl}/ssf/verify`)) return undefined
      states.push((JSON.parse(body!) as { state: string }).state)
      return Promise.resolve({ ...ok(''), status: states.length === 1 ? 429 : 204 })
    }
    await checkNow()
    await eventually('the refused request', () => Promise.resolve(states.length === 1))
    await gateway.app.services.banks.eventStreams.waitUntilIdle()
    // A bank that asked for a pause gets it.
    gateway.forward(60_000)
    await checkNow()
    await eventually('the second request', () => Promise.resolve(states.length === 2))
    expect(new Set(states).size).toBe(2)
    expect(await sendStreamEvent('verification', { state: states[0] })).toEqual([400, 'invalid_state'])
    expect(await sendStreamEvent('verification', { state: states[1] })).toEqual([202, undefined])
  })

  test('one process checks a stream, and never two at the same time', async () => {
    const peer = await startPeerGateway(gateway)
    try {
      await gateway.app.services.banks.eventStreams.waitUntilIdle()
      const before = requestsTo('/ssf/status').length
      await checkNow()
      const services = [gateway.app.services, peer.app.services]
      await Promise.all(Array.from({ length: 10 }, (_, index) => services[index % 2]!.banks.eventStreams.startChecks()))
      await Promise.all(services.map(({ banks }) => banks.eventStreams.waitUntilIdle()))
      // The other process has a log of its own.
      expect(requestsTo('/ssf/status').length - before).toBeLessThanOrEqual(1)
    } finally {
      await peer.close()
    }
  })
})
