import { createHmac, createPublicKey, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { HOUR_MS } from '../../src/kernel/clock.ts'
import { digest } from '../../src/kernel/ids.ts'
import { createSeal } from '../../src/storage/seal.ts'
import type { UserError } from '../../src/kernel/user-errors.ts'
import { createDeliveryTools, type DeliveryTools } from '../support/delivery-tools.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { startSecondGateway } from '../support/second-gateway.ts'
import { startWebhookReceiver, type ReceivedRequest, type WebhookReceiver } from '../support/webhook-receiver.ts'

interface Keys {
  readonly signingSecret: string
  readonly publicKey: string
}
interface Rotated {
  readonly webhookEndpoint: { readonly publicKey: string; readonly secretOverlapEndsAt: string | null } | null
  readonly signingSecret: string | null
  readonly userErrors: readonly UserError[]
}

let gateway: TestGateway
let receiver: WebhookReceiver
let tools: DeliveryTools
let endpointId = ''
let keys: Keys

beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  receiver = await startWebhookReceiver()
  tools = createDeliveryTools(gateway)
  await gateway.customer('bo', ['northbank'])
})
beforeEach(async () => {
  await gateway.database.query("update webhook_endpoint set status = 'DISABLED', url = url || '?' || id")
  const registered = await gateway.app.services.deliveries.registerEndpoint('chatterbox', `${receiver.origin}/hook`)
  endpointId = registered.webhookEndpoint.id
  keys = { signingSecret: registered.signingSecret!, publicKey: registered.webhookEndpoint.publicKey! }
  receiver.requests.length = 0
})
afterEach(async () => {
  await tools.clear()
  await gateway.database.query('delete from delivery_attempt; delete from delivery; delete from webhook_endpoint')
})
afterAll(async () => {
  receiver.close()
  await gateway.close()
})

async function rotate(input: object, clientId = 'chatterbox'): Promise<Rotated> {
  const query = `mutation ($input: RotateWebhookSecretInput!) { rotateWebhookSecret(input: $input) {
    webhookEndpoint { publicKey secretOverlapEndsAt } signingSecret userErrors { code path message } } }`
  const token = await gateway.own(clientId, 'webhooks:manage')
  const { data, errors } = await gateway.ask(token, query, { input: { webhookEndpointId: endpointId, ...input } })
  expect(errors).toBeUndefined()
  return data!['rotateWebhookSecret'] as Rotated
}
const keysOf = ({ webhookEndpoint, signingSecret }: Rotated): Keys => ({
  signingSecret: signingSecret!,
  publicKey: webhookEndpoint!.publicKey,
})

/** Sends a message and returns the request that the receiver got. */
async function send(): Promise<ReceivedRequest> {
  await tools.newDeliveries()
  await tools.attemptDue()
  return receiver.requests.at(-1)!
}

const signaturesOf = ({ headers }: ReceivedRequest): string[] => String(headers['webhook-signature']).split(' ')

/** Which of the signatures are valid for these keys, by their place in the header; verified without code of the gateway. */
function validFor(request: ReceivedRequest, { signingSecret, publicKey }: Keys): number[] {
  const { headers, body } = request
  const content = Buffer.from(`${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`)
  const secret = Buffer.from(signingSecret.replace('whsec_', ''), 'base64')
  const hmac = createHmac('sha256', secret).update(content).digest('base64')
  const x = Buffer.from(publicKey.replace('whpk_', ''), 'base64').toString('base64url')
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
  return signaturesOf(request).flatMap((signature, index) => {
    const [version, value = ''] = signature.split(',')
    const isValid =
      version === 'v1' ? value === hmac : version === 'v1a' && verify(null, content, key, Buffer.from(value, 'base64'))
    return isValid ? [index] : []
  })
}

