import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startFaultProxy, type FaultProxy } from '../support/fault-proxy.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { startPeerGateway, type PeerGateway } from '../support/peer-gateway.ts'
import { patientTimers } from '../support/patient-time.ts'

const QUERY = '{ customer { currentConsents { id } } }'
/** The guaranteed time, and more of it for a machine that is busy with other tests. */
const GUARANTEED_MS = 5_000
const SLACK_MS = 5_000

let gateway: TestGateway
/** Only its LISTEN connection goes through a line that can fall silent. */
let silentListener: PeerGateway
let listenLine: FaultProxy
/** All its connections to the database go through such a line. */
let cutOff: PeerGateway
let databaseLine: FaultProxy

const through = (line: FaultProxy, url: string): string => {
  const target = new URL(url)
  line.target = `tcp://${target.host}`
  target.host = new URL(line.url).host
  return target.href
}

beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  ;[listenLine, databaseLine] = await Promise.all([startFaultProxy(), startFaultProxy()])
  const { url } = gateway.database
  silentListener = await startPeerGateway(gateway, { url, directUrl: through(listenLine, url) })
  cutOff = await startPeerGateway(gateway, through(databaseLine, url))
})
afterEach(() => {
  listenLine.fault = { kind: 'NONE' }
  databaseLine.fault = { kind: 'NONE' }
})
afterAll(async () => {
  await Promise.all([silentListener.close(), cutOff.close()])
  await Promise.all([listenLine.close(), databaseLine.close()])
  await gateway.close()
})

/** A customer whose consent the second process has cached. */
async function cachedCustomer(second: PeerGateway): Promise<{ token: Token; consentId: string }> {
  await eventually('a connected LISTEN', () => Promise.resolve(second.isConnected()))
  const token = await gateway.customer('ada', ['northbank'], { clientId: 'chatterbox-bearer' })
  await second.send(token, QUERY)
  const { status, body } = await second.send(token, QUERY)
  expect(status).toBe(200)
  return { token, consentId: (body.data!['customer'] as { currentConsents: [{ id: string }] }).currentConsents[0].id }
}

const revoke = (consentId: string): Promise<unknown> =>
  gateway.app.services.consents.revoke(consentId, 'CUSTOMER_AT_GATEWAY')

describe('a LISTEN connection that falls silent', () => {
  test('a silent LISTEN connection is detected within 5 s, and a consent revoked before that is refused', async () => {
    const { token, consentId } = await cachedCustomer(silentListener)
    listenLine.fault = { kind: 'BLACKHOLE' }
    await revoke(consentId)
    await eventually(
      'the refusal',
      async () => (await silentListener.send(token, QUERY)).status === 401,
      GUARANTEED_MS + SLACK_MS,
    )
    expect(silentListener.isConnected()).toBe(false)
    // The database itself responds.
    expect((await silentListener.get('/readyz')).status).toBe(200)
  })

  test('a silent LISTEN connection is replaced within 5 s, and earlier cache entries are no longer served', async () => {
    const { token, consentId } = await cachedCustomer(silentListener)
    listenLine.fault = { kind: 'BLACKHOLE' }
    await revoke(consentId)
    // No request is made while the connection is silent.
    await eventually('the silence', () => Promise.resolve(!silentListener.isConnected()), GUARANTEED_MS + SLACK_MS)
    listenLine.fault = { kind: 'NONE' }
    await eventually(
      'a connected LISTEN',
      () => Promise.resolve(silentListener.isConnected()),
      GUARANTEED_MS + SLACK_MS,
    )
    expect((await silentListener.send(token, QUERY)).status).toBe(401)
  })
})

describe('a database that falls silent', () => {
  test('a silent database fails /readyz within 5 s, and readiness, requests and signals recover within 5 s', async () => {
    const { token } = await cachedCustomer(cutOff)
    databaseLine.fault = { kind: 'BLACKHOLE' }
    const startedMs = patientTimers.monotonicMs()
    expect((await cutOff.get('/readyz')).status).toBe(503)
    expect(patientTimers.monotonicMs() - startedMs).toBeLessThan(GUARANTEED_MS)
    await eventually('the silence', () => Promise.resolve(!cutOff.isConnected()), GUARANTEED_MS + SLACK_MS)
    databaseLine.fault = { kind: 'NONE' }
    await eventually('a connected LISTEN', () => Promise.resolve(cutOff.isConnected()), GUARANTEED_MS + SLACK_MS)
    await eventually('readiness', async () => (await cutOff.get('/readyz')).status === 200)
    await eventually('a response', async () => (await cutOff.send(token, QUERY)).status === 200)
  })

  test('requests get 503 with Retry-After while database connections break, and /livez stays 200', async () => {
    // That process has not cached the token.
    const token = await gateway.customer('bo', ['northbank'], { clientId: 'chatterbox-bearer' })
    databaseLine.fault = { kind: 'RESET' }
    const { status, headers, body } = await cutOff.send(token, QUERY)
    expect([status, headers['retry-after'], body.error?.code]).toEqual([503, '2', 'DATABASE_UNAVAILABLE'])
    expect((await cutOff.get('/readyz')).status).toBe(503)
    expect((await cutOff.get('/livez')).status).toBe(200)
  })
})
