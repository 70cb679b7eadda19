import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseChoices, createBrowser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { AGREE, answerOf, BANK, DETAILS, GO, SIGN_IN, type Fields } from '../support/consent-pages.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { visits } from '../support/interactions.ts'

let gateway: TestGateway
let at: ReturnType<typeof visits>
beforeAll(async () => {
  gateway = await startGateway()
  at = visits(gateway)
  const { clients } = gateway.app.services
  const { scopes } = (await clients.find('chatterbox'))!
  await clients.update('admin', 'chatterbox', {
    scopes: [...new Set([...scopes, 'balances:threshold'])],
  })
})
afterAll(() => gateway.close())

const words = ({ text }: Page): string =>
  text
    .replace(/<style>.*?<\/style>|<[^>]+>/gs, ' ')
    .replace(/\s+/g, ' ')
    .replace(/ ([.,;:])/g, '$1')

/** What each scope alone brings to a page, by the page. */
const OF_SCOPE = {
  'accounts:read': {
    asks: 'your accounts',
    line: 'the kind and name of each account and the last digits of its number',
  },
  'balances:threshold': { asks: 'your balances', line: 'Whether a balance is at least an amount' },
  'balances:band': { asks: 'your balances', line: 'Account balances, as a range' },
  'balances:exact': { asks: 'your balances', line: 'Account balances, exact, when you ask' },
  'alerts:read': { asks: 'security alerts', line: 'Security alerts' },
} as const
type Scope = keyof typeof OF_SCOPE

const OF_PURPOSE = {
  ANSWER_CUSTOMER: 'to answer you when you ask',
  FRAUD_AND_SECURITY_ALERTS: 'to warn you of fraud and of risks to your accounts',
  ACCOUNT_SERVICE: 'to help you with your accounts where you ask for it',
} as const
type Purpose = keyof typeof OF_PURPOSE

const MATRIX: readonly (readonly [scopes: readonly Scope[], purposes: readonly Purpose[]])[] = [
  ...(Object.keys(OF_SCOPE) as Scope[]).map((scope) => [[scope], ['ANSWER_CUSTOMER']] as const),
  ...(Object.keys(OF_PURPOSE) as Purpose[]).map((purpose) => [['accounts:read', 'balances:band'], [purpose]] as const),
  [
    ['accounts:read', 'balances:exact'],
    ['ANSWER_CUSTOMER', 'ACCOUNT_SERVICE'],
  ],
  [['balances:threshold', 'balances:exact'], ['ANSWER_CUSTOMER']],
  [['accounts:read', 'alerts:read'], ['FRAUD_AND_SECURITY_ALERTS']],
  [Object.keys(OF_SCOPE) as Scope[], Object.keys(OF_PURPOSE) as Purpose[]],
]

/** Checks that a text has the words of what was requested, and none of what was not. */
function says(text: string, requested: readonly string[], all: readonly string[]): void {
  const lower = (phrases: readonly string[]): string[] => [...new Set(phrases.map((phrase) => phrase.toLowerCase()))]
  const given = new Set(lower(requested))
  for (const phrase of lower(all)) {
    // "Security alerts" is part of the words for answers to them.
    const longer = lower(all).filter((other) => other !== phrase && other.includes(phrase))
    const rest = longer.reduce((left, other) => left.replaceAll(other, ''), text.toLowerCase())
    expect([phrase, rest.includes(phrase)]).toEqual([phrase, given.has(phrase)])
  }
}

const LINES = Object.values(OF_SCOPE).map(({ line }) => line)
const ASKS = Object.values(OF_SCOPE).map(({ asks }) => asks)
const PURPOSES = Object.values(OF_PURPOSE)

describe('a request', () => {
  test.each(MATRIX)(
    'a request for %j, for %j, is described correctly on each page, the dashboard and the receipt',
    async (scopes, purposes) => {
      const browser = createBrowser()
      const { page, redeem } = await at.pages.begin(browser, {
        scope: ['openid', ...scopes].join(' '),
        details: { ...DETAILS, actions: scopes, purposes },
      })
      const heading = /<h1>(.*?)<\/h1>/s.exec(page.text)![1]!.replace(/\s+/g, ' ')
      says(
        heading,
        scopes.map((scope) => OF_SCOPE[scope].asks),
        ASKS,
      )
      const lines = scopes.map((scope) => OF_SCOPE[scope].line)
      const meant = purposes.map((purpose) => OF_PURPOSE[purpose])

      const sharing = await at.pages.walk(browser, page, BANK)
      const shown = words(sharing)
      says(shown, lines, LINES)
      says(shown, meant, PURPOSES)

      const all: Fields = [
        ...parseChoices(sharing, 'share').map((share): [string, string] => ['share', share]),
        ['days', '30'],
        ['decision', 'go'],
      ]
      const leaving = await at.pages.walk(browser, sharing, all)
      says(words(leaving), lines, LINES)
      says(words(leaving), meant, PURPOSES)
      expect(words(leaving)).toContain('for 30 days')

      const { code } = answerOf(await at.pages.walk(browser, leaving, GO, SIGN_IN, AGREE))
      await redeem(code!)
      const dashboard = await at.sharing(browser)
      const article = /<article>.*?<\/article>/s.exec(dashboard.text)![0]
      for (const text of [words({ ...dashboard, text: article })]) {
        says(text, lines, LINES)
        says(text, meant, PURPOSES)
      }
      const stop = /href="(\/sharing\/[^"]+\/stop)"/.exec(article)![1]!
      const receipt = words(await browser.submit(await browser.open(`${gateway.issuer}${stop}`), []))
      says(receipt, lines, LINES)
      says(receipt, meant, PURPOSES)
    },
  )

  test('a request of which the customer selects a part shows only that part from then on', async () => {
    const browser = createBrowser()
    const { page, redeem } = await at.pages.begin(browser)
    const leaving = await at.pages.walk(browser, page, BANK, [
      ['share', 'range'],
      ['days', '1'],
      ['decision', 'go'],
    ])
    const only = [OF_SCOPE['accounts:read'].line, OF_SCOPE['balances:band'].line]
    says(words(leaving), only, LINES)
    expect(words(leaving)).toContain('for one day')
    await redeem(answerOf(await at.pages.walk(browser, leaving, GO, SIGN_IN, AGREE))['code']!)
    says(words({ ...page, text: /<article>.*?<\/article>/s.exec((await at.sharing(browser)).text)![0] }), only, LINES)
  })

  test('a consent form with nothing selected states what is missing and starts nothing at the bank', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser, {
      scope: 'openid balances:band',
      details: { ...DETAILS, actions: ['balances:band'] },
    })
    const sharing = await at.pages.walk(browser, page, BANK)
    const again = await at.pages.walk(browser, sharing, [
      ['days', '30'],
      ['decision', 'go'],
    ])
    expect(again.status).toBe(400)
    expect(words(again)).toContain('Nothing is switched on. Switch on what you want to share, or choose “Not now”.')
    const before = await gateway.database.query('select 1 from consent')
    const uid = /\/interaction\/([\w-]+)\//.exec(page.text)![1]!
    const forced = await fetch(`${gateway.issuer}/interaction/${uid}/leave`, {
      method: 'POST',
      redirect: 'manual',
      headers: { cookie: browser.cookiesFor(`${gateway.issuer}/interaction/${uid}/leave`), origin: gateway.issuer },
      body: new URLSearchParams({ bank: 'northbank', days: '30', decision: 'go' }),
    })
    expect(forced.status).toBe(400)
    expect(await gateway.database.query('select 1 from consent')).toHaveLength(before.length)
  })
})
