import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { optIns, OptInRefused, type Chat } from '../../examples/typescript/opt-in.ts'
import { guichetClient } from '../../examples/typescript/client.ts'
import { createBrowser, type Browser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { AGREE, answerOf, BANK, consentPages, DETAILS, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let pages: ReturnType<typeof consentPages>
let sample: ReturnType<typeof optIns>
beforeAll(async () => {
  gateway = await startGateway()
  pages = consentPages(gateway)
  const { clientId, key, redirectUri } = gateway.client('chatterbox')
  sample = optIns(gateway.issuer, { clientId, clientJwk: key, redirectUri: redirectUri! })
})
afterAll(() => gateway.close())

const ACTIONS = ['accounts:read', 'balances:exact']
const mallory: Chat = { id: 'chat-m', label: '+44 … 123', personId: 'mallory' }
const ada: Chat = { id: 'chat-a', label: '+44 … 777', personId: 'ada' }

/** Opens the link and walks all the way through, as ada does; returns every page and what comes to the callback. */
async function walk(
  link: string,
  browser: Browser = createBrowser(),
): Promise<{ seen: Page[]; answer: URLSearchParams }> {
  const seen = [await browser.open(link, pages.isPlatform)]
  for (const fields of [BANK, SHARING, GO, SIGN_IN, AGREE]) seen.push(await pages.walk(browser, seen.at(-1)!, fields))
  return { seen, answer: new URL(seen.at(-1)!.url).searchParams }
}

const refreshTokens = async (): Promise<number> =>
  (await gateway.database.query("select 1 from oauth_artifact where kind = 'RefreshToken'")).length

describe('a consent link that was forwarded', () => {
  test('shows the label of the chat that it was made for on each page before the bank', async () => {
    const { seen } = await walk(await sample.begin(mallory, ACTIONS))
    for (const { text } of seen.slice(0, 3)) {
      expect(text.replace(/\s+/g, ' ')).toContain(
        'connects your bank to the chat <strong>“<bdi>+44 … 123</bdi>” in Chatterbox</strong>. Continue only if you started this in that chat yourself.',
      )
    }
  })

  test('brings the platform of the sample no tokens where another person of the platform comes back with it', async () => {
    const { answer } = await walk(await sample.begin(mallory, ACTIONS))
    await expect(sample.returned(answer, 'ada')).rejects.toThrow(OptInRefused)
    await expect(sample.confirm(mallory.id, '123456')).rejects.toThrow(/nothing waits/)
  })

  test('gives the sample nothing that it uses before the number from the victim’s browser is typed into the chat', async () => {
    const { answer } = await walk(await sample.begin(mallory, ACTIONS))
    const { number } = await sample.returned(answer, undefined)
    const before = await refreshTokens()
    const wrong = number === '111111' ? '222222' : '111111'
    await expect(sample.confirm(mallory.id, wrong)).rejects.toThrow(/number is wrong/)
    expect(await refreshTokens()).toBe(before - 1)
    // One attempt: the right number comes too late.
    await expect(sample.confirm(mallory.id, number)).rejects.toThrow(/nothing waits/)
  })

  test('cannot be finished in the chat of somebody else', async () => {
    const { answer } = await walk(await sample.begin(mallory, ACTIONS))
    const { number } = await sample.returned(answer, undefined)
    await expect(sample.confirm(ada.id, number)).rejects.toThrow(OptInRefused)
  })
})

describe('an opt-in that its own person finishes', () => {
  test('gives the sample access once the number is confirmed, and a state works once', async () => {
    const { answer } = await walk(await sample.begin(ada, ACTIONS))
    const { chat, number } = await sample.returned(answer, 'ada')
    expect(chat).toEqual(ada)
    await expect(sample.returned(answer, 'ada')).rejects.toThrow(/was used/)
    const access = await sample.confirm(ada.id, number)
    const query = '{ customer { id accounts { nodes { displayName } } } }'
    const { customer } = await guichetClient(gateway.issuer, access).ask<{ customer: { id: string } }, object>(
      query,
      {},
    )
    expect(customer.id).toBe(access.customer)
  })

  test('of another customer than the chat had before is refused by the sample, and its tokens are revoked', async () => {
    const { answer } = await walk(await sample.begin({ ...ada, subject: 'somebody-else' }, ACTIONS))
    const before = await refreshTokens()
    await expect(sample.returned(answer, 'ada')).rejects.toThrow(/sub is another customer/)
    expect(await refreshTokens()).toBe(before)
  })

  test('with an answer of another authorization server is refused by the sample', async () => {
    const { answer } = await walk(await sample.begin(ada, ACTIONS))
    answer.set('iss', 'https://other.example')
    await expect(sample.returned(answer, 'ada')).rejects.toThrow(/RFC 9207/)
  })
})

describe('the label of a chat', () => {
  const begin = (label: unknown) => pages.begin(createBrowser(), { details: { ...DETAILS, chat: { label } } })

  test('may be absent: then the pages ask the same of a chat in general', async () => {
    const { page } = await pages.begin(createBrowser())
    expect(page.text.replace(/\s+/g, ' ')).toContain(
      'connects your bank to <strong>a chat in Chatterbox</strong>. Continue only if you started this in that chat yourself.',
    )
  })

  test.each([
    '+44 … 123',
    'Ada’s phone (2)',
    'ada@chat_7 #1 & co',
    'Élodie',
    'अनिता',
    'דנה 42',
    '雪 '.trim(),
    'x'.repeat(60),
  ])('%s is accepted, and shown as it is', async (label) => {
    const { page } = await begin(label)
    expect(page.text).toContain(`<bdi>${label.replaceAll('&', '&#38;')}</bdi>`)
  })

  test.each([
    ['markup', '<b>Bank</b>'],
    ['a quotation mark', '“ in SafeBank'],
    ['a character that turns the direction', 'abc\u202egnp'],
    ['an isolate', 'abc\u2066def'],
    ['a zero-width space', 'ab\u200bc'],
    ['an invisible letter', 'ab\u3164c'],
    ['a control character', 'ab\u0007c'],
    ['a new line', 'ab\ncd'],
    ['a line separator', 'ab\u2028cd'],
    ['a no-break space', 'ab\u00a0cd'],
    ['two spaces in a row', 'ab  cd'],
    ['a space at its beginning', ' ab'],
    ['a space at its end', 'ab '],
    ['signs only', '… (+)'],
    ['stacked marks', 'a\u0336\u0337\u0338\u0335'],
    ['letters in another form than NFC', 'E\u0301lodie'],
    ['an address', 'https://evil.example'],
    ['nothing', ''],
    ['61 characters', 'x'.repeat(61)],
    ['a number instead of a text', 7],
    ['a list', ['a']],
    ['null', null],
  ])('with %s is refused as the request is pushed', async (_what, label) => {
    await expect(begin(label)).rejects.toThrow(/invalid_authorization_details: chat\.label: must hold 1 to 60/)
  })

  test('is the only member of a chat', async () => {
    const details = { ...DETAILS, chat: { label: 'Ada', link: 'x' } }
    await expect(pages.begin(createBrowser(), { details })).rejects.toThrow(/invalid_authorization_details/)
  })

  test('is no part of what was granted', async () => {
    const browser = createBrowser()
    const { page, redeem } = await pages.begin(browser, { details: { ...DETAILS, chat: { label: 'Ada' } } })
    const token = await redeem(answerOf(await pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN, AGREE))['code']!)
    const rows = await gateway.database.query('select * from consent')
    expect(JSON.stringify(rows)).not.toContain('"Ada"')
    expect(token.accessToken).toBeDefined()
  })
})
