import { createHmac } from 'node:crypto'

/** A new endpoint secret as Standard Webhooks 1.0 writes it. */
export const webhookSecret = (random: Buffer): string => `whsec_${random.toString('base64')}`

/** The three headers of Standard Webhooks 1.0 for one attempt; signed anew each time, with the same id for life. */
export function webhookHeaders(secret: string, id: string, at: Date, body: string): Record<string, string> {
  const timestamp = String(Math.floor(at.getTime() / 1_000))
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` }
}
