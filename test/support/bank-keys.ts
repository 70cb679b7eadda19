import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { importJWK, SignJWT, type JWK } from 'jose'
import type { TestGateway } from './gateway.ts'

/** What a test says of an event; everything else is as a good bank would have it. */
export interface EventChoice {
  readonly claims?: Record<string, unknown>
  readonly header?: Record<string, unknown>
  readonly key?: JWK
  readonly without?: readonly string[]
}

/** Signs an event as the sandbox bank, with its own key, and changes what the test wants changed. */
export async function signEvent(
  gateway: { readonly dataDir: string; readonly sandbox: Pick<TestGateway['sandbox'], 'banks'> },
  bank: 'northbank' | 'rheinbank' | 'southbank',
  choice: EventChoice = {},
): Promise<{ token: string; url: string }> {
  const state = JSON.parse(readFileSync(join(gateway.dataDir, 'sandbox', `${bank}.json`), 'utf8')) as {
    signingKey: JWK
    clients: Record<string, { eventsUrl: string }>
  }
  const url = state.clients['guichet']!.eventsUrl
  const claims: Record<string, unknown> = {
    iss: gateway.sandbox.banks[bank],
    aud: url,
    iat: Math.floor(Date.now() / 1_000),
    jti: randomUUID(),
    sub_id: { format: 'opaque', id: 'nb-10001' },
    events: {
      'urn:guichet:events:security-alert': {
        account: 'nb-10001',
        type: 'CARD_SECURITY',
        severity: 'URGENT',
        requested_action: 'CALL_BANK',
        occurred_at: Math.floor(Date.now() / 1_000),
      },
    },
    ...choice.claims,
  }
  for (const name of choice.without ?? []) Reflect.deleteProperty(claims, name)
  const key = choice.key ?? state.signingKey
  const token = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', typ: 'secevent+jwt', kid: state.signingKey.kid!, ...choice.header })
    .sign(await importJWK(key, key.alg ?? 'ES256'), {
      crit: Object.fromEntries(Object.keys(choice.header ?? {}).map((name) => [name, true])),
    })
  return { token, url }
}

/** Pushes a token as a bank does. */
export const push = (url: string, token: string, contentType = 'application/secevent+jwt'): Promise<Response> =>
  fetch(url, { method: 'POST', headers: { 'content-type': contentType }, body: token })
