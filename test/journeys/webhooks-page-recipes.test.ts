import { spawn, type ChildProcess } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createLocalJWKSet, jwtVerify, SignJWT, exportJWK, generateKeyPair, type JSONWebKeySet } from 'jose'
import ts from 'typescript'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { importWebhookKeys, webhookHeaders } from '../../src/modules/deliveries/signature.ts'
import { commandLineOf } from '../support/command-line.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { readPage, storePrograms } from '../support/page.ts'
import { freePort } from '../support/ports.ts'
import { startWebhookReceiver, type ReceivedRequest, type WebhookReceiver } from '../support/webhook-receiver.ts'

const page = readPage('docs/WEBHOOKS.md')
const programs = storePrograms({
  'verify-webhook.ts': page.blockOf('ts verify-webhook'),
  'verify-set.ts': page.blockOf('ts verify-set'),
  'receiver.ts': page.blockOf('ts receiver'),
})
const load = async (name: string): Promise<unknown> => import(pathToFileURL(join(programs.folder, name)).href)

interface Keys {
  readonly secrets: readonly string[]
  readonly publicKeys: readonly string[]
}
type Headers = Readonly<Record<string, string | readonly string[] | undefined>>
type VerifyWebhook = (headers: Headers, body: Buffer, keys: Keys, nowMs?: number) => { id: string; message: object }
interface ExpectedSet {
  readonly issuer: string
  readonly clientId: string
  readonly keys: readonly object[]
}
type VerifySet = (token: string, expected: ExpectedSet) => { id: string; type: string; data: Record<string, unknown> }

interface Endpoint {
  readonly id: string
  readonly secret: string
  readonly publicKey: string
}

let gateway: TestGateway
const { guichet } = commandLineOf(() => gateway)
let receiver: WebhookReceiver
let token: Awaited<ReturnType<TestGateway['own']>>
let verifyWebhook: VerifyWebhook
let verifySet: VerifySet
beforeAll(async () => {
  gateway = await startGateway()
  receiver = await startWebhookReceiver()
  await gateway.customer('bo', ['northbank'])
  await gateway.database.query("update webhook_endpoint set status = 'DISABLED'")
  token = await gateway.own('chatterbox', 'webhooks:manage')
  verifyWebhook = ((await load('verify-webhook.ts')) as { verifyWebhook: VerifyWebhook }).verifyWebhook
  verifySet = ((await load('verify-set.ts')) as { verifySet: VerifySet }).verifySet
})
beforeEach(() => gateway.database.query('update webhook_endpoint set status = $1', ['DISABLED']))
afterAll(async () => {
  programs.remove()
  receiver.close()
  await gateway.close()
})

/** Sends an operation of the page and returns the result of its first field. */
async function send(operation: string, variables: Record<string, unknown>): Promise<Record<string, unknown>> {
  const { data, errors } = await gateway.ask(token, operation, variables)
  expect(errors).toBeUndefined()
  const payload = Object.values(data!)[0] as Record<string, unknown>
  expect(payload['userErrors']).toEqual([])
  return payload
}
let count = 0
async function register(url: string, change = (operation: string): string => operation): Promise<Endpoint> {
  const operation = page.operationOf('RegisterEndpoint').replace('endpoint-1', `endpoint-${++count}`)
  const payload = await send(change(operation), { url })
  const { id, publicKey } = payload['webhookEndpoint'] as { id: string; publicKey: string }
  return { id, publicKey, secret: String(payload['signingSecret']) }
}
const alert = () => gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })

/** A message of the gateway about a real alert, as a receiver got it. */
async function receiveAlert(path: string): Promise<ReceivedRequest> {
  const before = receiver.requests.length
  await alert()
  return eventually('the message', () =>
    Promise.resolve(receiver.requests.slice(before).find((request) => request.path.startsWith(path))),
  )
}

