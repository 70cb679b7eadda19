import { describe, expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import { CANARY, common, noise, EXAMPLES, connect, codeOf } from '../support/standards.ts'

describe.each(Object.keys(STANDARDS) as StandardId[])('every connector: %s', (id) => {
  const example = EXAMPLES[id]

  test('gives the balance as a decimal string with its kind and currency', async () => {
    const { bank } = connect(id, () => ok(example.balances()))
    expect(await bank.balances(ACCESS, example.account)).toEqual([
      { type: 'INTERIM_AVAILABLE', amount: '12.30', currency: 'GBP', creditLineIncluded: null },
    ])
  })

  test('gives an account in our words, with four digits of its number and a name of ours', async () => {
    const { bank } = connect(id, () => ok(example.accounts()))
    expect(await bank.accounts(ACCESS)).toEqual([
      {
        ref: 'a1',
        type: 'CURRENT',
        usage: 'PERSONAL',
        status: 'OPEN',
        currency: 'GBP',
        numberEnd: '5678',
        displayName: 'Current account',
      },
    ])
  })

  test('passes on nothing that it was not asked for, wherever the bank puts it, and logs none of it', async () => {
    const { bank, log } = connect(id, () => ({ ...ok(example.balances(noise)), headers: { 'x-merchant': CANARY } }))
    expect(JSON.stringify(await bank.balances(ACCESS, example.account))).not.toContain(CANARY)
    const { bank: other, log: otherLog } = connect(id, () => ok(example.accounts(noise)))
    expect(JSON.stringify(await other.accounts(ACCESS))).not.toContain(CANARY)
    expect([...log, ...otherLog].join()).not.toContain(CANARY)
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
  ])('turns an answer of %i into %s without a word of it', async (status, code) => {
    const { bank } = connect(id, () => ({
      status,
      headers: { 'retry-after': '120', location: `https://evil.example/${CANARY}` },
      text: `<h1>${CANARY}</h1>`,
    }))
    const failure = await bank.balances(ACCESS, example.account).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code })
    expect(`${String(failure)} ${JSON.stringify(failure)} ${(failure as Error).stack}`).not.toContain(CANARY)
    if (status === 429) expect(failure).toMatchObject({ retryAfterS: 120 })
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
    '{"Data":{"Balance":"x"},"balances":"x"}',
    `${'{"a":'.repeat(500)}1${'}'.repeat(500)}`,
  ])('refuses a body that is none (%#)', async (text) => {
    const { bank } = connect(id, () => ({ ...ok(''), text }))
    expect(await codeOf(bank.balances(ACCESS, example.account))).toBe('BANK_ANSWER_INVALID')
    expect(await codeOf(bank.accounts(ACCESS))).toBe('BANK_ANSWER_INVALID')
  })

  test.each(['NaN', 'Infinity', '1e3', '', ' ', '12,30', '0x10', '--1', '1.2.3', '١٢', '1.234567', '9'.repeat(40)])(
    'leaves out an amount that is no amount (%s): absent, and never zero',
    async (amount) => {
      const { bank } = connect(id, () =>
        ok(
          example.balances(
            id === 'OBIE'
              ? { Amount: { Amount: amount, Currency: 'GBP' } }
              : { balanceAmount: { amount, currency: 'GBP' } },
          ),
        ),
      )
      expect(await bank.balances(ACCESS, example.account)).toEqual([])
    },
  )

  test.each([12.3, null, {}, [], true])('leaves out an amount of another type (%s)', async (amount) => {
    const { bank } = connect(id, () =>
      ok(
        example.balances(
          id === 'OBIE'
            ? { Amount: { Amount: amount, Currency: 'GBP' } }
            : { balanceAmount: { amount, currency: 'GBP' } },
        ),
      ),
    )
    expect(await bank.balances(ACCESS, example.account)).toEqual([])
  })

  test('one balance that cannot be read costs only itself', async () => {
    const good = example.balances() as { Data?: { Balance: unknown[] }; balances?: unknown[] }
    ;(good.Data?.Balance ?? good.balances)!.unshift('nonsense', null, { half: true })
    const { bank } = connect(id, () => ok(good))
    expect(await bank.balances(ACCESS, example.account)).toHaveLength(1)
  })

  test.each([
    '../../transactions',
    'a/../transactions',
    '..',
    '.',
    '%2e%2e',
    'a?b',
    'a#b',
    'a b',
    '',
    'a'.repeat(200),
    'a\n',
  ])('cannot be led to another path by an account id (%j)', async (ref) => {
    const { bank, sent } = connect(id, () => ok(example.balances()))
    expect(await codeOf(bank.balances(ACCESS, ref))).toBe('BANK_ANSWER_INVALID')
    expect(sent).toEqual([])
  })

  test('calls only what it may: accounts and balances, with the token, and with a request id of its own', async () => {
    const { bank, sent } = connect(id, (request) =>
      ok(request.url.includes('balances') ? example.balances() : example.accounts()),
    )
    await bank.accounts(ACCESS)
    await bank.balances(ACCESS, example.account)
    expect(sent.map(({ method, url }) => `${method} ${new URL(url).pathname.replace(/^\/base/, '')}`)).toEqual(
      id === 'OBIE'
        ? ['GET /accounts', 'GET /accounts/a1/balances']
        : ['GET /v1/accounts', 'GET /v1/accounts/a1/balances'],
    )
    const ids = sent.map(({ headers }) => headers!['x-fapi-interaction-id'] ?? headers!['x-request-id'])
    expect(new Set(ids).size).toBe(2)
    for (const one of ids) expect(one).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/)
    for (const { headers } of sent) {
      expect(headers!['authorization']).toBe('Bearer token')
      // The customer is not there, so nothing may say that they are.
      expect(Object.keys(headers!).filter((name) => /customer-ip|psu-ip/i.test(name))).toEqual([])
    }
  })

  test('a registration with anything else in it is refused', () => {
    const { registration } = STANDARDS[id]
    expect(registration.safeParse(example.registration).success).toBe(true)
    for (const wrong of [
      { extra: 1 },
      { clientId: 'a b' },
      { clientId: '' },
      { apiBase: 'file:///etc/passwd' },
      { bank: { ...common.bank, id: 'A' } },
      { events: { issuer: 'x', keys: { keys: [] } } },
    ])
      expect(registration.safeParse({ ...example.registration, ...wrong }).success).toBe(false)
  })
})
