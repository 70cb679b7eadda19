import { describe, expect, test } from 'vitest'
import { STANDARDS, type BankInterface, type StandardId } from '../../src/connectors/index.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { ACCESS, ok, scriptedBank } from '../support/scripted-bank.ts'

const common = {
  bank: { id: 'testbank', name: 'Testbank', country: 'GB' },
  authorizationServer: 'https://auth.bank.example',
  apiBase: 'https://api.bank.example/base',
  clientId: 'guichet',
  events: { issuer: 'https://bank.example', keys: { keys: [{ kty: 'EC', kid: 'e' }] } },
}

interface Example {
  readonly registration: Record<string, unknown>
  /** A balances answer of the standard with one good balance of 12.30. */
  readonly balances: (extra?: Record<string, unknown>) => unknown
  readonly account: string
  readonly accounts: (extra?: Record<string, unknown>) => unknown
}

const CANARY = 'CANARY-b7'
const noise = { merchant: CANARY, transactions: [{ note: CANARY }], [CANARY]: CANARY, 'x-last': { [CANARY]: CANARY } }

/** What the contract needs to know of each standard: how a good answer looks. */
const EXAMPLES: Readonly<Record<StandardId, Example>> = {
  OBIE: {
    registration: { ...common, version: '4.0' },
    account: 'a1',
    balances: (extra) => ({
      Data: {
        Balance: [
          {
            AccountId: 'a1',
            CreditDebitIndicator: 'Credit',
            Type: 'ITAV',
            DateTime: '2026-01-01T00:00:00Z',
            Amount: { Amount: '12.30', Currency: 'GBP' },
            ...extra,
          },
        ],
        ...extra,
      },
      ...extra,
    }),
    accounts: (extra) => ({
      Data: {
        Account: [
          {
            AccountId: 'a1',
            Currency: 'GBP',
            AccountTypeCode: 'CACC',
            AccountCategory: 'Personal',
            Status: 'Enabled',
            Nickname: CANARY,
            Account: [
              { SchemeName: 'UK.OBIE.SortCodeAccountNumber', Identification: '20000012345678', Name: CANARY, ...extra },
            ],
            ...extra,
          },
        ],
      },
      ...extra,
    }),
  },
  BERLIN_GROUP: {
    registration: { ...common, version: '1.3.11', cardAccounts: false },
    account: 'a1',
    balances: (extra) => ({
      balances: [
        {
          balanceType: 'interimAvailable',
          balanceAmount: { amount: '12.30', currency: 'GBP', ...extra },
          lastChangeDateTime: '2026-01-01T10:11:12Z',
          lastCommittedTransaction: CANARY,
          ...extra,
        },
      ],
      ...extra,
    }),
    accounts: (extra) => ({
      accounts: [
        {
          resourceId: 'a1',
          iban: 'GB12345678',
          currency: 'GBP',
          cashAccountType: 'CACC',
          name: CANARY,
          ownerName: CANARY,
          details: CANARY,
          usage: 'PRIV',
          ...extra,
        },
      ],
      ...extra,
    }),
  },
}

const connect = (
  id: StandardId,
  answer: (request: OutboundRequest) => OutboundResponse,
): { bank: BankInterface; sent: OutboundRequest[]; log: string[] } => {
  const { tools, sent, log } = scriptedBank(answer)
  return { bank: STANDARDS[id].connect(STANDARDS[id].registration.parse(EXAMPLES[id].registration), tools), sent, log }
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'NONE',
    (error: unknown) => (error as { code?: string }).code ?? 'NOT A GATEWAY ERROR',
  )

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

