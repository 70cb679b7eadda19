import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JWK } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { push, signEvent, type EventChoice } from '../support/bank-keys.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { ok } from '../support/scripted-bank.ts'

const KEYS_URL = 'https://keys.northbank.example/jwks.json'
const ALERT = 'urn:guichet:events:security-alert'
const REVOKED = 'urn:uk:org:openbanking:events:consent-authorization-revoked'

let gateway: TestGateway
let published: readonly unknown[] | 'UNAVAILABLE'
beforeAll(async () => {
  gateway = await startGateway()
  gateway.intercept = ({ url }) =>
    url === KEYS_URL
      ? Promise.resolve(published === 'UNAVAILABLE' ? { status: 503, headers: {}, text: '' } : ok({ keys: published }))
      : undefined
})
afterAll(() => gateway.close())
beforeEach(() => {
  published = [northbankKey()]
})

const northbankState = () =>
  JSON.parse(readFileSync(join(gateway.dataDir, 'sandbox', 'northbank.json'), 'utf8')) as {
    signingKey: JWK
    consents: Record<string, { customer: string; status: string }>
  }
const northbankKey = (): unknown => {
  const { d: _private, ...key } = northbankState().signingKey
  return key
}
const changeRegistration = async (
  events: Record<string, unknown>,
  without = '',
  bankId = 'northbank',
): Promise<void> => {
  await gateway.database.query(
    `update connector set registration = jsonb_set(registration, '{events}', (registration -> 'events') - $2 || $1::jsonb)
     where bank_id = $3`,
    [JSON.stringify(events), without, bankId],
  )
  await gateway.app.services.signals.publishNow({ kind: 'BANK', id: bankId })
}
const alertCount = async (): Promise<number> =>
  (await gateway.database.query<{ n: number }>('select count(*)::int n from alert'))[0]!.n
const bankConsentOf = (customer: string): string =>
  Object.entries(northbankState().consents).findLast(
    ([, consent]) => consent.customer === customer && consent.status === 'AUTHORIZED',
  )![0]
const alert = (account: string) => ({
  [ALERT]: { account, type: 'CARD_SECURITY', occurred_at: Math.floor(Date.now() / 1_000) },
})
const revoked = (id: string) => ({ [REVOKED]: { subject: { 'http://openbanking.org.uk/rid': id } } })
const statusOfConsents = async (): Promise<string[]> =>
  (
    await gateway.database.query<{ status: string }>(
      "select status from consent where bank_id = 'northbank' order by id",
    )
  ).map(({ status }) => status)

describe('a bank that sends several events in one token', () => {
  beforeAll(() => changeRegistration({ maxEventsPerToken: 2 }))

  test('all events of a token take effect once, even if the token arrives ten times concurrently', async () => {
    await gateway.customer('ada', ['northbank'])
    await gateway.customer('bo', ['northbank'])
    const [alerts, active] = [await alertCount(), (await statusOfConsents()).filter((status) => status === 'ACTIVE')]
    const events = { ...revoked(bankConsentOf('ada')), ...alert('nb-10003') }
    const { token, url } = await signEvent(gateway, 'northbank', { claims: { events } })
    const statuses = await Promise.all(Array.from({ length: 10 }, async () => (await push(url, token)).status))
    expect(new Set(statuses)).toEqual(new Set([202]))
    expect(await alertCount()).toBe(alerts + 1)
    expect((await statusOfConsents()).filter((status) => status === 'ACTIVE')).toHaveLength(active.length - 1)
  })

  test('a token with the id of an earlier one has no effect, whichever of its events it holds', async () => {
    const jti = randomUUID()
    const send = async (events: Record<string, unknown>) => {
      const { token, url } = await signEvent(gateway, 'northbank', { claims: { jti, events } })
      return (await push(url, token)).status
    }
    const before = await alertCount()
    expect(await send({ ...revoked('unknown'), ...alert('nb-10003') })).toBe(202)
    expect(await send(alert('nb-10003'))).toBe(202)
    expect(await send({ ...alert('nb-10003'), 'urn:other': {} })).toBe(202)
    expect(await alertCount()).toBe(before + 1)
  })

  test('no event of a token is stored if one of them cannot be, and the token is accepted when it is sent again', async () => {
    const { token, url } = await signEvent(gateway, 'northbank', {
      claims: { events: { ...revoked('unknown'), ...alert('nb-10003') } },
    })
    const before = await alertCount()
    await gateway.database.query('alter table outbox_message rename to away')
    expect((await push(url, token)).status).toBe(503)
    await gateway.database.query('alter table away rename to outbox_message')
    expect(await alertCount()).toBe(before)
    expect((await push(url, token)).status).toBe(202)
    expect(await alertCount()).toBe(before + 1)
  })
})

