import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { httpbis } from 'http-message-signatures'
import { describe, expect, test } from 'vitest'
import { STANDARDS } from '../../src/connectors/index.ts'
import { startOfHour } from '../../src/kernel/clock.ts'
import { ACCESS, ok, scriptedBank } from '../support/scripted-bank.ts'
import { eventTools } from '../support/event-tools.ts'
import { ADDRESS, accountsOf, balancesOf, codeOf, common, connect, EXAMPLES } from '../support/standards.ts'

const account = (text: string, registration = {}) => connect('FDX', () => ok(text), registration)

describe('FDX', () => {
  test('flat accounts of FDX 6.x and wrapped ones of 4.x and 5.x are parsed alike, for any stated version', async () => {
    const fields =
      '"accountId":"a1","accountType":"SAVINGS","status":"OPEN","currency":{"currencyCode":"USD"},"currentBalance":200.5'
    for (const version of ['4.6', '5.2', '6.4'])
      for (const text of [`{"accountCategory":"DEPOSIT_ACCOUNT",${fields}}`, `{"depositAccount":{${fields}}}`]) {
        const { bank } = account(text, { version })
        expect(await balancesOf(bank)).toMatchObject([{ type: 'INTERIM_BOOKED', amount: '200.5', currency: 'USD' }])
        const list = account(`{"accounts":[${text}]}`, { version })
        expect(await accountsOf(list.bank)).toMatchObject([{ ref: 'a1', type: 'SAVINGS', status: 'OPEN' }])
      }
  })

  test.each([
    ['1399.00', '1399.00'],
    ['-0.01', '-0.01'],
    ['1.5e2', '150'],
    ['15E-1', '1.5'],
    ['0', '0'],
    ['12345678901234567.89', '12345678901234567.89'],
    ['0.1', '0.1'],
  ])('a number keeps its written digits: %s', async (written, amount) => {
    const { bank } = account(
      `{"accountCategory":"DEPOSIT_ACCOUNT","accountId":"a1","currency":{"currencyCode":"USD"},"currentBalance":${written}}`,
    )
    expect((await balancesOf(bank))[0]!.amount).toBe(amount)
  })

  test('a debt on a card is negative, available credit is positive, and a payment is no balance', async () => {
    const { bank } = account(
      '{"accountCategory":"LOC_ACCOUNT","accountId":"a1","accountType":"CREDITCARD","currency":{"currencyCode":"USD"},"balanceType":"LIABILITY","currentBalance":1722.81,"availableCredit":8302.73,"creditLine":10000.0,"principalBalance":132.28,"lastStmtBalance":5393.81,"lastPaymentAmount":2852.91,"cashAdvanceBalance":0}',
    )
    expect(await balancesOf(bank)).toEqual([
      { type: 'INTERIM_BOOKED', amount: '-1722.81', currency: 'USD', creditLineIncluded: null, creditLimit: '10000.0' },
      {
        type: 'INTERIM_AVAILABLE',
        amount: '8302.73',
        currency: 'USD',
        creditLineIncluded: true,
        creditLimit: '10000.0',
      },
    ])
  })

  test('a balance whose type contradicts the account category is dropped and reported', async () => {
    const { bank, problems } = account(
      '{"accountCategory":"DEPOSIT_ACCOUNT","accountId":"a1","currency":{"currencyCode":"USD"},"balanceType":"LIABILITY","currentBalance":5}',
    )
    expect(await bank.balances(ACCESS, 'a1', null)).toEqual({ balances: [], invalidTypes: ['INTERIM_BOOKED'] })
    expect(problems).toEqual(['AMBIGUOUS_SIGN'])
  })

  test('an amount without a currency is dropped and reported', async () => {
    const { bank, problems } = account('{"accountCategory":"DEPOSIT_ACCOUNT","accountId":"a1","currentBalance":5}')
    expect(await balancesOf(bank)).toEqual([])
    expect(problems).toEqual(['UNKNOWN_CURRENCY'])
  })

  test('an error of one account in a list affects only that account', async () => {
    const { bank, sent } = account(
      `{"accounts":[${JSON.stringify(EXAMPLES.FDX.balances())},{"depositAccount":{"accountId":"a2","error":{"code":701,"message":"x"}}},{"accountCategory":"DEPOSIT_ACCOUNT","accountId":"a9","currentBalance":1}]}`,
    )
    const told = await bank.bulkBalances!(ACCESS, ['a1', 'a2', 'a3'], null)
    expect([...told.keys()]).toEqual(['a1', 'a2'])
    expect(told.get('a1')).toMatchObject({ balances: [{ amount: '12.30' }] })
    expect(told.get('a2')).toMatchObject({ code: 'BALANCE_NOT_PROVIDED' })
    const { searchParams } = new URL(sent[0]!.url)
    expect([searchParams.get('resultType'), searchParams.get('accountIds')]).toEqual(['details', 'a1,a2,a3'])
  })

  test.each([
    ['5.x', (at: string) => ({ nextOffset: at }), 'offset'],
    ['6.x', (at: string) => ({ nextPageKey: at }), 'nextPageKey'],
  ])('pages of FDX %s are followed to the end, up to a limit', async (_version, page, name) => {
    const { bank, sent } = connect('FDX', ({ url }) =>
      new URL(url).searchParams.has(name)
        ? ok({ accounts: [EXAMPLES.FDX.balances({ accountId: 'a2' })] })
        : ok({ accounts: [EXAMPLES.FDX.balances()], page: page('p2') }),
    )
    expect((await accountsOf(bank)).map(({ ref }) => ref)).toEqual(['a1', 'a2'])
    expect(sent).toHaveLength(2)
    const endless = connect('FDX', () => ok({ accounts: [EXAMPLES.FDX.balances()], page: page('more') }))
    await accountsOf(endless.bank)
    expect(endless.sent).toHaveLength(2)
    expect(endless.problems).toEqual(['REPEATED_PAGE'])
    let cursor = 0
    const long = connect('FDX', () => ok({ accounts: [EXAMPLES.FDX.balances()], page: page(`p${cursor++}`) }))
    await accountsOf(long.bank)
    expect(long.sent).toHaveLength(20)
    expect(long.problems).toEqual(['TOO_MANY_PAGES'])
  })

  test('an FDX request states whether the customer or a batch job makes it', async () => {
    const { bank, sent } = account(JSON.stringify(EXAMPLES.FDX.balances()))
    await balancesOf(bank)
    await bank.balances(ACCESS, 'a1', { ip: '203.0.113.9', userAgent: null })
    expect(sent.map(({ headers }) => headers!['fdx-api-actor-type'])).toEqual(['BATCH', 'USER'])
  })
})

