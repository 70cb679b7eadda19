import { createHmac } from 'node:crypto'

/** A new signing secret in the format of Standard Webhooks 1.0. */
export const webhookSecret = (random: Buffer): string => `whsec_${random.toString('base64')}`

/** The headers of one attempt (Standard Webhooks 1.0). `id` is the same for every attempt; `at` and the signature are not. */
export function webhookHeaders(secret: string, id: string, at: Date, body: string): Record<string, string> {
  const timestamp = String(Math.floor(at.getTime() / 1_000))
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` }
}