describe('the recipes of the page about webhooks', () => {
  test('they are valid in strict TypeScript', () => {
    const program = ts.createProgram({
      rootNames: [join(programs.folder, 'receiver.ts'), join(programs.folder, 'verify-set.ts')],
      options: {
        strict: true,
        noUncheckedIndexedAccess: true,
        exactOptionalPropertyTypes: true,
        noEmit: true,
        skipLibCheck: true,
        allowImportingTsExtensions: true,
        target: ts.ScriptTarget.ES2024,
        module: ts.ModuleKind.NodeNext,
        types: ['node'],
        typeRoots: [join(import.meta.dirname, '../../node_modules/@types')],
      },
    })
    const faults = ts.getPreEmitDiagnostics(program).map(({ messageText }) => messageText)
    expect(faults).toEqual([])
  })

  test('the receiver prints a test event and an alert once, and the deliveries are accepted', async () => {
    const port = await freePort()
    const [create = '', start = '', sendTest = ''] = page.blockOf('sh').trim().split('\n')
    const run = async (command: string): Promise<string> => {
      const { code, out, err } = await guichet(command.replace('npx guichet ', '').replace(':4300', `:${port}`))
      expect(code, err).toBe(0)
      return out
    }
    const { id, signingSecret } = JSON.parse(await run(create)) as { id: string; signingSecret: string }
    expect(start).toBe('WEBHOOK_SECRET=<signingSecret> node receiver.ts')
    const { output, child } = await startReceiver({ PORT: String(port), WEBHOOK_SECRET: signingSecret })
    try {
      await run(sendTest.replace('<webhook endpoint id>', id))
      await alert()
      const accepted = await eventually('two deliveries', async () => {
        const rows = await gateway.database.query<{ id: string; alert_id: string | null }>(
          "select id, alert_id from delivery where webhook_endpoint_id = $1 and status = 'DELIVERED'",
          [id],
        )
        return rows.length === 2 && rows
      })
      const alertDelivery = accepted.find(({ alert_id: alertId }) => alertId !== null)!.id
      await send(page.operationOf('ReplayByID'), { deliveries: [alertDelivery] })
      await eventually('the replay', async () => {
        const rows = await gateway.database.query('select 1 from delivery_attempt where delivery_id = $1', [
          alertDelivery,
        ])
        return rows.length === 2
      })
      const printed = output().trim().split('\n').slice(1)
      expect(printed.map((line) => line.split(' ')[0]).sort()).toEqual(accepted.map((delivery) => delivery.id).sort())
      const forged = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: '{}' })
      expect(forged.status).toBe(401)
      const tooLong = fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'x'.repeat(4_097) })
      await expect(tooLong).rejects.toThrow()
    } finally {
      child.kill()
    }
  })
})

async function startReceiver(env: Record<string, string>): Promise<{ output(): string; child: ChildProcess }> {
  const child = spawn(process.execPath, [join(programs.folder, 'receiver.ts')], { env: { ...process.env, ...env } })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')))
  await eventually('the receiver', () => Promise.resolve(output.includes('ready')))
  return { output: () => output, child }
}

