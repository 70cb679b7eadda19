import { describe, expect, test } from 'vitest'
import type { EventPayload, StandardId } from '../../src/connectors/index.ts'
import { startOfHour } from '../../src/kernel/clock.ts'
import { ALERT, nowSeconds, readToken } from '../support/bank-token.ts'
import { codeOf, EXAMPLES } from '../support/standards.ts'

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type'
const RISC = 'https://schemas.openid.net/secevent/risc/event-type'
const ISSUER = 'https://bank.example'
const STANDARD_IDS = Object.keys(EXAMPLES) as StandardId[]
const ACCOUNT = { format: 'opaque', id: 'a1' }
const PERSON = { format: 'iss_sub', iss: ISSUER, sub: 'person-1' }
const ABOUT_ACCOUNT = { kind: 'ACCOUNT', refs: ['a1'] }
const ABOUT_PERSON = { kind: 'CUSTOMER', customerRefs: ['person-1'] }
/** Of a `SECURITY_ALERT`, which names its type itself. */
const UNKNOWN_SUBJECT = { kind: 'IGNORED', reason: 'UNKNOWN_SUBJECT' }
const UNKNOWN_SUBJECT_OF_CHANGE = { ...UNKNOWN_SUBJECT, eventType: `${CAEP}/credential-change` }

/** What a bank reports with one event of this type. */
async function read(
  type: string,
  event: unknown = {},
  claims: Record<string, unknown> = { sub_id: ACCOUNT },
  standard: StandardId = 'FDX',
): Promise<EventPayload> {
  const { payloads } = await readToken({ standard, claims: { events: { [type]: event }, ...claims } })
  expect(payloads).toHaveLength(1)
  return payloads[0]!
}
const readAbout = (sub_id: unknown, event: unknown = {}) => read(`${CAEP}/credential-change`, event, { sub_id })

describe('the event types of CAEP and RISC', () => {
  test.each<[string, object, string, string, string]>([
    [`${CAEP}/risk-level-change`, { current_level: 'LOW' }, 'UNUSUAL_ACTIVITY_REVIEW', 'INFO', 'NONE'],
    [
      `${CAEP}/risk-level-change`,
      { current_level: 'MEDIUM' },
      'UNUSUAL_ACTIVITY_REVIEW',
      'WARNING',
      'REVIEW_WITH_BANK',
    ],
    [`${CAEP}/risk-level-change`, { current_level: 'HIGH' }, 'UNUSUAL_ACTIVITY_REVIEW', 'URGENT', 'CONFIRM_ACTIVITY'],
    [
      `${CAEP}/risk-level-change`,
      { current_level: 'toString' },
      'UNUSUAL_ACTIVITY_REVIEW',
      'WARNING',
      'REVIEW_WITH_BANK',
    ],
    [`${CAEP}/credential-change`, { change_type: 'create' }, 'AUTHENTICATION_CHANGED', 'WARNING', 'REVIEW_WITH_BANK'],
    [`${CAEP}/session-established`, {}, 'NEW_SIGN_IN', 'INFO', 'REVIEW_WITH_BANK'],
    [`${CAEP}/session-presented`, {}, 'NEW_SIGN_IN', 'INFO', 'REVIEW_WITH_BANK'],
    [`${RISC}/account-disabled`, {}, 'ACCOUNT_RESTRICTED', 'WARNING', 'REVIEW_WITH_BANK'],
    [`${RISC}/account-disabled`, { reason: 'hijacking' }, 'ACCOUNT_TAKEOVER_SUSPECTED', 'URGENT', 'CALL_BANK'],
    [`${RISC}/account-disabled`, { reason: 'bulk-account' }, 'ACCOUNT_RESTRICTED', 'WARNING', 'REVIEW_WITH_BANK'],
    [`${RISC}/account-enabled`, {}, 'ACCOUNT_UNRESTRICTED', 'INFO', 'NONE'],
    [`${RISC}/account-credential-change-required`, {}, 'CREDENTIAL_RESET_REQUIRED', 'WARNING', 'REVIEW_WITH_BANK'],
    [`${RISC}/credential-compromise`, { credential_type: 'pin' }, 'ACCOUNT_TAKEOVER_SUSPECTED', 'URGENT', 'CALL_BANK'],
    [`${RISC}/identifier-changed`, {}, 'CONTACT_DETAILS_CHANGED', 'WARNING', 'REVIEW_WITH_BANK'],
    [`${RISC}/recovery-information-changed`, {}, 'CONTACT_DETAILS_CHANGED', 'WARNING', 'REVIEW_WITH_BANK'],
    [`${RISC}/sessions-revoked`, {}, 'ACCESS_TOKEN_REVOKED', 'INFO', 'NONE'],
  ])('an event %s with %j leads to %s, %s, %s at a bank of every standard', async (type, event, ...meaning) => {
    const texts = { reason_user: { en: 'CANARY' }, reason_admin: { en: 'CANARY' }, friendly_name: 'CANARY' }
    for (const standard of STANDARD_IDS) {
      const payload = await read(type, { ...texts, ...event }, { sub_id: ACCOUNT }, standard)
      expect(payload).toMatchObject({ kind: 'ALERT', subject: { kind: 'ACCOUNT' } })
      const { type: alertType, severity, requestedAction } = payload as Extract<EventPayload, { kind: 'ALERT' }>
      expect([alertType, severity, requestedAction]).toEqual(meaning)
      expect(JSON.stringify(payload)).not.toContain('CANARY')
    }
  })

  test('a revoked session is an ended access, and at a Berlin Group bank the end of the consent that names it', async () => {
    for (const standard of STANDARD_IDS) {
      const named = await read(`${CAEP}/session-revoked`, {}, { sub_id: ACCOUNT }, standard)
      const ofPerson = await read(`${CAEP}/session-revoked`, {}, { sub_id: PERSON }, standard)
      const isConsent = standard === 'BERLIN_GROUP'
      expect(named).toMatchObject(isConsent ? { kind: 'CONSENT_REVOKED' } : { type: 'ACCESS_TOKEN_REVOKED' })
      expect(ofPerson).toMatchObject({ type: 'ACCESS_TOKEN_REVOKED', subject: ABOUT_PERSON })
    }
  })

  test('a type that leads to no alert is ignored as unknown, and named only if a standard defines it', async () => {
    for (const type of [`${CAEP}/device-compliance-change`, `${RISC}/account-purged`])
      expect(await read(type)).toEqual({ kind: 'IGNORED', reason: 'UNKNOWN_TYPE', eventType: type })
    for (const type of [`${CAEP}/`, 'constructor', '__proto__x', 'urn:x', `${CAEP}/CANARY`])
      expect(await read(type)).toEqual({ kind: 'IGNORED', reason: 'UNKNOWN_TYPE' })
  })
})

