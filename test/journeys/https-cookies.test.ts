import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { request as forward } from 'node:http'
import { createServer, type Server } from 'node:https'
import { Agent, getGlobalDispatcher, setGlobalDispatcher } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSelfSignedCertificate } from '../../src/kernel/certificate.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { freePort } from '../support/ports.ts'

let gateway: TestGateway
let tls: Server
const setCookies: string[] = []
const trusting = getGlobalDispatcher()

beforeAll(async () => {
  const [port, tlsPort] = [await freePort(), await freePort()]
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const cert = createSelfSignedCertificate(privateKey, {
    commonName: 'localhost',
    serial: randomBytes(8),
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 86_400_000),
  })
  tls = createServer({ cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) }, (request, response) => {
    const { method, url: path, headers } = request
    const onward = forward({ host: '127.0.0.1', port, method, path, headers }, (answer) => {
      setCookies.push(...(answer.headers['set-cookie'] ?? []))
      response.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(response)
    })
    request.pipe(onward)
  })
  await new Promise<void>((resolve) => tls.listen(tlsPort, '127.0.0.1', resolve))
  // The certificate is this test's own.
  setGlobalDispatcher(new Agent({ connect: { rejectUnauthorized: false } }))
  gateway = await startGateway({ env: { PORT: String(port), ISSUER: `https://127.0.0.1:${tlsPort}` } })
})
afterAll(async () => {
  await gateway.close()
  setGlobalDispatcher(trusting)
  tls.close()
})

test('over HTTPS, no other host and no HTTP page can set the session and interaction cookies', async () => {
  await gateway.customer('ada', ['northbank'])
  const names = setCookies.map((line) => line.split('=')[0]!)
  expect(new Set(names.map((name) => name.replace(/\.sig$/, '')))).toEqual(
    new Set(['__Host-guichet_session', '__Secure-guichet_interaction', '__Secure-guichet_resume']),
  )
  for (const line of setCookies) {
    expect(line).toMatch(/; secure/i)
    expect(line).toMatch(/; httponly/i)
    expect(line).toMatch(/; samesite=lax/i)
    expect(line).not.toMatch(/; domain=/i)
    if (line.startsWith('__Host-')) expect(line).toMatch(/; path=\/(;|$)/i)
  }
})