describe('the recipe for signatures', () => {
  let endpoint: Endpoint
  let request: ReceivedRequest
  let body: Buffer
  let keys: Keys
  let receivedAtMs = 0
  beforeAll(async () => {
    endpoint = await register(`${receiver.origin}/signed`)
    request = await receiveAlert('/signed')
    receivedAtMs = Date.now()
    body = Buffer.from(request.body)
    keys = { secrets: [endpoint.secret], publicKeys: [endpoint.publicKey] }
  })
  const signatures = () => String(request.headers['webhook-signature']).split(' ')
  const verifyWith = (headers: Headers, changes: { body?: Buffer; keys?: Keys; nowMs?: number } = {}) =>
    verifyWebhook(
      { ...request.headers, ...headers },
      changes.body ?? body,
      changes.keys ?? keys,
      changes.nowMs ?? receivedAtMs,
    )

  test('it accepts a message of the gateway, by either kind of key', () => {
    const id = request.headers['webhook-id']
    expect(verifyWith({})).toEqual({ id, message: JSON.parse(request.body) as object })
    expect(verifyWith({}, { keys: { ...keys, publicKeys: [] } })).toMatchObject({ id })
    expect(verifyWith({}, { keys: { ...keys, secrets: [] } })).toMatchObject({ id })
    for (const signature of signatures()) expect(verifyWith({ 'webhook-signature': signature })).toMatchObject({ id })
  })

  test('it rejects a message of which any byte was changed', () => {
    const id = String(request.headers['webhook-id'])
    const timestamp = String(request.headers['webhook-timestamp'])
    expect(() => verifyWith({}, { body: Buffer.from(request.body.replace('URGENT', 'INFO')) })).toThrow()
    expect(() => verifyWith({}, { body: Buffer.concat([body, Buffer.from(' ')]) })).toThrow()
    expect(() => verifyWith({ 'webhook-id': `${id}x` })).toThrow()
    expect(() => verifyWith({ 'webhook-timestamp': String(Number(timestamp) + 1) })).toThrow()
    // The signed content is the same, with another boundary between its parts.
    const [start = '', ...rest] = request.body.split('.')
    const moved = { 'webhook-id': `${id}.${timestamp}`, 'webhook-timestamp': start }
    expect(() => verifyWith(moved, { body: Buffer.from(rest.join('.')) })).toThrow()
    expect(() => verifyWith({ 'webhook-timestamp': `${timestamp}.0` })).toThrow()
  })

  test('it rejects a message that is older than five minutes, or of the future', () => {
    expect(verifyWith({}, { nowMs: receivedAtMs + 290_000 })).toBeDefined()
    for (const shiftMs of [310_000, -310_000])
      expect(() => verifyWith({}, { nowMs: receivedAtMs + shiftMs })).toThrow('webhook-timestamp')
    for (const timestamp of ['', '0x10', '-1', 'now', undefined])
      expect(() => verifyWith({ 'webhook-timestamp': timestamp })).toThrow('webhook-timestamp')
  })

  test('it rejects signatures of other keys, and never takes an empty secret', async () => {
    const other = await register(`${receiver.origin}/other`)
    expect(() => verifyWith({}, { keys: { secrets: [other.secret], publicKeys: [other.publicKey] } })).toThrow()
    expect(() => verifyWith({}, { keys: { secrets: [], publicKeys: [] } })).toThrow()
    for (const secret of ['', 'whsec_', 'undefined', endpoint.publicKey])
      expect(() => verifyWith({}, { keys: { secrets: [secret], publicKeys: [] } })).toThrow('whsec_')
    expect(() => verifyWith({}, { keys: { secrets: [], publicKeys: [endpoint.secret] } })).toThrow('whpk_')
  })

  test('it rejects a signature under the label of another version, and an HMAC with the public key', () => {
    const [v1 = '', v1a = ''] = signatures().map((signature) => signature.split(',')[1]!)
    const content = `${String(request.headers['webhook-id'])}.${String(request.headers['webhook-timestamp'])}.${request.body}`
    const byPublicKey = createHmac('sha256', Buffer.from(endpoint.publicKey.slice(5), 'base64')).update(content)
    for (const signature of [
      `v1a,${v1}`,
      `v1,${v1a}`,
      `v2,${v1}`,
      `v1 ${v1}`,
      v1,
      'v1,',
      'v1',
      '',
      `v1,${byPublicKey.digest('base64')}`,
      `v1,${v1.slice(0, 20)}`,
    ])
      expect(() => verifyWith({ 'webhook-signature': signature })).toThrow('no valid signature')
    expect(() => verifyWith({ 'webhook-signature': undefined })).toThrow('no valid signature')
  })

  test('during a rotation it accepts messages by the earlier and the new keys, and afterwards only by the new ones', async () => {
    await gateway.database.query("update webhook_endpoint set status = 'ACTIVE' where id = $1", [endpoint.id])
    const rotate = async (operation: string): Promise<Keys> => {
      const payload = await send(operation, { endpoint: endpoint.id })
      const { publicKey } = payload['webhookEndpoint'] as { publicKey: string }
      return { secrets: [String(payload['signingSecret'])], publicKeys: [publicKey] }
    }
    const accepts = (message: ReceivedRequest, tried: Keys): boolean[] =>
      [tried, { ...tried, secrets: [] }, { ...tried, publicKeys: [] }].map((one) => {
        try {
          return verifyWebhook(message.headers, Buffer.from(message.body), one).id !== ''
        } catch {
          return false
        }
      })
    const rotated = await rotate(page.operationOf('RotateSecret'))
    const during = await receiveAlert('/signed')
    expect(String(during.headers['webhook-signature']).split(' ')).toHaveLength(4)
    expect(accepts(during, keys)).toEqual([true, true, true])
    expect(accepts(during, rotated)).toEqual([true, true, true])
    const last = await rotate(
      page
        .operationOf('RotateSecret')
        .replace('overlapHours: 24', 'overlapHours: 0')
        .replace('rotation-1', 'rotation-2'),
    )
    const after = await receiveAlert('/signed')
    expect(accepts(after, last)).toEqual([true, true, true])
    for (const earlier of [keys, rotated]) expect(accepts(after, earlier)).toEqual([false, false, false])
  })
})