describe('an event about the stream itself', () => {
  const SSF = 'https://schemas.openid.net/secevent/ssf/event-type'
  const readStreamEvent = (standard: StandardId, type: string, event: unknown) =>
    readToken({
      standard,
      claims: { events: { [`${SSF}/${type}`]: event }, sub_id: { format: 'opaque', id: 'stream' } },
    })

  test('a verification has its state, and an update its status and no text, at a bank of every standard', async () => {
    for (const standard of STANDARD_IDS) {
      for (const [type, event, read] of [
        ['verification', { state: 'secret' }, { kind: 'VERIFICATION', state: 'secret' }],
        ['verification', {}, { kind: 'VERIFICATION', state: undefined }],
        ['stream-updated', { status: 'enabled' }, { kind: 'UPDATED', status: 'ENABLED' }],
        ['stream-updated', { status: 'paused', reason: 'CANARY' }, { kind: 'UPDATED', status: 'PAUSED' }],
        ['stream-updated', { status: 'disabled' }, { kind: 'UPDATED', status: 'DISABLED' }],
      ] as const)
        expect(await readStreamEvent(standard, type, event)).toMatchObject({ payloads: [], streamEvents: [read] })
    }
  })

  test.each<[string, unknown]>([
    ['verification', { state: 7 }],
    ['verification', { state: 'x'.repeat(1_025) }],
    ['verification', null],
    ['stream-updated', {}],
    ['stream-updated', { status: 'ENABLED' }],
    ['stream-updated', { status: 'toString' }],
    ['stream-updated', 'enabled'],
  ])('an event %s with the content %j is refused', async (type, event) => {
    expect(await codeOf(readStreamEvent('CDR', type, event))).toBe('EVENT_REJECTED')
  })
})

