import { createLocalJWKSet, jwtVerify, type JWTPayload } from 'jose'
import type { SandboxBank } from './bank.ts'
import type { ReceivedAnswer } from './fraud-desk.ts'
import { pushResponseProcessed } from './alert-events.ts'
import { json, HttpError, type Routes, type SandboxRequest } from './server.ts'

/** Where clients send the answers of customers (RFC 8935). */
export const RESPONSES_PATH = '/alert-responses'
const ALERT_RESPONSE = 'urn:guichet:events:alert-response'

interface AnswerEvent {
  readonly alert?: string
  readonly answer?: string
}

/** Receives answers, as a bank's fraud desk would: verifies the token, takes each once, freezes the account and confirms. */
export const alertResponseRoutes = (bank: SandboxBank): Routes => ({
  [`POST ${RESPONSES_PATH}`]: async (request) => {
    const { clientId, payload } = await verifyToken(bank, request)
    const { jti, sub_id: subject } = payload as JWTPayload & { readonly sub_id?: { readonly id?: string } }
    const { alert, answer } = (payload['events'] as Record<string, AnswerEvent> | undefined)?.[ALERT_RESPONSE] ?? {}
    if (!jti || !alert || !answer) throw rejected('invalid_request')
    const account = bank.fraudDesk.accountOf(alert) ?? subject?.id ?? null
    const isNew = bank.fraudDesk.addAnswer({ jti, alert, answer, account, isConfirmed: false })
    // The desk acts on the answer after it has acknowledged it.
    if (isNew) setImmediate(() => void actOn(bank, clientId, jti))
    return { status: 202 }
  },

  /** What the fraud desk shows. */
  'GET /sandbox/alert-responses': () =>
    json(200, { responses: bank.fraudDesk.responses, frozenAccounts: bank.fraudDesk.frozenAccounts }),
})

async function actOn(bank: SandboxBank, clientId: string, jti: string): Promise<void> {
  const answer = bank.fraudDesk.responses.find((received: ReceivedAnswer) => received.jti === jti)!
  if (answer.answer === 'FREEZE_REQUESTED' && answer.account !== null) bank.fraudDesk.freeze(answer.account)
  bank.fraudDesk.confirm(jti)
  await pushResponseProcessed(bank, clientId, jti, 'CONFIRMED')
}

/** The client whose key signed the token. Throws an error of RFC 8935, 2.3. */
async function verifyToken(
  bank: SandboxBank,
  { headers, body }: SandboxRequest,
): Promise<{ clientId: string; payload: JWTPayload }> {
  if (headers['content-type'] !== 'application/secevent+jwt') throw rejected('invalid_request')
  for (const [clientId, client] of bank.clients()) {
    const verified = await jwtVerify(body, createLocalJWKSet({ keys: [...client.keys] }), {
      audience: bank.origin,
      typ: 'secevent+jwt',
      requiredClaims: ['iss', 'jti', 'iat'],
    }).catch(() => undefined)
    if (verified) return { clientId, payload: verified.payload }
  }
  throw rejected('invalid_key')
}

const rejected = (err: string): HttpError =>
  new HttpError(json(400, { err, description: 'The token is not accepted.' }))