describe('the test vector', () => {
  const vector = page.jsonOf('json vector') as Record<string, string>
  const { secret = '', privateKey = '', publicKey = '', id = '', timestamp = '', body = '', v1 = '', v1a = '' } = vector
  const at = new Date(Number(timestamp) * 1_000)

  test('it is what the gateway sends with its keys', () => {
    expect(webhookHeaders([importWebhookKeys({ secret, privateKey })], id, at, body)).toEqual({
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `${v1} ${v1a}`,
    })
    expect(page.text).toContain(`in UTF-8, ${Buffer.byteLength(body)} bytes`)
  })

  test('its signatures are those of another implementation', async () => {
    const content = new TextEncoder().encode(`${id}.${timestamp}.${body}`)
    const bytesOf = (text: string, prefix: string) => Buffer.from(text.slice(prefix.length), 'base64')
    const hmac = { name: 'HMAC', hash: 'SHA-256' }
    const hmacKey = await crypto.subtle.importKey('raw', bytesOf(secret, 'whsec_'), hmac, false, ['sign'])
    expect(v1).toBe(`v1,${Buffer.from(await crypto.subtle.sign('HMAC', hmacKey, content)).toString('base64')}`)
    const verifyKey = await crypto.subtle.importKey('raw', bytesOf(publicKey, 'whpk_'), 'Ed25519', false, ['verify'])
    expect(await crypto.subtle.verify('Ed25519', verifyKey, bytesOf(v1a, 'v1a,'), content)).toBe(true)
    expect(bytesOf(privateKey, 'whsk_').subarray(32)).toEqual(bytesOf(publicKey, 'whpk_'))
  })

  test('the recipe of the page accepts the test vector', () => {
    const headers = { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `${v1} ${v1a}` }
    for (const keys of [
      { secrets: [secret], publicKeys: [] },
      { secrets: [], publicKeys: [publicKey] },
    ])
      expect(verifyWebhook(headers, Buffer.from(body), keys, at.getTime())).toMatchObject({ id })
  })
})