describe('the subject of an event', () => {
  test('a Berlin Group account can be a cash or a card account', async () => {
    const payload = await read(`${CAEP}/credential-change`, {}, { sub_id: ACCOUNT }, 'BERLIN_GROUP')
    expect(payload).toMatchObject({ subject: { refs: ['a1', 'card:a1'] } })
  })

  test.each<[string, unknown, object]>([
    ['an opaque id', ACCOUNT, ABOUT_ACCOUNT],
    ['a subject of the issuer', PERSON, ABOUT_PERSON],
    ['a subject of the authorization server', { ...PERSON, iss: 'https://auth.bank.example' }, ABOUT_PERSON],
    ['an account at the host of the bank', { format: 'account', uri: 'acct:person-1@bank.example' }, ABOUT_PERSON],
    [
      'an account with an escaped name',
      { format: 'account', uri: 'acct:a%40b@bank.example' },
      { kind: 'CUSTOMER', customerRefs: ['a@b'] },
    ],
    [
      'aliases of a person',
      { format: 'aliases', identifiers: [{ format: 'email', email: 'x' }, PERSON] },
      ABOUT_PERSON,
    ],
    ['aliases of an account', { format: 'aliases', identifiers: [PERSON, ACCOUNT, ACCOUNT] }, ABOUT_ACCOUNT],
    [
      'a complex subject with a user',
      { format: 'complex', user: PERSON, device: ACCOUNT, session: ACCOUNT },
      ABOUT_PERSON,
    ],
    [
      'a complex subject with an opaque user',
      { format: 'complex', user: { format: 'opaque', id: 'person-1' } },
      ABOUT_PERSON,
    ],
    ['a complex subject with an account', { format: 'complex', account: ACCOUNT, user: PERSON }, ABOUT_ACCOUNT],
    ['a subject of the drafts', { subject_type: 'iss-sub', iss: ISSUER, sub: 'person-1' }, ABOUT_PERSON],
    ['a complex subject of the drafts', { user: PERSON, device: ACCOUNT }, ABOUT_PERSON],
  ])('%s is resolved', async (_what, subject, expected) => {
    expect(await readAbout(subject)).toMatchObject({ kind: 'ALERT', subject: expected })
    expect(await readAbout(undefined, { subject })).toMatchObject({ kind: 'ALERT', subject: expected })
  })

  test.each<[string, unknown]>([
    ['of another issuer', { ...PERSON, iss: 'https://other-bank.example' }],
    ['of an issuer that begins with the same text', { ...PERSON, iss: `${ISSUER}.evil.example` }],
    ['at another host', { format: 'account', uri: 'acct:person-1@other-bank.example' }],
    ['with a broken escape', { format: 'account', uri: 'acct:%E0%A4%A@bank.example' }],
    ['by email', { format: 'email', email: 'person@bank.example' }],
    ['by telephone', { format: 'phone_number', phone_number: '+441234567890' }],
    ['that is only a session', { format: 'complex', session: ACCOUNT, tenant: ACCOUNT }],
    ['without an id', { format: 'opaque' }],
    ['with an id of another type', { format: 'opaque', id: 7 }],
    ['with a control character in its id', { format: 'opaque', id: 'a\u0000' }],
    ['with a very long id', { format: 'opaque', id: 'a'.repeat(1_025) }],
    ['with aliases in aliases', { format: 'aliases', identifiers: [{ format: 'aliases', identifiers: [ACCOUNT] }] }],
    ['with too many aliases', { format: 'aliases', identifiers: Array.from({ length: 17 }, () => ACCOUNT) }],
    ['in a complex subject in another', { format: 'complex', user: { format: 'complex', user: PERSON } }],
    ['with another format', { format: '__proto__', id: 'a1' }],
    ['that is a list', [ACCOUNT]],
    ['that is text', 'a1'],
    ['that is null', null],
    ['that is absent', undefined],
  ])('a subject %s is acknowledged without effect', async (_what, subject) => {
    expect(await readAbout(subject)).toEqual(UNKNOWN_SUBJECT_OF_CHANGE)
    expect(await readAbout(undefined, { subject })).toEqual(UNKNOWN_SUBJECT_OF_CHANGE)
  })

  test('an event is about the subject of its token, even if it names another', async () => {
    expect(await readAbout(PERSON, { subject: ACCOUNT })).toMatchObject({ subject: ABOUT_PERSON })
    expect(await readAbout({ format: 'email', email: 'x' }, { subject: ACCOUNT })).toEqual(UNKNOWN_SUBJECT_OF_CHANGE)
  })

  test('a deeply nested subject is ignored', async () => {
    let subject: unknown = ACCOUNT
    for (let depth = 0; depth < 500; depth++) subject = { user: subject }
    expect(await readAbout(subject)).toEqual(UNKNOWN_SUBJECT_OF_CHANGE)
  })

  test('a security alert without an account is about the subject of its token', async () => {
    const alert = { type: 'NEW_SIGN_IN', occurred_at: nowSeconds() }
    expect(await read(ALERT, alert, { sub_id: PERSON })).toMatchObject({ subject: ABOUT_PERSON })
    expect(await read(ALERT, { ...alert, account: 'a2' }, { sub_id: PERSON })).toMatchObject({
      subject: { kind: 'ACCOUNT', refs: ['a2'] },
    })
    expect(await read(ALERT, alert, {})).toEqual(UNKNOWN_SUBJECT)
  })
})

