import { describe, expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import type { BankAccount, BankBalance } from '../../src/connectors/connector.ts'
import { GatewayError } from '../../src/kernel/errors.ts'
import { OutboundError } from '../../src/kernel/outbound-error.ts'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import {
  ADDRESS,
  accountsOf,
  balancesOf,
  CANARY,
  codeOf,
  common,
  connect,
  EXAMPLES,
  noise,
} from '../support/standards.ts'
import { completeSignIn } from '../support/sign-in.ts'

const CUSTOMER = { ip: '203.0.113.9', userAgent: 'Chat/1.0' }
/** The same value again and again, each time with another of its texts replaced. */
function withEachTextAs(word: string, value: unknown): unknown[] {
  if (typeof value === 'string') return [word]
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, part]) =>
    withEachTextAs(word, part).map((replaced) =>
      Array.isArray(value) ? value.with(Number(key), replaced) : { ...value, [key]: replaced },
    ),
  )
}

const presenceIn = (headers: Readonly<Record<string, string>>): string[] =>
  Object.keys(headers).filter((name) => /ip-address|user-agent|client-headers/i.test(name))

describe.each(Object.keys(STANDARDS) as StandardId[])('every connector: %s', (id) => {
  const example = EXAMPLES[id]

  test('a connector returns a balance as a decimal string with its type and currency', async () => {
    const { bank } = connect(id, () => ok(example.balances()))
    expect(await balancesOf(bank)).toEqual([
      { type: 'INTERIM_AVAILABLE', amount: '12.30', currency: 'GBP', creditLineIncluded: null, creditLimit: null },
    ])
  })

  test('a connector returns an account in domain terms, with a generated name and four digits of its number', async () => {
    const { bank, problems } = connect(id, () => ok(example.accounts()))
    expect(await accountsOf(bank)).toEqual([
      {
        ref: 'a1',
        type: 'CURRENT',
        usage: id === 'CDR' ? 'UNKNOWN' : 'PERSONAL',
        status: 'OPEN',
        // Accounts of the Australian standard name no currency: it is theirs.
        currency: id === 'CDR' ? 'AUD' : 'GBP',
        // The others' numbers are masked, or wrong.
        number: id === 'OBIE' ? '20000012345678' : null,
        lastFourDigits: '5678',
        displayName: 'Current account',
      },
    ])
    expect(problems).toEqual([])
  })

  test('a connector drops all data that was not requested, wherever a bank sends it, and logs none of it', async () => {
    const { bank, log, problems } = connect(id, () => ({
      ...ok(example.balances(noise)),
      headers: { 'x-merchant': CANARY },
    }))
    expect(JSON.stringify(await bank.balances(ACCESS, 'a1', null))).not.toContain(CANARY)
    const other = connect(id, () => ok(example.accounts(noise)))
    expect(JSON.stringify(await accountsOf(other.bank))).not.toContain(CANARY)
    expect([...log, ...other.log, ...problems, ...other.problems].join()).not.toContain(CANARY)
  })

  test('a connector maps every bank code to a domain value or an error, even the name of an inherited property', async () => {
    const { amounts, accounts } = { amounts: example.balances(), accounts: example.accounts() }
    for (const word of ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf']) {
      for (const body of withEachTextAs(word, accounts)) {
        const given = await accountsOf(connect(id, () => ok(body)).bank).catch((error: unknown) => error)
        if (given instanceof GatewayError && given.code !== 'INTERNAL') continue
        for (const { type, status, usage, displayName } of given as BankAccount[])
          expect([type, status, usage, displayName].map(String)).toEqual([
            expect.stringMatching(/^[A-Z_]+$/),
            expect.stringMatching(/^[A-Z_]+$/),
            expect.stringMatching(/^(PERSONAL|BUSINESS|UNKNOWN)$/),
            expect.stringMatching(/^[A-Z][\w /]+$/),
          ])
      }
      for (const body of withEachTextAs(word, amounts)) {
        const given = await balancesOf(connect(id, () => ok(body)).bank).catch((error: unknown) => error)
        if (given instanceof GatewayError && given.code !== 'INTERNAL') continue
        for (const { type, amount, currency } of given as BankBalance[])
          expect([type, amount, currency].map(String)).toEqual([
            expect.stringMatching(/^[A-Z_]+$/),
            expect.stringMatching(/^-?[\d.]+$/),
            expect.stringMatching(/^[A-Z]{3}$/),
          ])
      }
    }
  })

  test.each([
    [400, 'BANK_REFUSED'],
    [401, 'RECONNECT_REQUIRED'],
    [403, 'RECONNECT_REQUIRED'],
    [404, 'BALANCE_NOT_PROVIDED'],
    [406, 'BANK_REFUSED'],
    [429, 'BANK_RATE_LIMITED'],
    [500, 'BANK_UNAVAILABLE'],
    [502, 'BANK_UNAVAILABLE'],
    [503, 'BANK_UNAVAILABLE'],
    [301, 'BANK_REFUSED'],
    [302, 'BANK_REFUSED'],
  ])('a connector maps the status %i to %s without text of the response', async (status, code) => {
    const { bank } = connect(id, () => ({
      status,
      headers: { 'retry-after': '120', location: `https://evil.example/${CANARY}` },
      text: `<h1>${CANARY}</h1>`,
    }))
    const failure = await balancesOf(bank).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code })
    expect(`${String(failure)} ${JSON.stringify(failure)} ${(failure as Error).stack}`).not.toContain(CANARY)
    if (status === 429) expect(failure).toMatchObject({ retryAfterSeconds: 120 })
  })

  test.each([
    ['OUTBOUND_TIMEOUT', 'RESPONSE_TIMEOUT', 'BANK_TIMEOUT'],
    ['OUTBOUND_UNREACHABLE', 'CONNECTION_REFUSED', 'BANK_UNAVAILABLE'],
    ['OUTBOUND_RESPONSE_TOO_LARGE', 'RESPONSE_TOO_LARGE', 'BANK_RESPONSE_INVALID'],
  ] as const)('every call maps %s to a bank error with its cause', async (outboundCode, failureCause, code) => {
    const { bank } = connect(id, () => {
      throw new OutboundError(outboundCode, failureCause)
    })
    const request = { expiresAt: new Date(), state: 's', customer: CUSTOMER }
    const pending = { consentRef: 'c', state: 's', codeVerifier: 'v'.repeat(43), nonce: 'n' }
    const callback = new URL('https://gateway.example/bank/callback?state=s&code=c')
    const calls: Promise<unknown>[] = [
      bank.requestConsent(request),
      completeSignIn(bank, callback, pending),
      bank.refresh({ ...ACCESS, refreshToken: 'r' }),
      bank.accounts(ACCESS, null),
      bank.balances(ACCESS, 'a1', null),
      bank.revokeConsent({ consentRef: 'consent-1' }),
      ...(bank.bulkBalances ? [bank.bulkBalances(ACCESS, ['a1'], null)] : []),
      ...(bank.pollEvents ? [bank.pollEvents({ acknowledged: [], rejected: [] })] : []),
      ...(bank.isConsentEnded ? [bank.isConsentEnded('consent-1')] : []),
    ]
    for (const outcome of await Promise.allSettled(calls))
      expect(outcome).toMatchObject({ status: 'rejected', reason: { name: 'GatewayError', code, failureCause } })
  })

  test.each(example.errors)('a connector reads the code in an error body: %i %j is %s', async (status, body, code) => {
    const { bank } = connect(id, () => ({ ...ok(body), status }))
    const failure = await balancesOf(bank).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code })
    expect(`${JSON.stringify(failure)} ${(failure as Error).stack}`).not.toContain(CANARY)
  })

  test('a date in Retry-After works like seconds', async () => {
    const at = new Date(Date.now() + 90_000).toUTCString()
    const { bank } = connect(id, () => ({ status: 429, headers: { 'retry-after': at }, text: '' }))
    const failure = await balancesOf(bank).catch((error: unknown) => error)
    expect((failure as GatewayError).retryAfterSeconds).toBeGreaterThan(80)
    expect((failure as GatewayError).retryAfterSeconds).toBeLessThanOrEqual(90)
  })

  test.each([
    '',
    '<html></html>',
    '{"',
    'null',
    '[]',
    '12',
    '"text"',
    '{"Data":1}',
    '{"balances":1}',
    '{"data":1}',
    '{"accounts":1}',
    '{"Data":{"Balance":"x","Account":"x"},"balances":"x","accounts":"x"}',
    `${'{"a":'.repeat(500)}1${'}'.repeat(500)}`,
    '['.repeat(100_000),
  ])('a connector refuses a body of another form (%#)', async (text) => {
    const { bank } = connect(id, () => ({ ...ok(''), text }))
    expect(await codeOf(bank.balances(ACCESS, 'a1', null))).toBe('BANK_RESPONSE_INVALID')
    expect(await codeOf(accountsOf(bank))).toBe('BANK_RESPONSE_INVALID')
    if (bank.bulkBalances) expect(await codeOf(bank.bulkBalances(ACCESS, ['a1'], null))).toBe('BANK_RESPONSE_INVALID')
  })

  test.each(example.noAmounts)(
    'a connector drops and reports an invalid amount (%j), and never returns zero for it',
    async (amount) => {
      const { bank, problems } = connect(id, () => ok(example.amount(amount)))
      expect(await balancesOf(bank)).toEqual([])
      expect(problems).toHaveLength(1)
      expect(['INVALID_AMOUNT', 'INVALID_BALANCE', 'AMBIGUOUS_SIGN']).toContain(problems[0])
    },
  )

  test('a connector keeps every digit of an amount beyond double precision', async () => {
    const { bank } = connect(id, () =>
      ok(
        JSON.stringify(example.amount('@')).replace(
          '"@"',
          id === 'FDX' ? '9007199254740.99301' : '"9007199254740.99301"',
        ),
      ),
    )
    expect((await balancesOf(bank))[0]!.amount).toBe('9007199254740.99301')
  })

  test('a connector reads a JSON number where a text belongs, digit by digit', async () => {
    const read = async (number: string) => {
      const text = JSON.stringify(example.amount('@')).replace('"@"', number)
      const { bank, problems } = connect(id, () => ok(`\ufeff${text}`))
      return { balances: (await balancesOf(bank)).map(({ amount }) => amount), problems }
    }
    expect(await read('10.10')).toEqual({ balances: ['10.10'], problems: [] })
    expect(await read('9007199254740.99301')).toEqual({ balances: ['9007199254740.99301'], problems: [] })
    expect(await read('1e400')).toEqual({ balances: [], problems: ['INVALID_AMOUNT'] })
    const numbered = JSON.stringify(example.accounts()).replace('"a1"', '22289')
    expect(await accountsOf(connect(id, () => ok(numbered)).bank)).toMatchObject([{ ref: '22289' }])
  })

  test('an amount of minus zero is zero', async () => {
    if (id === 'OBIE') return
    const { bank } = connect(id, () => ok(example.amount('-0.00')))
    expect((await balancesOf(bank))[0]!.amount).toBe('0.00')
  })

  test.each([
    '../../transactions',
    'a/../transactions',
    '..',
    '.',
    '%2e%2e',
    '%2e%2E%2ftransactions',
    '..\\transactions',
    'a%5C..%5Cb',
    '',
    'a'.repeat(1_025),
    'a\n',
    'a\u0000b',
    'a\u2028b',
    'a\u202eb',
    'a\ud800b',
  ])('an account ID (%j) cannot lead a connector to another path', async (ref) => {
    const { bank, sent } = connect(id, () => ok(example.balances()))
    expect(await codeOf(bank.balances(ACCESS, ref, null))).toBe('BANK_RESPONSE_INVALID')
    expect(sent).toEqual([])
  })

  test.each([
    ['a?b', 'a%3Fb'],
    ['a#b', 'a%23b'],
    ['a b', 'a%20b'],
    ['a/b', 'a%2Fb'],
    ['a%2Fb', 'a%252Fb'],
    ['a\\b', 'a%5Cb'],
    ['kQ7n+/A==_=_aB', 'kQ7n%2B%2FA%3D%3D_%3D_aB'],
    ['konto-ü', 'konto-%C3%BC'],
    ['...', '...'],
    ['a..b', 'a..b'],
    ['x'.repeat(1_024), 'x'.repeat(1_024)],
  ])('an account ID is opaque: %j is one segment of a path, encoded once', async (ref, segment) => {
    const { bank, sent } = connect(id, ({ url }) =>
      ok(
        JSON.stringify(/balance|segment/.test(url) ? example.balances() : example.accounts()).replaceAll(
          '"a1"',
          JSON.stringify(ref),
        ),
      ),
    )
    expect(await accountsOf(bank)).toMatchObject([{ ref }])
    await bank.balances(ACCESS, ref, null).catch(() => undefined)
    expect(new URL(sent.at(-1)!.url).pathname.split('/')).toContain(segment)
    const template = sent.at(-1)!.url.replace(segment, '').length
    expect(template).toBe('https://api.bank.example/base'.length + { OBIE: 19, BERLIN_GROUP: 22, FDX: 10, CDR: 26 }[id])
  })

  test('a connector calls only accounts and balances, each with the token and a new request ID', async () => {
    const { bank, sent } = connect(id, ({ url }) =>
      ok(/balance|a1$/.test(url) ? example.balances() : example.accounts()),
    )
    await accountsOf(bank)
    await balancesOf(bank)
    await bank.bulkBalances?.(ACCESS, ['a1'], null).catch(() => undefined)
    expect(sent.map(({ method, url }) => `${method} ${new URL(url).pathname.replace(/^\/base/, '')}`)).toEqual(
      example.calls,
    )
    const ids = sent.map(({ headers }) => headers!['x-fapi-interaction-id'] ?? headers!['x-request-id'])
    expect(new Set(ids).size).toBe(sent.length)
    for (const one of ids) expect(one).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/)
    for (const { headers } of sent) expect(headers!['authorization']).toBe('Bearer token')
  })

  test("a connector sends the customer's presence to the bank only while the customer is present", async () => {
    const { bank, sent } = connect(id, ({ url }) =>
      ok(/balance|a1$/.test(url) ? example.balances() : example.accounts()),
    )
    await bank.accounts(ACCESS, CUSTOMER)
    await bank.balances(ACCESS, 'a1', CUSTOMER)
    for (const { headers } of sent.splice(0)) expect(presenceIn(headers!)).toEqual(example.presence)
    await accountsOf(bank)
    await balancesOf(bank)
    for (const { headers } of sent.splice(0)) expect(presenceIn(headers!)).toEqual([])
    // A standard that wants both of them is told of neither where one is missing.
    await bank.balances(ACCESS, 'a1', { ...CUSTOMER, userAgent: null })
    expect(presenceIn(sent[0]!.headers!)).toEqual(id === 'CDR' ? [] : [example.presence[0]])
  })

  test.each([
    [204, 'ENDED'],
    [404, 'ENDED'],
    [400, 'ENDED'],
    // A bank that does not know who asks, or cannot answer, has ended nothing: it is told again.
    [401, id === 'BERLIN_GROUP' ? 'ENDED' : 'AGAIN'],
    [500, 'AGAIN'],
    [503, 'AGAIN'],
    [429, 'AGAIN'],
  ])('a revocation that the bank answers with %i is %s', async (status, outcome) => {
    const issuer = common.authorizationServer
    const { bank, sent } = connect(id, ({ url }) => {
      if (url.includes('/.well-known/'))
        return ok({
          issuer,
          token_endpoint: `${issuer}/token`,
          jwks_uri: `${issuer}/jwks`,
          cdr_arrangement_revocation_endpoint: `${issuer}/arrangements/revoke`,
        })
      if (url.endsWith('/token')) return ok({ access_token: 'own', token_type: 'Bearer', expires_in: 60 })
      return { status, headers: {}, text: '' }
    })
    expect((await codeOf(bank.revokeConsent({ consentRef: 'consent-1' }))) === 'NONE' ? 'ENDED' : 'AGAIN').toBe(outcome)
    expect(`${sent.at(-1)!.url} ${sent.at(-1)!.body ?? ''}`).toContain('consent-1')
  })

  test('a registration with an unknown or invalid field is refused', () => {
    const registration = STANDARDS[id].registration(ADDRESS)
    expect(registration.safeParse(example.registration).success).toBe(true)
    for (const wrong of [
      { extra: 1 },
      { clientId: 'a b' },
      { clientId: '' },
      { version: '2.0' },
      { apiBase: 'file:///etc/passwd' },
      { bank: { ...common.bank, id: 'A' } },
      { events: { issuer: 'x', keys: { keys: [] } } },
    ])
      expect(registration.safeParse({ ...example.registration, ...wrong }).success).toBe(false)
  })
})
