import { expect, test } from 'vitest'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import { connect } from '../support/standards.ts'

const PAGE_ENTRIES = 5_000
/** Linear reading takes a tenth of this; it took minutes while each balance copied those before it. */
const MAX_MS = 5_000

/** The longest page of balances, all of one account and with different amounts. */
const PAGES = {
  OBIE: (page: number) => ({
    Data: {
      Balance: entriesOf(page, (Amount) => ({
        AccountId: 'a',
        CreditDebitIndicator: 'Credit',
        Type: 'ITBD',
        Amount: { Amount, Currency: 'GBP' },
      })),
    },
    Links: { Next: `?page=${page + 1}` },
  }),
  CDR: (page: number) => ({
    data: { balances: entriesOf(page, (currentBalance) => ({ accountId: 'a', currentBalance })) },
    links: { next: `?page=${page + 1}` },
  }),
}
const entriesOf = (page: number, toEntry: (amount: string) => object): object[] =>
  Array.from({ length: PAGE_ENTRIES }, (_, index) => toEntry(String(page * PAGE_ENTRIES + index)))

test.each(['OBIE', 'CDR'] as const)(
  'the longest list of balances does not occupy a process for long, and its reading ends after 10,000 entries: %s',
  async (id) => {
    let pageCount = 0
    const { bank, problems } = connect(
      id,
      ({ url }) =>
        url.includes('balances') ? ok(PAGES[id](pageCount++)) : ok({ access_token: 'a', token_type: 'bearer' }),
      id === 'OBIE' ? { bulkBalances: true } : {},
    )
    const before = process.cpuUsage()
    await bank.bulkBalances!(ACCESS, ['a'], null)
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(MAX_MS)
    expect([pageCount, problems]).toEqual([2, expect.arrayContaining(['TOO_MANY_PAGES'])])
  },
)
