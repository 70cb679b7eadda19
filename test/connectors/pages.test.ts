import { describe, expect, test } from 'vitest'
import { GatewayError } from '../../src/kernel/errors.ts'
import type { StandardId } from '../../src/connectors/index.ts'
import type { OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import { accountsOf, codeOf, connect } from '../support/standards.ts'

/** A standard whose lists have links or cursors. */
interface PagedStandard {
  /** The address of the first page of accounts. */
  readonly first: string
  /** A page of accounts with these ids and this link to the next page. */
  readonly page: (ids: readonly string[], next?: unknown) => unknown
  /** The same for balances of several accounts. */
  readonly balances: (ids: readonly string[], next?: unknown) => unknown
  /** The link that leads to the second page, and what its request contains. */
  readonly second: readonly [link: unknown, contains: string]
}

const BASE = 'https://api.bank.example/base'
const PAGED: Readonly<Record<Exclude<StandardId, 'BERLIN_GROUP'>, PagedStandard>> = {
  OBIE: {
    first: `${BASE}/accounts`,
    page: (ids, Next) => ({ Data: { Account: ids.map((AccountId) => ({ AccountId })) }, Links: { Next } }),
    balances: (ids, Next) => ({
      Data: {
        Balance: ids.map((AccountId) => ({
          AccountId,
          Type: 'ITBD',
          CreditDebitIndicator: 'Credit',
          Amount: { Amount: '1.00', Currency: 'GBP' },
        })),
      },
      Links: { Next },
    }),
    second: ['?p=2', '?p=2'],
  },
  CDR: {
    first: `${BASE}/banking/accounts`,
    page: (ids, next) => ({
      data: { accounts: ids.map((accountId) => ({ accountId, productCategory: 'LEASES' })) },
      links: { next },
    }),
    balances: (ids, next) => ({
      data: { balances: ids.map((accountId) => ({ accountId, currentBalance: '1.00' })) },
      links: { next },
    }),
    second: ['?p=2', '?p=2'],
  },
  FDX: {
    first: `${BASE}/accounts`,
    page: (ids, nextPageKey) => ({
      accounts: ids.map((accountId) => ({ accountId, accountCategory: 'DEPOSIT_ACCOUNT' })),
      page: { nextPageKey },
    }),
    balances: (ids, nextPageKey) => ({
      accounts: ids.map((accountId) => ({
        accountId,
        accountCategory: 'DEPOSIT_ACCOUNT',
        currency: { currencyCode: 'USD' },
        currentBalance: 1,
      })),
      page: { nextPageKey },
    }),
    second: ['p2', 'nextPageKey=p2'],
  },
}
const failed = (status: number, headers = {}): OutboundResponse => ({ status, headers, text: '' })

describe.each(Object.keys(PAGED) as (keyof typeof PAGED)[])('the pages of a list: %s', (id) => {
  const { first, page, balances, second } = PAGED[id]
  const refs = (accounts: readonly { readonly ref: string }[]) => accounts.map(({ ref }) => ref)
  /** A bank whose first page links to a second one, which has this answer. */
  const bankWith = (answer: OutboundResponse, firstPage = page) =>
    connect(id, ({ url }) => (url.includes(second[1]) ? answer : ok(firstPage(['a', 'b'], second[0]))))

  test.each([null, undefined, ''])('the next link %j means that the page is the last one', async (next) => {
    const { bank, sent, problems } = connect(id, () => ok(page(['a'], next)))
    expect(refs(await accountsOf(bank))).toEqual(['a'])
    expect([sent.length, problems]).toEqual([1, []])
  })

  test('a link that leads nowhere keeps the pages before it and is reported', async () => {
    const links: unknown[] = [
      { href: first },
      ['x'],
      true,
      ...(id === 'FDX'
        ? ['x'.repeat(5_000)]
        : [
            'null',
            'null/open-banking/v3.1/aisp/accounts?page=2',
            'N/A',
            2,
            'https://evil.example/base/accounts?p=2',
            `${first}/a/transactions`,
            `${first}/../transactions`,
            `${first}/%2e%2e/transactions`,
            '//evil.example/base/accounts',
            'ftp://api.bank.example/base/accounts?p=2',
            'javascript:alert(1)',
            `${first}x?p=2`,
          ]),
    ]
    for (const next of links) {
      const { bank, sent, problems } = connect(id, () => ok(page(['a'], next)))
      expect(refs(await accountsOf(bank)), String(next)).toEqual(['a'])
      expect([sent.length, problems], String(next)).toEqual([1, ['INVALID_NEXT_PAGE']])
    }
  })

  test('a link to a page that was read before is noticed before it is followed', async () => {
    const { bank, sent, problems } = bankWith(ok(page(['c'], second[0])))
    expect(refs(await accountsOf(bank))).toEqual(['a', 'b', 'c'])
    expect([sent.length, problems]).toEqual([2, ['REPEATED_PAGE']])
    if (id !== 'OBIE') return
    const self = connect(id, () => ok(page(['a'], first)))
    expect(refs(await accountsOf(self.bank))).toEqual(['a'])
    expect([self.sent.length, self.problems]).toEqual([1, ['REPEATED_PAGE']])
  })

  test.each([
    ['is refused', failed(400)],
    ['does not exist', failed(404)],
    ['is not JSON', ok('<html>')],
    ['has another form', ok('{"accounts":7,"data":7,"Data":7}')],
  ])('a later page that %s keeps the pages before it and is reported', async (_what, answer) => {
    const { bank, problems } = bankWith(answer)
    expect(refs(await accountsOf(bank))).toEqual(['a', 'b'])
    expect(problems).toEqual(['UNREADABLE_PAGE'])
  })

  test('a link or cursor that makes an address too long to request keeps the pages before it', async () => {
    const { bank, sent, problems } = connect(id, () => ok(page(['a', 'b'], `?${'x'.repeat(2_047)}`)))
    expect(refs(await accountsOf(bank))).toEqual(['a', 'b'])
    expect([sent.length, problems]).toEqual([1, ['UNREADABLE_PAGE']])
  })

  test.each([
    [401, 'RECONNECT_REQUIRED'],
    [403, 'RECONNECT_REQUIRED'],
    [429, 'BANK_RATE_LIMITED'],
    [503, 'BANK_UNAVAILABLE'],
  ])(
    'a later page with the status %i fails the read, which can be repeated or needs the customer',
    async (status, code) => {
      expect(await codeOf(accountsOf(bankWith(failed(status)).bank))).toBe(code)
    },
  )

  test('the first page of a list fails the read for any fault', async () => {
    for (const answer of [failed(400), failed(404), ok('<html>')])
      expect(await codeOf(accountsOf(connect(id, () => answer).bank))).not.toBe('NONE')
  })

  test('an account that a partial list of balances lacks may have balances', async () => {
    const { bank } = bankWith(failed(400), balances)
    const read = await bank.bulkBalances!(ACCESS, ['a', 'z'], null)
    expect(read.get('a')).toMatchObject({ balances: [{ type: 'INTERIM_BOOKED' }], isPartial: true })
    expect(read.get('z')).toBeInstanceOf(GatewayError)
    expect(read.get('z')).toMatchObject({ code: 'BANK_RESPONSE_INVALID' })
    const complete = connect(id, () => ok(balances(['a'])))
    const all = await complete.bank.bulkBalances!(ACCESS, ['a', 'z'], null)
    expect([...all.keys()]).toEqual(['a'])
    expect(all.get('a')).not.toHaveProperty('isPartial')
  })
})

describe('the pages of one account', () => {
  const balance = (Type: string, Amount: string) => ({
    AccountId: 'b/1',
    Type,
    CreditDebitIndicator: 'Credit',
    Amount: { Amount, Currency: 'GBP' },
  })
  const ADDRESS = `${BASE}/accounts/b%2F1/balances`

  test.each([
    `${ADDRESS}?page=2`,
    '?page=2',
    '/base/accounts/b%2f1/balances?page=2',
    `${ADDRESS.replace('https', 'http')}/?page=2`,
  ])('the link %j leads to the next page of the balances of one account', async (Next) => {
    const { bank, sent, problems } = connect('OBIE', ({ url }) =>
      url.endsWith('?page=2')
        ? ok({ Data: { Balance: [balance('ITAV', '8.50')] } })
        : ok({ Data: { Balance: [balance('ITBD', '10.00')] }, Links: { Next } }),
    )
    expect((await bank.balances(ACCESS, 'b/1', null)).balances.map(({ amount }) => amount)).toEqual(['10.00', '8.50'])
    expect(sent.map(({ url }) => url)).toEqual([ADDRESS, `${ADDRESS}?page=2`])
    expect(problems).toEqual([])
  })

  test.each([`${BASE}/accounts/b/1/balances?page=2`, `${BASE}/accounts/c/balances?page=2`, `${BASE}/balances?page=2`])(
    'the link %j to balances of something else is not followed',
    async (Next) => {
      const { bank, sent, problems } = connect('OBIE', () =>
        ok({ Data: { Balance: [balance('ITBD', '10.00')] }, Links: { Next } }),
      )
      expect(await bank.balances(ACCESS, 'b/1', null)).toMatchObject({
        balances: [{ amount: '10.00' }],
        isPartial: true,
      })
      expect([sent.length, problems]).toEqual([1, ['INVALID_NEXT_PAGE']])
    },
  )
})

test.each(['OBIE', 'BERLIN_GROUP', 'FDX', 'CDR'] as const)(
  'an ID that makes an address too long to request is a fault of the bank, and nothing is sent: %s',
  async (id) => {
    const { bank, sent } = connect(id, () => ok({}))
    expect(await codeOf(bank.balances(ACCESS, '€'.repeat(300), null))).toBe('BANK_RESPONSE_INVALID')
    expect(sent).toEqual([])
  },
)