describe('the recipe for Security Event Tokens', () => {
  let set = ''
  let published: JSONWebKeySet
  let expected: ExpectedSet
  beforeAll(async () => {
    await register(`${receiver.origin}/set`, (operation) =>
      operation.replace('STANDARD_WEBHOOKS', 'SECURITY_EVENT_TOKEN'),
    )
    published = (await (await fetch(`${gateway.issuer}/.well-known/jwks.json`)).json()) as JSONWebKeySet
    expected = { issuer: gateway.issuer, clientId: 'chatterbox', keys: published.keys }
    set = (await receiveAlert('/set')).body
  })
  const claimsOf = (text: string) =>
    JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as Record<string, unknown>
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

  test('it accepts a token of the gateway with the claims of the page, as another implementation does', async () => {
    const { id, type, data } = verifySet(set, expected)
    const { payload, protectedHeader } = await jwtVerify(set, createLocalJWKSet(published), {
      issuer: gateway.issuer,
      audience: 'chatterbox',
      typ: 'secevent+jwt',
    })
    expect({ id, type, data }).toEqual({
      id: payload.jti,
      type: 'urn:guichet:events:alert-received',
      data: (payload['events'] as Record<string, { data: object }>)['urn:guichet:events:alert-received']!.data,
    })
    const shown = page.jsonOf('json set')
    expect(Object.keys(payload)).toEqual(Object.keys(shown))
    expect(Object.keys(payload).sort()).toEqual(
      page
        .rowsOf('claim')
        .map(([claim]) => claim!.replaceAll('`', ''))
        .sort(),
    )
    const [[shownType, shownEvent] = ['', {}]] = Object.entries(shown['events'] as Record<string, { data?: object }>)
    expect(shownType).toBe(type)
    expect(Object.keys(shownEvent.data!)).toEqual(Object.keys(data))
    expect(Object.keys(protectedHeader).sort()).toEqual(['alg', 'kid', 'typ'])
  })

  test('it rejects a token that was changed, or that no key of the gateway signed', async () => {
    const [header = '', claims = '', signature = ''] = set.split('.')
    const { kid } = claimsOf(header)
    const changed = encode({ ...claimsOf(claims), jti: 'dlvr_other' })
    const { privateKey } = await generateKeyPair('ES256')
    const forged = await new SignJWT(claimsOf(claims))
      .setProtectedHeader({ alg: 'ES256', typ: 'secevent+jwt', kid: String(kid) })
      .sign(privateKey)
    const eventKey = published.keys.find((key) => key.kid === kid)!
    const hmacKey = Buffer.from(JSON.stringify(eventKey))
    const unsigned = `${encode({ alg: 'HS256', typ: 'secevent+jwt', kid })}.${claims}`
    const confused = `${unsigned}.${createHmac('sha256', hmacKey).update(unsigned).digest('base64url')}`
    for (const attack of [
      `${header}.${changed}.${signature}`,
      `${encode({ alg: 'none', typ: 'secevent+jwt', kid })}.${claims}.`,
      `${encode({ alg: 'ES256', typ: 'secevent+jwt', kid: 'other' })}.${claims}.${signature}`,
      `${header}.${claims}.`,
      `${set}.${signature}`,
      forged,
      confused,
      '',
    ])
      expect(() => verifySet(attack, expected), attack).toThrow()
  })

  test('it rejects a token for another client or of another gateway, and an ID token of the gateway', async () => {
    expect(() => verifySet(set, { ...expected, clientId: 'other' })).toThrow('somebody else')
    expect(() => verifySet(set, { ...expected, issuer: 'https://other.example' })).toThrow('somebody else')
    const { idToken } = await gateway.customer('bo', ['northbank'])
    expect(() => verifySet(idToken!, expected)).toThrow('the header is wrong')
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
    const key = { ...(await exportJWK(publicKey)), kid: 'test', alg: 'ES256' }
    const sign = (typ: string, events: object) =>
      new SignJWT({ iss: gateway.issuer, aud: 'chatterbox', jti: 'dlvr_test', events })
        .setProtectedHeader({ alg: 'ES256', kid: 'test', typ })
        .sign(privateKey)
    const withKey = { ...expected, keys: [key] }
    expect(verifySet(await sign('secevent+jwt', { one: { data: {} } }), withKey)).toMatchObject({ id: 'dlvr_test' })
    const wrongType = await sign('JWT', { one: { data: {} } })
    expect(() => verifySet(wrongType, withKey)).toThrow('the header is wrong')
    for (const events of [{}, { one: {}, two: {} }]) {
      const wrong = await sign('secevent+jwt', events)
      expect(() => verifySet(wrong, withKey)).toThrow('not exactly one event')
    }
  })
})