describe('the optional members of a security alert', () => {
  const stated = { type: 'CARD_SECURITY', occurred_at: nowSeconds() }

  test('a member of a security alert that is null is absent', async () => {
    const nulls = { account: null, response_options: null, respond_by: null, severity: null, requested_action: null }
    const payload = await read(ALERT, { ...stated, ...nulls })
    expect(payload).toEqual(await read(ALERT, stated))
    expect(payload).toMatchObject({ kind: 'ALERT', subject: ABOUT_ACCOUNT })
  })

  test('a malformed deadline or list of responses costs no alert, and a malformed account does', async () => {
    const malformed = await read(ALERT, { ...stated, response_options: 'YES', respond_by: 'soon' })
    expect(malformed).toEqual(await read(ALERT, stated))
    expect(await codeOf(read(ALERT, { ...stated, account: 7 }))).toBe('EVENT_REJECTED')
  })
})

describe('the time of an event', () => {
  test('an event whose time is ahead within the tolerance of its registration is of the current hour', async () => {
    const at = nowSeconds() + 200
    for (const event of [
      { [ALERT]: { account: 'a1', type: 'CARD_SECURITY', occurred_at: at } },
      { [`${RISC}/credential-compromise`]: { event_timestamp: at } },
    ])
      for (const standard of STANDARD_IDS) {
        const claims = { iat: at, sub_id: ACCOUNT, events: event }
        const { payloads } = await readToken({ standard, claims, members: { clockToleranceSeconds: 300 } })
        const { occurredAt } = payloads[0] as Extract<EventPayload, { kind: 'ALERT' }>
        expect(occurredAt.getTime()).toBeLessThanOrEqual(Date.now())
        expect(await codeOf(readToken({ standard, claims }))).toBe('EVENT_REJECTED')
      }
  })

  const HOUR = 3_600
  const hourOf = (seconds: number) => startOfHour(new Date(seconds * 1_000))

  test.each<[string, object, object, number]>([
    ['that the event states', { event_timestamp: nowSeconds() - 5 * HOUR }, { toe: nowSeconds() - 9 * HOUR }, 5],
    ['in milliseconds, as in drafts', { event_timestamp: (nowSeconds() - 5 * HOUR) * 1_000 }, {}, 5],
    ['that the token states', {}, { toe: nowSeconds() - 9 * HOUR }, 9],
    ['of the token', {}, { iat: nowSeconds() - 2 * HOUR }, 2],
  ])('the time %s is rounded to its hour', async (_what, event, claims, hoursAgo) => {
    const payload = await read(`${RISC}/account-enabled`, event, { sub_id: ACCOUNT, ...claims })
    expect((payload as { occurredAt: Date }).occurredAt).toEqual(hourOf(nowSeconds() - hoursAgo * HOUR))
  })

  test.each<[string, unknown]>([
    ['a month old', nowSeconds() - 31 * 24 * HOUR],
    ['in the future', nowSeconds() + 2 * HOUR],
    ['no number', 'yesterday'],
    ['infinite', 1e308],
    ['negative', -1],
  ])('an event whose time is %s is rejected', async (_what, event_timestamp) => {
    expect(await codeOf(read(`${RISC}/account-enabled`, { event_timestamp }))).toBe('EVENT_REJECTED')
  })

  test('an event that is no object is rejected', async () => {
    for (const event of [null, 'x', 7])
      expect(await codeOf(read(`${CAEP}/risk-level-change`, event))).toBe('EVENT_REJECTED')
  })
})
