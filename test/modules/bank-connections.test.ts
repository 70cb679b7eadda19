import { X509Certificate } from 'node:crypto'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createOutboundHttp, type OutboundHttp } from '../../src/kernel/outbound-http.ts'
import type { Connector } from '../../src/modules/banks/model.ts'
import { createReach, type ReachDependencies } from '../../src/modules/banks/reach.ts'
import { createAuthority } from '../support/certificate-authority.ts'
import { EXAMPLES } from '../support/standards.ts'
import { patientTimers } from '../support/patient-time.ts'

const authority = await createAuthority()
const server = await authority.issueWithKey({ subject: 'CN=localhost', isServer: true })
const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true }, undefined, { timers: patientTimers })

/** A bank that answers with the fingerprint of the certificate that the gateway presents. */
let bank: Server
let url = ''
beforeAll(async () => {
  const options = { cert: server.chain, key: server.key, ca: authority.root, requestCert: true }
  bank = createServer(options, (request, response) => {
    const socket: unknown = request.socket
    response.end((socket as TLSSocket).getPeerCertificate().fingerprint256)
  })
  await new Promise<void>((resolve) => bank.listen(0, 'localhost', resolve))
  url = `https://localhost:${(bank.address() as AddressInfo).port}/`
})
afterAll(async () => {
  await http.close()
  bank.closeAllConnections()
  bank.close()
})

const connector = {
  id: 'cnct_test',
  standard: 'OBIE',
  registration: { ...EXAMPLES.OBIE.registration, trustAnchors: [authority.root] },
  clientCertificate: null,
} as unknown as Connector
const presentedBy = async (pool: OutboundHttp): Promise<string> =>
  (await pool.send({ method: 'GET', url, timeoutMs: 30_000, maxBytes: 1_000 })).text

test('a call that began with the certificate before a rotation does not end the connections with the new one', async () => {
  const [earlier, newer] = await Promise.all(
    ['CN=earlier', 'CN=newer'].map(async (subject) => {
      const { chain, key } = await authority.issueWithKey({ subject })
      return { certificate: chain, key, fingerprint: new X509Certificate(chain).fingerprint256 }
    }),
  )
  let transport = earlier
  const held = Promise.withResolvers<string>()
  let isFirst = true
  const reach = createReach({
    readCredentials: () => Promise.resolve({ transport }),
    store: {
      // The first call waits for the database between its certificate and its connections.
      sealedKey: () => (isFirst ? ((isFirst = false), held.promise) : Promise.resolve('')),
    },
    seal: { unseal: () => Promise.resolve({}) },
    signals: { onSignal: () => undefined, coherence: () => 0 },
    world: { http },
    issuer: 'https://gateway.example',
  } as unknown as ReachDependencies)

  const slow = reach.loadContext(connector)
  transport = newer
  const current = await reach.loadContext(connector)
  expect(await presentedBy(current.http)).toBe(newer!.fingerprint)
  held.resolve('')
  expect(await presentedBy((await slow).http)).toBe(earlier!.fingerprint)
  expect(await presentedBy(current.http)).toBe(newer!.fingerprint)
})