describe('the signatures of a message', () => {
  test('each message has a signature by the secret and one by the key pair of its endpoint', async () => {
    const request = await send()
    expect(signaturesOf(request)).toHaveLength(2)
    expect(validFor(request, keys)).toEqual([0, 1])
    expect(keys.signingSecret).toMatch(/^whsec_[\w+/]{43}=$/)
    expect(keys.publicKey).toMatch(/^whpk_[\w+/]{43}=$/)
  })

  test('every attempt has the same ID and body, and its own time and signatures', async () => {
    receiver.respond = (response) => void response.writeHead(503).end()
    await send()
    gateway.forward(HOUR_MS)
    await tools.makeDue()
    await tools.attemptDue()
    receiver.respond = (response) => void response.writeHead(204).end()
    const [first, second] = receiver.requests as [ReceivedRequest, ReceivedRequest]
    expect(second.body).toBe(first.body)
    expect(second.headers['webhook-id']).toBe(first.headers['webhook-id'])
    expect(second.headers['webhook-timestamp']).not.toBe(first.headers['webhook-timestamp'])
    expect(validFor(first, keys)).toEqual([0, 1])
    expect(validFor(second, keys)).toEqual([0, 1])
    expect(new Set([...signaturesOf(first), ...signaturesOf(second)]).size).toBe(4)
  })

  test('two endpoints of a client have different secrets and keys', async () => {
    const other = await gateway.app.services.deliveries.registerEndpoint('chatterbox', `${receiver.origin}/other`)
    const otherKeys = { signingSecret: other.signingSecret!, publicKey: other.webhookEndpoint.publicKey! }
    await tools.newDeliveries()
    await tools.attemptDue()
    const request = receiver.requests.find(({ path }) => path === '/hook')!
    expect(validFor(request, keys)).toEqual([0, 1])
    expect(validFor(request, otherKeys)).toEqual([])
  })

  test('an endpoint from before there were key pairs is signed by its secret, and gets a key pair by a rotation', async () => {
    const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
    await gateway.database.query('update webhook_endpoint set public_key = null where id = $1', [endpointId])
    const keyText = readFileSync(join(gateway.dataDir, 'sealing-key'), 'utf8')
    const seal = createSeal([{ id: digest(keyText).slice(0, 12), bytes: Buffer.from(keyText, 'base64url') }])
    const sealed = await seal.seal(`webhook-secret:${endpointId}`, secret)
    await gateway.database.query('update webhook_secret set sealed = $1 where webhook_endpoint_id = $2', [
      sealed,
      endpointId,
    ])
    const old = await send()
    expect(signaturesOf(old)).toHaveLength(1)
    expect(validFor(old, { ...keys, signingSecret: secret })).toEqual([0])
    const rotated = keysOf(await rotate({}))
    const request = await send()
    expect(signaturesOf(request).map((signature) => signature.split(',')[0])).toEqual(['v1', 'v1a', 'v1'])
    expect(validFor(request, rotated)).toEqual([0, 1])
    expect(validFor(request, { ...keys, signingSecret: secret })).toEqual([2])
  })
})

