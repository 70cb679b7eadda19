import { describe, expect, test } from 'vitest'
import { createRequestCheck, STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import type { OutboundRequest } from '../../src/kernel/outbound-http.ts'
import { ACCESS, ok, scriptedBank } from '../support/scripted-bank.ts'
import { ADDRESS, EXAMPLES } from '../support/standards.ts'

const STANDARD_IDS = Object.keys(STANDARDS) as StandardId[]

/** What the connector of a standard sends for the reads of one account, and the check of its registration. */
async function readsOf(id: StandardId) {
  const standard = STANDARDS[id]
  const registration = standard.registration(ADDRESS).parse(EXAMPLES[id].registration)
  const { tools, sent } = scriptedBank(({ url }) =>
    ok(url.includes('balances') || url.includes('/accounts/') ? EXAMPLES[id].balances() : EXAMPLES[id].accounts()),
  )
  const bank = standard.connect(registration, tools)
  const access = { ...ACCESS, signedInAt: '2026-01-01T00:00:00.000Z' }
  await bank.accounts(access, null)
  await bank.balances(access, EXAMPLES[id].account, null)
  return { sent, check: createRequestCheck(standard, registration), registration }
}

describe('the check of our own requests', () => {
  test.each(STANDARD_IDS)(
    'every read of the %s connector is allowed and has the headers of the standard',
    async (id) => {
      const { sent, check } = await readsOf(id)
      expect(sent.length).toBeGreaterThan(0)
      expect(sent.map((request) => check(request))).toEqual(sent.map(() => undefined))
    },
  )

  test.each(STANDARD_IDS)('a request of %s without one of its headers is found', async (id) => {
    const { sent, check } = await readsOf(id)
    const { authorization: _authorization, ...headers } = sent[0]!.headers as Record<string, string>
    expect(check({ ...sent[0]!, headers })).toBe('HEADER_MISSING')
  })

  test.each<[what: string, change: (request: OutboundRequest, base: string) => Partial<OutboundRequest>]>([
    ['another method', () => ({ method: 'PUT' })],
    ['an operation that is not of the allowlist', (_request, base) => ({ url: `${base}/accounts/a/transactions` })],
    ['one more segment', ({ url }) => ({ url: `${url.split('?')[0]}/more` })],
    ['another host', () => ({ url: 'https://other.example/accounts' })],
  ])('a request with %s is found', async (_what, change) => {
    const { sent, check, registration } = await readsOf('OBIE')
    expect(check({ ...sent[0]!, ...change(sent[0]!, registration.apiBase) })).toBe('REQUEST_NOT_ALLOWED')
  })
})