describe('UK Open Banking', () => {
  const balances = (...list: Record<string, unknown>[]) =>
    connect('OBIE', () =>
      ok({
        Data: {
          Balance: list.map((one) => ({
            AccountId: 'a1',
            CreditDebitIndicator: 'Credit',
            Type: 'ITBD',
            Amount: { Amount: '1.00', Currency: 'GBP' },
            ...one,
          })),
        },
      }),
    ).bank.balances(ACCESS, 'a1')

  test('the indicator carries the sign, zero has none, and a signed amount contradicts itself', async () => {
    expect((await balances({ CreditDebitIndicator: 'Debit' }))[0]!.amount).toBe('-1.00')
    expect(
      (await balances({ CreditDebitIndicator: 'Debit', Amount: { Amount: '0.00', Currency: 'GBP' } }))[0]!.amount,
    ).toBe('0.00')
    expect(await balances({ CreditDebitIndicator: 'Debit', Amount: { Amount: '-1.00', Currency: 'GBP' } })).toEqual([])
    expect(await balances({ CreditDebitIndicator: 'Sideways' })).toEqual([])
  })

  test.each([
    ['ITAV', 'INTERIM_AVAILABLE'],
    ['ITBD', 'INTERIM_BOOKED'],
    ['XPCD', 'EXPECTED'],
    ['CLBD', 'CLOSING_BOOKED'],
    ['CLAV', 'CLOSING_AVAILABLE'],
    ['OPBD', 'OPENING_BOOKED'],
    ['OPAV', 'OPENING_AVAILABLE'],
    ['PRCD', 'PREVIOUSLY_CLOSED_BOOKED'],
    ['InterimAvailable', 'INTERIM_AVAILABLE'],
    ['InterimBooked', 'INTERIM_BOOKED'],
    ['FWAV', undefined],
    ['INFO', undefined],
    ['NEWX', undefined],
  ])('balance kind %s is %s', async (kind, type) => {
    expect((await balances({ Type: kind }))[0]?.type).toBe(type)
  })

  test('a credit line in the amount is told apart, and a single object stands for a list of one', async () => {
    expect((await balances({ CreditLine: [{ Included: true }] }))[0]!.creditLineIncluded).toBe(true)
    expect((await balances({ CreditLine: { Included: false } }))[0]!.creditLineIncluded).toBe(false)
    const { bank } = connect('OBIE', () =>
      ok({
        Data: {
          Balance: {
            AccountId: 'a1',
            CreditDebitIndicator: 'Credit',
            Type: 'ITBD',
            Amount: { Amount: '5', Currency: 'GBP' },
          },
        },
      }),
    )
    expect(await bank.balances(ACCESS, 'a1')).toMatchObject([{ amount: '5' }])
  })

  test("another account's balance in the answer is left out", async () => {
    expect(await balances({ AccountId: 'a2' })).toEqual([])
  })

  test('pages are followed as given, overlap costs nothing, and a next page elsewhere is refused', async () => {
    const account = (ref: string) => ({ AccountId: ref, AccountTypeCode: 'SVGS' })
    const { bank, sent } = connect('OBIE', ({ url }) =>
      url.endsWith('?p=2')
        ? ok({ Data: { Account: [account('b'), account('c')] } })
        : ok({
            Data: { Account: [account('a'), account('b')] },
            Links: { Next: 'https://api.bank.example/base/accounts?p=2' },
          }),
    )
    expect((await bank.accounts(ACCESS)).map(({ ref }) => ref)).toEqual(['a', 'b', 'c'])
    expect(sent).toHaveLength(2)
    for (const Next of [
      'https://evil.example/base/accounts',
      'https://api.bank.example/base/accounts/a/transactions',
      'https://api.bank.example/base/../transactions',
      '//evil.example/base/accounts',
    ]) {
      const { bank: led, sent: calls } = connect('OBIE', () =>
        ok({ Data: { Account: [account('a')] }, Links: { Next } }),
      )
      expect(await codeOf(led.accounts(ACCESS))).toBe('BANK_ANSWER_INVALID')
      expect(calls).toHaveLength(1)
    }
    const { bank: endless, sent: many } = connect('OBIE', () =>
      ok({ Data: { Account: [account('a')] }, Links: { Next: 'https://api.bank.example/base/accounts?p=2' } }),
    )
    await endless.accounts(ACCESS)
    expect(many.length).toBeLessThanOrEqual(20)
  })
})

describe('Berlin Group', () => {
  const withCards = { ...EXAMPLES.BERLIN_GROUP.registration, cardAccounts: true }
  const bankOf = (answer: (request: OutboundRequest) => OutboundResponse) => {
    const { tools, sent } = scriptedBank(answer)
    return { bank: STANDARDS.BERLIN_GROUP.connect(STANDARDS.BERLIN_GROUP.registration.parse(withCards), tools), sent }
  }
  const card = (debitAccounting: boolean | undefined, amount: string) =>
    bankOf(() =>
      ok({ debitAccounting, balances: [{ balanceType: 'interimBooked', balanceAmount: { amount, currency: 'EUR' } }] }),
    ).bank.balances(ACCESS, 'card:c1')

  test('card accounts have their own path, and their sign is turned where the bank counts debits as positive', async () => {
    const { bank, sent } = bankOf(({ url }) =>
      ok(
        url.endsWith('/card-accounts')
          ? { cardAccounts: [{ resourceId: 'c1', maskedPan: '525412xxxxxx9876', currency: 'EUR' }] }
          : { accounts: [] },
      ),
    )
    expect(await bank.accounts(ACCESS)).toMatchObject([{ ref: 'card:c1', type: 'CARD', numberEnd: '9876' }])
    await bank.balances(ACCESS, 'card:c1').catch(() => undefined)
    expect(sent.at(-1)!.url).toMatch(/\/v1\/card-accounts\/c1\/balances$/)
    expect(await card(true, '100.00')).toMatchObject([{ amount: '-100.00' }])
    expect(await card(false, '-100.00')).toMatchObject([{ amount: '-100.00' }])
  })

  test('a card balance whose sign the bank leaves open is absent, unless it is zero', async () => {
    expect(await card(undefined, '100.00')).toEqual([])
    expect(await card(undefined, '0.00')).toMatchObject([{ amount: '0.00' }])
  })

  test.each([
    ['interimAvailable', 'INTERIM_AVAILABLE'],
    ['interimBooked', 'INTERIM_BOOKED'],
    ['expected', 'EXPECTED'],
    ['closingBooked', 'CLOSING_BOOKED'],
    ['openingBooked', 'OPENING_BOOKED'],
    ['CLBD', 'CLOSING_BOOKED'],
    ['nonInvoiced', undefined],
    ['forwardAvailable', undefined],
    ['authorised', undefined],
  ])('balance kind %s is %s', async (balanceType, type) => {
    const { bank } = bankOf(() =>
      ok({ balances: [{ balanceType, balanceAmount: { amount: '-1.5', currency: 'EUR' } }] }),
    )
    expect((await bank.balances(ACCESS, 'a1'))[0]?.type).toBe(type)
  })

  test('XXX is no currency: the account has none of its own, and a balance in it is left out', async () => {
    const { bank } = bankOf(({ url }) =>
      url.endsWith('/accounts')
        ? ok({ accounts: [{ resourceId: 'a1', iban: 'DE1234', currency: 'XXX' }] })
        : ok({
            cardAccounts: [],
            balances: [{ balanceType: 'expected', balanceAmount: { amount: '1', currency: 'XXX' } }],
          }),
    )
    expect((await bank.accounts(ACCESS))[0]!.currency).toBeNull()
    expect(await bank.balances(ACCESS, 'a1')).toEqual([])
  })
})