describe('the rotation of a secret', () => {
  test('during the overlap both secrets and keys sign, the new ones first, and afterwards only the new ones', async () => {
    // The keys are in the cache of the process.
    await send()
    const result = await rotate({ overlapHours: 2 })
    const rotated = keysOf(result)
    expect(Date.parse(result.webhookEndpoint!.secretOverlapEndsAt!) - Date.now()).toBeGreaterThan(1.9 * HOUR_MS)
    const during = await send()
    expect(validFor(during, rotated)).toEqual([0, 1])
    expect(validFor(during, keys)).toEqual([2, 3])
    gateway.forward(2 * HOUR_MS + 1_000)
    const after = await send()
    expect(signaturesOf(after)).toHaveLength(2)
    expect(validFor(after, rotated)).toEqual([0, 1])
    expect(await gateway.app.services.deliveries.deleteEndedSecrets()).toBe(1)
    expect(validFor(await send(), rotated)).toEqual([0, 1])
  })

  test('the earlier secret signs for another 24 hours if no overlap is given', async () => {
    const { webhookEndpoint } = await rotate({})
    const overlapMs = Date.parse(webhookEndpoint!.secretOverlapEndsAt!) - Date.now()
    expect(overlapMs).toBeGreaterThan(23.9 * HOUR_MS)
    expect(overlapMs).toBeLessThanOrEqual(24 * HOUR_MS)
  })

  test('a rotation without overlap ends every earlier secret immediately', async () => {
    const second = keysOf(await rotate({ overlapHours: 168 }))
    const third = await rotate({ overlapHours: 0 })
    expect(third.webhookEndpoint!.secretOverlapEndsAt).toBeNull()
    const request = await send()
    expect(signaturesOf(request)).toHaveLength(2)
    expect(validFor(request, keysOf(third))).toEqual([0, 1])
    expect([...validFor(request, keys), ...validFor(request, second)]).toEqual([])
  })

  test('a later rotation never prolongs the time of an earlier secret', async () => {
    await rotate({ overlapHours: 1 })
    await rotate({ overlapHours: 168 })
    gateway.forward(HOUR_MS + 1_000)
    const request = await send()
    expect(validFor(request, keys)).toEqual([])
    expect(signaturesOf(request)).toHaveLength(4)
  })

  test('at most three secrets sign beside the newest, and a rotation without overlap is always possible', async () => {
    for (const overlapHours of [5, 10, 20]) expect((await rotate({ overlapHours })).userErrors).toEqual([])
    expect(signaturesOf(await send())).toHaveLength(8)
    const refused = await rotate({ overlapHours: 1 })
    expect(refused).toMatchObject({
      webhookEndpoint: null,
      signingSecret: null,
      userErrors: [{ code: 'STATE_CONFLICT', path: ['overlapHours'] }],
    })
    expect(refused.userErrors[0]!.message).toMatch(/must be 0 while 3 earlier secrets still sign; .+ ends at 20.+Z/)
    expect((await rotate({ overlapHours: 0 })).userErrors).toEqual([])
  })

  test.each([-1, 169])('an overlap of %i hours is refused', async (overlapHours) => {
    expect(await rotate({ overlapHours })).toMatchObject({
      signingSecret: null,
      userErrors: [{ code: 'INVALID_INPUT', path: ['overlapHours'] }],
    })
  })

  test('two processes that rotate a secret concurrently leave one newest secret, and every returned one signs', async () => {
    const second = await startSecondGateway(gateway)
    const results = await Promise.all(
      [gateway.app, second.app, second.app].map((app) =>
        app.services.deliveries.rotateSecret('chatterbox', endpointId, { overlapHours: 1 }),
      ),
    )
    await second.close()
    const newest = await gateway.database.query(
      'select 1 from webhook_secret where webhook_endpoint_id = $1 and signs_until is null',
      [endpointId],
    )
    expect(newest).toHaveLength(1)
    const request = await send()
    expect(signaturesOf(request)).toHaveLength(8)
    const { publicKey } = (await gateway.app.services.deliveries.findEndpoint('chatterbox', endpointId))!
    const places = results.map(({ signingSecret }) =>
      validFor(request, { signingSecret: signingSecret!, publicKey: publicKey! }),
    )
    // The public key of the endpoint belongs to the newest secret.
    expect(places.filter((place) => place.includes(0))).toEqual([[0, 1]])
    expect(places.every((place) => place.length > 0)).toBe(true)
    expect(validFor(request, keys)).toEqual([6, 7])
  })

  test('repeated requests with one idempotency key rotate once and return the same secret', async () => {
    const input = { overlapHours: 1, idempotencyKey: 'rotation-1' }
    const first = await rotate(input)
    expect(await rotate(input)).toEqual(first)
    expect(signaturesOf(await send())).toHaveLength(4)
  })

  test('an endpoint of another client is rotated like one that does not exist', async () => {
    const foreign = await rotate({}, 'chatterbox-bearer')
    expect(foreign).toEqual(await rotate({ webhookEndpointId: 'whep_nobody' }, 'chatterbox-bearer'))
    expect(foreign.userErrors).toMatchObject([{ code: 'NOT_FOUND', path: ['webhookEndpointId'] }])
    expect(validFor(await send(), keys)).toEqual([0, 1])
  })

  test('no secret and no private key is in the database or the ledger in readable form', async () => {
    const { signingSecret } = keysOf(await rotate({ overlapHours: 1 }))
    const rows = await gateway.database.query(
      `select to_jsonb(s)::text from webhook_secret s union all select to_jsonb(e)::text from webhook_endpoint e
       union all select to_jsonb(l)::text from ledger_entry l where subject_id = $1 union all select to_jsonb(i)::text from idempotency_record i`,
      [endpointId],
    )
    const text = JSON.stringify(rows)
    expect(text).toContain('WEBHOOK_SECRET_ROTATED')
    for (const secret of [signingSecret, keys.signingSecret, 'whsec_', 'whsk_'])
      expect(text).not.toContain(secret.replace('whsec_', '') || secret)
    expect(gateway.log.join('\n')).not.toMatch(/whsec_|whsk_/)
  })
})