describe('a notification of an FDX bank', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const registration = STANDARDS.FDX.registration(ADDRESS).parse({
    ...EXAMPLES.FDX.registration,
    events: { issuer: 'https://bank.example', keys: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'e' }] } },
  })
  const url = 'https://gateway.example/bank-events/cnct_1/notifications'
  const revoked = {
    notificationId: 'n-1',
    type: 'CONSENT_REVOKED',
    sentOn: '2026-07-15T14:46:41.375Z',
    category: 'CONSENT',
    notificationPayload: {
      id: 'consent-7',
      idType: 'CONSENT',
      customFields: { name: 'INITIATOR', value: 'INDIVIDUAL' },
    },
  }
  const digestOf = (body: string) => `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
  const FIELDS = ['@method', '@target-uri', 'content-digest']

  async function deliver(
    notification: unknown,
    change: {
      key?: typeof privateKey
      fields?: string[]
      created?: Date
      body?: string
      to?: string
      alg?: string
      drop?: boolean
      clockToleranceSeconds?: number
      prefix?: string
    } = {},
  ) {
    const body = (change.prefix ?? '') + JSON.stringify(notification)
    const headers: Record<string, string> = { 'content-digest': digestOf(body) }
    const message = { method: 'POST', url: change.to ?? url, headers }
    const signed = await httpbis.signMessage(
      {
        key: {
          id: 'e',
          alg: change.alg ?? 'ecdsa-p256-sha256',
          sign: (data: Buffer) =>
            Promise.resolve(sign('sha256', data, { key: change.key ?? privateKey, dsaEncoding: 'ieee-p1363' })),
        },
        fields: change.fields ?? FIELDS,
        params: ['created', 'keyid', 'alg'],
        paramValues: { created: change.created ?? new Date() },
      },
      message,
    )
    const given = Object.fromEntries(Object.entries(signed.headers).map(([name, value]) => [name.toLowerCase(), value]))
    return STANDARDS.FDX.readEvent(
      {
        contentType: 'application/json',
        headers: change.drop ? headers : given,
        body: change.body ?? body,
        url,
        audience: 'https://gateway.example/bank-events/cnct_1',
      },
      { ...registration, events: { ...registration.events!, clockToleranceSeconds: change.clockToleranceSeconds } },
      eventTools(),
    )
  }

  test('a notification that is signed with a registered key ends the consent that it names', async () => {
    expect(await deliver(revoked)).toEqual({
      issuer: 'https://bank.example',
      jti: 'n-1',
      payloads: [{ kind: 'CONSENT_REVOKED', consentRef: 'consent-7' }],
    })
  })

  test.each([
    ['ACCOUNT_TAKEOVER', 'ACCOUNT_TAKEOVER_SUSPECTED'],
    ['RISK', 'UNUSUAL_ACTIVITY_REVIEW'],
    ['ADDRESS_CHANGED', 'CONTACT_DETAILS_CHANGED'],
    ['PHONE_CHANGED', 'CONTACT_DETAILS_CHANGED'],
    ['MFA_TARGET_CHANGED', 'AUTHENTICATION_CHANGED'],
    ['BALANCE', undefined],
    ['CUSTOM', undefined],
    ['TAN_CREATED', undefined],
  ])('a notification of an FDX bank of type %s about an account is %s', async (type, alert) => {
    const { payloads } = await deliver({
      ...revoked,
      type,
      subtype: 'CANARY',
      notificationPayload: { id: 'a1', idType: 'ACCOUNT', customFields: [{ name: 'MERCHANT', value: 'CANARY' }] },
    })
    if (alert)
      expect(payloads).toMatchObject([{ kind: 'ALERT', type: alert, subject: { kind: 'ACCOUNT', refs: ['a1'] } }])
    else expect(payloads).toEqual([{ kind: 'IGNORED', reason: 'UNKNOWN_TYPE', eventType: type }])
    expect(JSON.stringify(payloads)).not.toContain('CANARY')
  })

  test.each([
    ['EMERGENCY', 'URGENT'],
    ['ALERT', 'URGENT'],
    ['WARNING', 'WARNING'],
    ['INFO', 'WARNING'],
    ['constructor', 'WARNING'],
    [undefined, 'WARNING'],
  ])('a notification of changed contact details with the severity %s is %s', async (severity, expected) => {
    const about = { type: 'PHONE_CHANGED', notificationPayload: { id: 'a1', idType: 'ACCOUNT' } }
    const { payloads } = await deliver({ ...revoked, ...about, severity })
    expect(payloads).toMatchObject([{ kind: 'ALERT', severity: expected }])
  })

  test('a suspected takeover is urgent even if the bank rates it low', async () => {
    const about = { type: 'ACCOUNT_TAKEOVER', notificationPayload: { id: 'a1', idType: 'ACCOUNT' } }
    const { payloads } = await deliver({ ...revoked, ...about, severity: 'INFO' })
    expect(payloads).toMatchObject([{ severity: 'URGENT', requestedAction: 'CALL_BANK' }])
  })

  test('a notification about a customer or about nothing is ignored as one with an unknown subject', async () => {
    for (const notificationPayload of [{ id: 'c1', idType: 'CUSTOMER' }, { idType: 'ACCOUNT' }, undefined]) {
      const { payloads } = await deliver({ ...revoked, type: 'RISK', notificationPayload })
      expect(payloads).toEqual([{ kind: 'IGNORED', reason: 'UNKNOWN_SUBJECT', eventType: 'RISK' }])
    }
  })

  test('a notification with a time without zone, in the future or a month old gets the time of its receipt', async () => {
    const about = { type: 'RISK', notificationPayload: { id: 'a1', idType: 'ACCOUNT' } }
    const zoneless = await deliver({ ...revoked, ...about, sentOn: '2020-01-01T10:00:00' })
    const early = await deliver({ ...revoked, ...about, sentOn: '2020-01-01T10:30:00-05:00' })
    const late = await deliver({ ...revoked, ...about, sentOn: '2100-01-01T10:30:00-05:00' })
    for (const { payloads } of [zoneless, early, late])
      expect(Math.abs((payloads[0] as { occurredAt: Date }).occurredAt.getTime() - Date.now())).toBeLessThan(
        2 * 3_600_000,
      )
    const sentOn = new Date(Date.now() - 3 * 86_400_000)
    const zoned = await deliver({ ...revoked, ...about, sentOn: sentOn.toISOString() })
    expect((zoned.payloads[0] as { occurredAt: Date }).occurredAt).toEqual(startOfHour(sentOn))
  })

  test.each([
    ['without a signature', { drop: true }],
    ['signed with a key that is not registered', { key: stranger.privateKey }],
    ['with another body than was signed', { body: JSON.stringify({ ...revoked, notificationId: 'n-2' }) }],
    ['whose signature leaves out the body', { fields: ['@method', '@target-uri'] }],
    ['whose signature leaves out the address', { fields: ['@method', 'content-digest'] }],
    ['signed for another address', { to: 'https://gateway.example/bank-events/cnct_2/notifications' }],
    ['signed an hour ago', { created: new Date(Date.now() - 3_600_000) }],
    ['signed in an hour', { created: new Date(Date.now() + 3_600_000) }],
    ['that names another algorithm', { alg: 'hmac-sha256' }],
  ])('%s is refused', async (_what, change) => {
    expect(await codeOf(deliver(revoked, change))).toBe('EVENT_REJECTED')
  })

  test('a notification is accepted if it was created within five minutes, or ahead within the tolerance', async () => {
    const created = (secondsAgo: number) => new Date(Date.now() - secondsAgo * 1_000)
    expect((await deliver(revoked, { created: created(290) })).payloads).toHaveLength(1)
    expect(await codeOf(deliver(revoked, { created: created(305) }))).toBe('EVENT_REJECTED')
    expect((await deliver(revoked, { created: created(-280), clockToleranceSeconds: 300 })).payloads).toHaveLength(1)
    expect(await codeOf(deliver(revoked, { created: created(-280) }))).toBe('EVENT_REJECTED')
    expect(await codeOf(deliver(revoked, { created: created(305), clockToleranceSeconds: 300 }))).toBe('EVENT_REJECTED')
  })

  test('a notification with a byte order mark is read', async () => {
    expect((await deliver(revoked, { prefix: '\uFEFF' })).payloads).toHaveLength(1)
  })

  test('a notification that is a form, an image or another JSON object is refused', async () => {
    const bare = { headers: {}, body: '', url, audience: common.apiBase }
    for (const contentType of ['application/x-www-form-urlencoded', 'image/png'])
      expect(await codeOf(STANDARDS.FDX.readEvent({ ...bare, contentType }, registration, eventTools()))).toBe(
        'EVENT_REJECTED',
      )
    expect(await codeOf(deliver({ hello: 1 }))).toBe('EVENT_REJECTED')
    expect(scriptedBank(() => ok('')).sent).toEqual([])
  })
})
