import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createOptIns, OptInError, type Chat } from '../../examples/typescript/opt-in.ts'
import { createGuichetClient } from '../../examples/typescript/client.ts'
import { createBrowser, type Browser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { AGREE, answerOf, BANK, consentPages, DETAILS, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let pages: ReturnType<typeof consentPages>
let sample: ReturnType<typeof createOptIns>
beforeAll(async () => {
  gateway = await startGateway()
  pages = consentPages(gateway)
  const { clientId, key, redirectUri } = gateway.client('chatterbox')
  sample = createOptIns(gateway.issuer, { clientId, clientJwk: key, redirectUri: redirectUri! })
})
afterAll(() => gateway.close())

const ACTIONS = ['accounts:read', 'balances:exact']
const mallory: Chat = { id: 'chat-m', label: '+44 … 123', personId: 'mallory' }
const ada: Chat = { id: 'chat-a', label: '+44 … 777', personId: 'ada' }

/** Opens the link and completes every page as ada. Returns the pages and the parameters of the callback. */
async function walk(
  link: string,
  browser: Browser = createBrowser(),
): Promise<{ seen: Page[]; parameters: URLSearchParams }> {
  const seen = [await browser.open(link, pages.isPlatform)]
  for (const fields of [BANK, SHARING, GO, SIGN_IN, AGREE]) seen.push(await pages.walk(browser, seen.at(-1)!, fields))
  return { seen, parameters: new URL(seen.at(-1)!.url).searchParams }
}

const refreshTokens = async (): Promise<number> =>
  (await gateway.database.query("select 1 from oauth_artifact where kind = 'RefreshToken'")).length

describe('a consent link that was forwarded', () => {
  test('a forwarded consent link shows the label of its own chat on each page before the bank', async () => {
    const { seen } = await walk(await sample.start(mallory, ACTIONS))
    for (const { text } of seen.slice(0, 3)) {
      expect(text.replace(/\s+/g, ' ')).toContain(
        'connects your bank to the chat <strong>“<bdi>+44 … 123</bdi>” in Chatterbox</strong>. Continue only if you started this in that chat yourself.',
      )
    }
  })

  test('the example platform gets no tokens if another of its users returns from a forwarded link', async () => {
    const { parameters } = await walk(await sample.start(mallory, ACTIONS))
    await expect(sample.handleCallback(parameters, 'ada')).rejects.toThrow(OptInError)
    await expect(sample.confirm(mallory.id, '123456')).rejects.toThrow(/no opt-in waits/)
  })

  test('the example platform gets no access by a forwarded link until the chat has the number from the browser', async () => {
    const { parameters } = await walk(await sample.start(mallory, ACTIONS))
    const { number } = await sample.handleCallback(parameters, undefined)
    const before = await refreshTokens()
    const wrong = number === '111111' ? '222222' : '111111'
    await expect(sample.confirm(mallory.id, wrong)).rejects.toThrow(/number is wrong/)
    expect(await refreshTokens()).toBe(before - 1)
    // There is one attempt.
    await expect(sample.confirm(mallory.id, number)).rejects.toThrow(/no opt-in waits/)
  })

  test('a forwarded consent link cannot be completed in another chat', async () => {
    const { parameters } = await walk(await sample.start(mallory, ACTIONS))
    const { number } = await sample.handleCallback(parameters, undefined)
    await expect(sample.confirm(ada.id, number)).rejects.toThrow(OptInError)
  })
})

describe('an opt-in that the owner of the chat finishes', () => {
  test('the example platform gets access when the owner of the chat confirms the number, and a state works once', async () => {
    const { parameters } = await walk(await sample.start(ada, ACTIONS))
    const { chat, number } = await sample.handleCallback(parameters, 'ada')
    expect(chat).toEqual(ada)
    await expect(sample.handleCallback(parameters, 'ada')).rejects.toThrow(/was used/)
    const access = await sample.confirm(ada.id, number)
    const query = '{ customer { id accounts { nodes { displayName } } } }'
    const { customer } = await createGuichetClient(gateway.issuer, access).query<{ customer: { id: string } }, object>(
      query,
      {},
    )
    expect(customer.id).toBe(access.customer)
  })

  test('the example platform refuses an opt-in by another customer than before and revokes its tokens', async () => {
    const { parameters } = await walk(await sample.start({ ...ada, subject: 'somebody-else' }, ACTIONS))
    const before = await refreshTokens()
    await expect(sample.handleCallback(parameters, 'ada')).rejects.toThrow(/sub is another customer/)
    expect(await refreshTokens()).toBe(before)
  })

  test('the example platform refuses a response of another authorization server', async () => {
    const { parameters } = await walk(await sample.start(ada, ACTIONS))
    parameters.set('iss', 'https://other.example')
    await expect(sample.handleCallback(parameters, 'ada')).rejects.toThrow(/RFC 9207/)
  })
})

describe('the label of a chat', () => {
  const begin = (label: unknown) => pages.begin(createBrowser(), { details: { ...DETAILS, chat: { label } } })

  test('if the label of a chat is absent, the pages name a chat of the platform', async () => {
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
  ])('%s is accepted and shown unchanged', async (label) => {
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
  ])('the label of a chat with %s is refused when the request is pushed', async (_what, label) => {
    await expect(begin(label)).rejects.toThrow(/invalid_authorization_details: chat\.label: must hold 1 to 60/)
  })

  test('the label of a chat is the only member of a chat', async () => {
    const details = { ...DETAILS, chat: { label: 'Ada', link: 'x' } }
    await expect(pages.begin(createBrowser(), { details })).rejects.toThrow(/invalid_authorization_details/)
  })

  test('the label of a chat is not stored with the consent', async () => {
    const browser = createBrowser()
    const { page, redeem } = await pages.begin(browser, { details: { ...DETAILS, chat: { label: 'Ada' } } })
    const token = await redeem(answerOf(await pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN, AGREE))['code']!)
    const rows = await gateway.database.query('select * from consent')
    expect(JSON.stringify(rows)).not.toContain('"Ada"')
    expect(token.accessToken).toBeDefined()
  })
})
