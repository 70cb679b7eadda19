import { generateKeyPairSync } from 'node:crypto'
import { UnsecuredJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { ALERT, alert, EVENTS_URL, nowSeconds, readToken, type TokenChoice } from '../support/bank-token.ts'
import { eventTools } from '../support/event-tools.ts'
import { ADDRESS, codeOf, EXAMPLES } from '../support/standards.ts'

const OTHER_BANK = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const [IAT, ISS, TAN] = ['iat', 'iss', 'tan'].map((name) => `http://openbanking.org.uk/${name}`) as [
  string,
  string,
  string,
]
const REVOKED = 'urn:uk:org:openbanking:events:consent-authorization-revoked'
const UPDATED = 'urn:uk:org:openbanking:events:resource-update'
const revoked = (id: string, type = 'account-access-consent') => ({
  subject: { 'http://openbanking.org.uk/rid': id, 'http://openbanking.org.uk/rty': type },
})
const openBankingHeader = () => ({
  crit: [IAT, ISS, TAN],
  [IAT]: nowSeconds(),
  [ISS]: 'bank-1',
  [TAN]: 'openbanking.org.uk',
})

const kindsOf = async (choice: TokenChoice) => (await readToken(choice)).payloads.map(({ kind }) => kind)
const REJECTED = 'EVENT_REJECTED'

describe('the type of an event token', () => {
  test.each<[StandardId, string | undefined, boolean]>([
    ['OBIE', 'secevent+jwt', true],
    ['OBIE', 'application/secevent+jwt', true],
    ['OBIE', 'JOSE', true],
    ['OBIE', undefined, true],
    ['OBIE', 'JWT', false],
    ['OBIE', 'logout+jwt', false],
    ['BERLIN_GROUP', 'secevent+jwt', true],
    ['BERLIN_GROUP', 'JOSE', false],
    ['BERLIN_GROUP', undefined, false],
    ['FDX', 'JOSE', false],
    ['CDR', undefined, false],
  ])('the default of %s for the type %s is: accepted = %s', async (standard, typ, isAccepted) => {
    const result = await codeOf(readToken({ standard, header: { typ } }))
    expect(result).toBe(isAccepted ? 'NONE' : REJECTED)
  })

  test('a registration decides which types are accepted', async () => {
    const members = { tokenTypes: ['JWT', 'ABSENT'] }
    expect(await kindsOf({ members, header: { typ: 'JWT' } })).toEqual(['ALERT'])
    expect(await kindsOf({ members, header: { typ: undefined } })).toEqual(['ALERT'])
    expect(await codeOf(readToken({ members, header: { typ: 'secevent+jwt' } }))).toBe(REJECTED)
    expect(await codeOf(readToken({ members: { tokenTypes: ['JOSE'] }, header: { typ: undefined } }))).toBe(REJECTED)
    expect(await codeOf(readToken({ members, header: { typ: 7 } }))).toBe(REJECTED)
  })

  test('no type makes an unsigned token acceptable', async () => {
    const body = new UnsecuredJWT({ events: { [ALERT]: alert() }, jti: 'j' })
      .setIssuer('https://bank.example')
      .setAudience(EVENTS_URL)
      .setIssuedAt()
      .encode()
    const registration = STANDARDS.OBIE.registration(ADDRESS).parse(EXAMPLES.OBIE.registration)
    const received = { contentType: 'application/jwt', headers: {}, body, url: EVENTS_URL, audience: EVENTS_URL }
    expect(await codeOf(STANDARDS.OBIE.readEvent(received, registration, eventTools()))).toBe(REJECTED)
  })
})

describe('the audience of an event token', () => {
  test.each([
    ['the default rules', {}, EVENTS_URL, 'guichet-at-bank'],
    ['CLIENT_ID', { audience: 'CLIENT_ID' }, 'guichet-at-bank', EVENTS_URL],
    ['a stated text', { audience: '0015800001041RHAAY' }, '0015800001041RHAAY', EVENTS_URL],
  ])('the audience of %s is accepted, and no other', async (_what, members, aud, other) => {
    expect(await kindsOf({ members, claims: { aud } })).toEqual(['ALERT'])
    expect(await kindsOf({ members, claims: { aud: ['somebody', aud] } })).toEqual(['ALERT'])
    for (const wrong of [other, `${aud}/`, '', [], undefined])
      expect(await codeOf(readToken({ members, claims: { aud: wrong } })), String(wrong)).toBe(REJECTED)
  })

  test('the client id is no audience while the gateway has none', async () => {
    const choice = { members: { audience: 'CLIENT_ID' }, clientId: undefined }
    for (const aud of ['undefined', '', undefined])
      expect(await codeOf(readToken({ ...choice, claims: { aud } }))).toBe(REJECTED)
  })
})

describe('the critical header parameters of an event token', () => {
  test('the three parameters of Open Banking are verified', async () => {
    const members = { headerIssuer: 'bank-1', trustAnchor: 'openbanking.org.uk' }
    expect(await kindsOf({ members, header: { typ: 'JOSE', ...openBankingHeader() } })).toEqual(['ALERT'])
    expect(await kindsOf({ header: openBankingHeader() })).toEqual(['ALERT'])
  })

  test.each<[string, Record<string, unknown>]>([
    ['another organisation', { [ISS]: 'bank-2' }],
    ['no organisation', { [ISS]: undefined, crit: [IAT, TAN] }],
    ['another trust anchor', { [TAN]: 'evil.example' }],
    ['a trust anchor with a suffix', { [TAN]: 'openbanking.org.uk.evil.example' }],
    ['a time in the future', { [IAT]: nowSeconds() + 3_600 }],
    ['a time as text', { [IAT]: String(nowSeconds()) }],
    ['a list of two', { crit: [IAT, ISS] }],
    ['a further parameter', { crit: [IAT, ISS, TAN, 'https://evil.example/x'], 'https://evil.example/x': 1 }],
    ['parameters that are not critical', { crit: undefined }],
  ])('a header with %s is rejected', async (_what, header) => {
    const members = { headerIssuer: 'bank-1' }
    expect(await codeOf(readToken({ members, header: { ...openBankingHeader(), ...header } }))).toBe(REJECTED)
  })

  test('a critical parameter is rejected by a bank whose registration or standard has none', async () => {
    const members = { criticalHeaders: 'NONE' }
    expect(await codeOf(readToken({ members, header: openBankingHeader() }))).toBe(REJECTED)
    for (const standard of ['BERLIN_GROUP', 'FDX', 'CDR'] as const)
      expect(await codeOf(readToken({ standard, header: openBankingHeader() })), standard).toBe(REJECTED)
    expect(await codeOf(readToken({ header: { crit: ['b64'], b64: true } }))).toBe(REJECTED)
  })
})

describe('the events of one token', () => {
  const two = { [REVOKED]: revoked('c-1'), [ALERT]: alert() }

  test('a token has one event unless the registration allows more', async () => {
    expect(await codeOf(readToken({ claims: { events: two } }))).toBe(REJECTED)
    const members = { maxEventsPerToken: 2 }
    expect(await kindsOf({ members, claims: { events: two } })).toEqual(['CONSENT_REVOKED', 'ALERT'])
    const three = { ...two, 'urn:other': {} }
    expect(await codeOf(readToken({ members, claims: { events: three } }))).toBe(REJECTED)
    for (const events of [{}, [], null, 'x', undefined])
      expect(await codeOf(readToken({ members, claims: { events } })), JSON.stringify(events)).toBe(REJECTED)
  })

  test('a token with an event that cannot be read is rejected as a whole', async () => {
    const events = { [REVOKED]: revoked('c-1'), [ALERT]: { account: 'a1', type: 'CARD_SECURITY' } }
    expect(await codeOf(readToken({ members: { maxEventsPerToken: 2 }, claims: { events } }))).toBe(REJECTED)
  })

  test('several events have the id of their token, so that a repeated token is recognized with other events too', async () => {
    const members = { maxEventsPerToken: 2 }
    const { jti } = await readToken({ members, claims: { jti: 'j-1', events: two } })
    expect(jti).toBe('j-1')
    expect((await readToken({ members, claims: { jti: 'j-1' } })).jti).toBe('j-1')
  })

  test("an empty revocation is about the resource of the token's other event", async () => {
    const members = { maxEventsPerToken: 3 }
    const read = async (events: Record<string, unknown>) => (await readToken({ members, claims: { events } })).payloads
    expect(await read({ [UPDATED]: revoked('c-1', 'account-access-consents'), [REVOKED]: {} })).toEqual([
      { kind: 'IGNORED', reason: 'UNKNOWN_TYPE', eventType: UPDATED },
      { kind: 'CONSENT_REVOKED', consentRef: 'c-1' },
    ])
    expect(await codeOf(read({ [REVOKED]: {} }))).toBe(REJECTED)
    expect(await codeOf(read({ [UPDATED]: revoked('c-1'), 'urn:x': revoked('c-2'), [REVOKED]: {} }))).toBe(REJECTED)
  })

  test('the revocation of a consent for payments ends no consent for accounts with the same id', async () => {
    for (const type of ['domestic-vrp-consent', 'funds-confirmation-consents'])
      expect(await kindsOf({ claims: { events: { [REVOKED]: revoked('c-1', type) } } })).toEqual(['IGNORED'])
  })

  test('a revocation names its consent by an id of any kind and length that the bank may have', async () => {
    const id = `ü/=${'9'.repeat(400)}`
    const { payloads } = await readToken({ claims: { events: { [REVOKED]: revoked(id) } } })
    expect(payloads).toEqual([{ kind: 'CONSENT_REVOKED', consentRef: id }])
  })
})

describe('the time and the key of an event token', () => {
  test('the registration decides how far the clock of the bank may be ahead', async () => {
    const iat = nowSeconds() + 120
    expect(await codeOf(readToken({ claims: { iat } }))).toBe(REJECTED)
    const members = { clockToleranceSeconds: 300 }
    expect(await kindsOf({ members, claims: { iat } })).toEqual(['ALERT'])
    expect(await kindsOf({ members, header: { ...openBankingHeader(), [IAT]: iat } })).toEqual(['ALERT'])
  })

  test('a token may be a week old if it is pushed, and a day older, less some minutes, if it waited in a queue', async () => {
    const isAccepted = async (days: number, isPolled: boolean): Promise<boolean> =>
      (await codeOf(readToken({ isPolled, claims: { iat: nowSeconds() - days * 86_400 } }))) === 'NONE'
    expect([await isAccepted(6.9, false), await isAccepted(7.1, false)]).toEqual([true, false])
    expect([await isAccepted(7.9, true), await isAccepted(8, true)]).toEqual([true, false])
  })

  test('a token that is signed with RS256 is accepted only if the registration says so', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const jwk = { ...rsa.publicKey.export({ format: 'jwk' }), kid: 'e' }
    const token = (alg: string, acceptsRs256?: boolean): TokenChoice => ({
      members: { keys: { keys: [jwk] }, ...(acceptsRs256 !== undefined && { acceptsRs256 }) },
      header: { alg },
      key: rsa.privateKey,
    })
    expect(await kindsOf(token('RS256', true))).toEqual(['ALERT'])
    expect(await kindsOf(token('PS256', true))).toEqual(['ALERT'])
    for (const choice of [token('RS256'), token('RS256', false), token('RS384', true), token('PS512', true)])
      expect(await codeOf(readToken(choice))).toBe(REJECTED)
  })

  test('no switch makes a token of another bank, of another key or with an expiry acceptable', async () => {
    const members = {
      tokenTypes: ['secevent+jwt', 'JOSE', 'JWT', 'ABSENT'],
      criticalHeaders: 'OPEN_BANKING',
      maxEventsPerToken: 16,
      clockToleranceSeconds: 300,
    }
    const wrong: TokenChoice[] = [
      { key: OTHER_BANK.privateKey },
      { key: OTHER_BANK.privateKey, header: { kid: 'other' } },
      { header: { kid: 'other' } },
      { claims: { iss: 'https://other-bank.example' } },
      { claims: { exp: nowSeconds() + 60 } },
      { claims: { jti: undefined } },
      { claims: { iat: nowSeconds() - 8 * 86_400 } },
    ]
    for (const choice of wrong)
      expect(await codeOf(readToken({ ...choice, members })), JSON.stringify(choice)).toBe(REJECTED)
  })
})
