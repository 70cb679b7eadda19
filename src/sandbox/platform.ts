import { createHmac, timingSafeEqual } from 'node:crypto'
import { json, type Routes } from './server.ts'

interface ReceivedWebhook {
  readonly id: string
  readonly verified: boolean
  readonly body: unknown
}

const MAX_RECEIVED = 1_000

/** Chatterbox, the sandbox messaging platform: verifies webhooks and lists those received. */
export function platformRoutes(): Routes {
  const received: ReceivedWebhook[] = []
  let secret = ''
  return {
    'GET /callback': ({ url }) =>
      json(200, { code: url.searchParams.get('code'), error: url.searchParams.get('error') }),
    'PUT /sandbox/webhook-secret': ({ body }) => {
      secret = (JSON.parse(body) as { secret: string }).secret
      return { status: 204 }
    },
    'POST /webhooks': ({ headers, body }) => {
      const id = String(headers['webhook-id'])
      const verified = isSignatureValid(
        secret,
        id,
        String(headers['webhook-timestamp']),
        body,
        String(headers['webhook-signature']),
      )
      received.push({ id, verified, body: JSON.parse(body) as unknown })
      if (received.length > MAX_RECEIVED) received.shift()
      return { status: verified ? 204 : 401 }
    },
    'GET /sandbox/received': () => json(200, { received }),
  }
}

/** Standard Webhooks 1.0: `v1,` followed by an HMAC over id, timestamp and body. */
function isSignatureValid(secret: string, id: string, timestamp: string, body: string, signatures: string): boolean {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  const expected = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest()
  return signatures.split(' ').some((signature) => {
    const actual = Buffer.from(signature.replace(/^v1,/, ''), 'base64')
    return actual.length === expected.length && timingSafeEqual(actual, expected)
  })
}