test('a bank that states the issuer of another one cannot use up the ids of its events', async () => {
  const issuer = gateway.sandbox.banks.northbank
  await changeRegistration({ issuer }, '', 'rheinbank')
  const before = await alertCount()
  const claims = { jti: 'event-1001', iss: issuer, events: alert('nb-10003') }
  for (const bank of ['rheinbank', 'northbank', 'northbank'] as const) {
    const { token, url } = await signEvent(gateway, bank, { claims })
    expect((await push(url, token)).status).toBe(202)
  }
  expect(await alertCount()).toBe(before + 1)
})

describe('a bank that publishes the keys of its events', () => {
  beforeAll(() => changeRegistration({ keysUrl: KEYS_URL }, 'keys'))

  test('events fail temporarily while the published keys cannot be had, and are accepted later', async () => {
    const { token, url } = await signEvent(gateway, 'northbank')
    published = 'UNAVAILABLE'
    const refused = await push(url, token)
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    published = [northbankKey()]
    gateway.forward(31_000)
    expect((await push(url, token)).status).toBe(202)
  })

  test('an event that was changed after it was signed is rejected and causes no request for keys', async () => {
    const { token, url } = await signEvent(gateway, 'northbank')
    const [header, , signature] = token.split('.')
    const { token: other } = await signEvent(gateway, 'northbank')
    expect((await push(url, [header, other.split('.')[1], signature].join('.'))).status).toBe(400)
    const requests = gateway.sent.filter((request) => request.url === KEYS_URL).length
    expect((await push(url, token)).status).toBe(202)
    expect(gateway.sent.filter((request) => request.url === KEYS_URL)).toHaveLength(requests)
  })

  test('a key that the bank publishes for RS256 verifies its events only if the registration accepts that', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    published = [{ ...publicKey.export({ format: 'jwk' }), kid: 'rsa-1', alg: 'RS256', use: 'sig' }]
    const key = privateKey.export({ format: 'jwk' }) as JWK
    const send = async (): Promise<number> => {
      const header = { alg: 'RS256', kid: 'rsa-1' }
      const { token, url } = await signEvent(gateway, 'northbank', { key: { ...key, alg: 'RS256' }, header })
      gateway.forward(31_000)
      return (await push(url, token)).status
    }
    expect(await send()).toBe(400)
    await changeRegistration({ acceptsRs256: true })
    expect(await send()).toBe(202)
    await changeRegistration({}, 'acceptsRs256')
  })
})

describe('a bank whose tokens are made in another way', () => {
  const OPEN_BANKING = ['iat', 'iss', 'tan'].map((name) => `http://openbanking.org.uk/${name}`)
  const nowSeconds = () => Math.floor(Date.now() / 1_000)
  const send = async (choice: EventChoice): Promise<number> => {
    const { token, url } = await signEvent(gateway, 'northbank', choice)
    return (await push(url, token)).status
  }
  const header = (iss: string, tan: string) => ({
    crit: OPEN_BANKING,
    [OPEN_BANKING[0]!]: nowSeconds(),
    [OPEN_BANKING[1]!]: iss,
    [OPEN_BANKING[2]!]: tan,
  })
  beforeAll(() => changeRegistration({ keys: { keys: [northbankKey()] } }, 'keysUrl'))

  test('tokens for the client id of the gateway are accepted, and no others', async () => {
    expect(await send({ claims: { aud: 'guichet' } })).toBe(400)
    await changeRegistration({ audience: 'CLIENT_ID' })
    expect(await send({ claims: { aud: 'guichet' } })).toBe(202)
    expect(await send({})).toBe(400)
    await changeRegistration({}, 'audience')
  })

  test('the parameters of Open Banking in a header are those of the registered organisation and directory', async () => {
    const rules = { criticalHeaders: 'OPEN_BANKING', headerIssuer: 'organisation-1', trustAnchor: 'directory.example' }
    await changeRegistration(rules)
    expect(await send({ header: header('organisation-1', 'directory.example') })).toBe(202)
    expect(await send({ header: header('organisation-2', 'directory.example') })).toBe(400)
    expect(await send({ header: header('organisation-1', 'openbanking.org.uk') })).toBe(400)
  })

  test('the clock of a bank may be ahead as far as its registration says', async () => {
    const claims = (seconds: number) => ({ claims: { iat: nowSeconds() + seconds } })
    expect(await send(claims(150))).toBe(400)
    await changeRegistration({ clockToleranceSeconds: 200 })
    expect(await send(claims(150))).toBe(202)
    expect(await send(claims(260))).toBe(400)
  })
})
