import { describe, expect, test } from 'vitest'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import { codeOf, connect, EXAMPLES } from '../support/standards.ts'

const UNSUPPORTED: OutboundResponse = {
  status: 406,
  headers: {},
  text: JSON.stringify({
    errors: [{ code: 'urn:au-cds:error:cds-all:Header/UnsupportedVersion', title: 't', detail: 'd' }],
  }),
}
const versionsOf = ({ url, headers }: OutboundRequest) =>
  [new URL(url).pathname.split('/').at(-1), headers!['x-v'], headers!['x-min-v']].join(' ')

/** A bank that has only these versions of its endpoints, and ignores `x-min-v`. */
const bankWith = (supported: () => readonly string[]) =>
  connect('CDR', ({ url, headers }) => {
    if (!supported().includes(headers!['x-v']!)) return UNSUPPORTED
    return ok(
      url.includes('/balances')
        ? { data: { balances: [{ accountId: 'a1', currentBalance: '1.00', availableBalance: '12.30' }] }, links: {} }
        : url.includes('/balance')
          ? EXAMPLES.CDR.balances()
          : EXAMPLES.CDR.accounts(),
    )
  })

test('lists of a CDR bank are requested in pages of the registered size, by default the largest', async () => {
  for (const [members, size] of [
    [{}, '1000'],
    [{ pageSize: 25 }, '25'],
  ] as const) {
    const { bank, sent } = connect('CDR', () => ok(EXAMPLES.CDR.accounts()), members)
    await bank.accounts(ACCESS, null)
    expect(new URL(sent[0]!.url).searchParams.get('page-size')).toBe(size)
  }
  for (const pageSize of [0, 1_001, 2.5, '25']) expect(() => connect('CDR', () => ok(''), { pageSize })).toThrow()
})

describe('the versions of a CDR bank', () => {
  test('a bank that has the newest versions is asked once, with the range of versions that can be read', async () => {
    const { bank, sent } = bankWith(() => ['1', '2', '3'])
    await bank.accounts(ACCESS, null)
    await bank.bulkBalances!(ACCESS, ['a1'], null)
    await bank.balances(ACCESS, 'a1', null)
    expect(sent.map(versionsOf)).toEqual(['accounts 3 2', 'balances 2 1', 'balance 1 1'])
  })

  test('an older version is tried once if the newest is unsupported, and used from then on', async () => {
    const { bank, sent } = bankWith(() => ['1', '2'])
    for (let count = 0; count < 2; count++)
      expect((await bank.accounts(ACCESS, null)).map(({ ref }) => ref)).toEqual(['a1'])
    expect(sent.map(versionsOf)).toEqual(['accounts 3 2', 'accounts 2 2', 'accounts 2 2'])
  })

  test('balances of an older version are read with the same amounts', async () => {
    const { bank, sent } = bankWith(() => ['1'])
    const result = (await bank.bulkBalances!(ACCESS, ['a1'], null)).get('a1')
    expect(result).toMatchObject({
      balances: [
        { type: 'INTERIM_BOOKED', amount: '1.00', currency: 'AUD' },
        { type: 'INTERIM_AVAILABLE', amount: '12.30', currency: 'AUD' },
      ],
    })
    expect(sent.map(versionsOf)).toEqual(['balances 2 1', 'balances 1 1'])
  })

  test('no version below the lowest that can be read is requested', async () => {
    const { bank, sent, problems } = bankWith(() => [])
    expect(await codeOf(bank.accounts(ACCESS, null))).toBe('BANK_REFUSED')
    expect(await codeOf(bank.balances(ACCESS, 'a1', null))).toBe('BANK_REFUSED')
    expect(sent.map(versionsOf)).toEqual(['accounts 3 2', 'accounts 2 2', 'balance 1 1'])
    expect(problems).toEqual([])
  })

  test('the newest version is tried again once the bank has ended the older one', async () => {
    let supported = ['2']
    const { bank, sent } = bankWith(() => supported)
    await bank.accounts(ACCESS, null)
    supported = ['3']
    await bank.accounts(ACCESS, null)
    await bank.accounts(ACCESS, null)
    expect(sent.map(versionsOf).slice(2)).toEqual(['accounts 2 2', 'accounts 3 2', 'accounts 3 2'])
  })

  test('any other error causes no second request', async () => {
    const { bank, sent } = connect('CDR', () => ({ ...UNSUPPORTED, status: 400 }))
    expect(await codeOf(bank.accounts(ACCESS, null))).toBe('BANK_REFUSED')
    expect(sent).toHaveLength(1)
  })
})
