import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { consentPages } from '../support/consent-pages.ts'
import { noChromium, openChromium } from '../support/chromium.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

const FRAGMENT = '#state=made-up&code=code-of-the-bank&id_token=token-of-the-bank'
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

describe('a bank that returns its parameters in the fragment', () => {
  test('the page for it allows one script by hash, and posts to the gateway only', async () => {
    const response = await fetch(`${gateway.issuer}/bank/callback`)
    const page = await response.text()
    const script = /<script>([^]*)<\/script>/.exec(page)![1]!
    const policy = response.headers.get('content-security-policy')!
    expect(policy).toContain(`script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`)
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("form-action 'self'")
    expect(policy).not.toMatch(/unsafe|http/)
    expect(page.match(/<script/g)).toHaveLength(1)
  })

  test('what the page posts completes the sign-in, and is in no address on the way to the platform', async () => {
    const browser = createBrowser()
    const pages = consentPages(gateway)
    const { url } = await pages.untilCallback(browser)
    const posted = new URL(url).searchParams
    const addresses: string[] = []
    const end = await browser.open(
      `${gateway.issuer}/bank/callback`,
      (next) => addresses.push(next.href) > 0 && pages.isPlatform(next),
      posted,
    )
    expect(pages.isPlatform(new URL(end.url))).toBe(true)
    expect(new URL(end.url).searchParams.has('code')).toBe(true)
    expect(addresses.length).toBeGreaterThan(2)
    for (const [name, value] of posted) expect([name, addresses.join().includes(value)]).toEqual([name, false])
  })

  test('parameters of another customer that are posted complete nothing', async () => {
    const { url } = await consentPages(gateway).untilCallback(createBrowser())
    const { status, text } = await createBrowser().open(
      `${gateway.issuer}/bank/callback`,
      () => false,
      new URL(url).searchParams,
    )
    expect(status).toBeGreaterThanOrEqual(400)
    expect(text).not.toContain('code=')
  })

  test('a page of the consent flow still has no script', async () => {
    const response = await fetch(`${gateway.issuer}/bank/callback?state=made-up`)
    expect(response.headers.get('content-security-policy')).not.toContain('script-src')
  })
})

describe.skipIf(noChromium !== undefined)(
  `the fragment in Chromium${noChromium === undefined ? '' : ` (${noChromium})`}`,
  () => {
    let chromium: Awaited<ReturnType<typeof openChromium>>
    beforeAll(async () => {
      chromium = await openChromium(true)
    })
    afterAll(() => chromium.close())

    test('the parameters are posted, and are in no address, history or log', async () => {
      const page = await chromium.context.newPage()
      const requests: { method: string; url: string; body: string | null }[] = []
      page.on('request', (request) =>
        requests.push({ method: request.method(), url: request.url(), body: request.postData() }),
      )
      await page.goto(`${gateway.issuer}/bank/callback${FRAGMENT}`)
      await page.getByText('no longer valid').waitFor()
      const posted = requests.find(({ method }) => method === 'POST')
      expect(Object.fromEntries(new URLSearchParams(posted!.body!))).toEqual({
        state: 'made-up',
        code: 'code-of-the-bank',
        id_token: 'token-of-the-bank',
      })
      expect(page.url()).toBe(`${gateway.issuer}/bank/callback`)
      await page.goBack()
      expect(page.url()).not.toContain('token-of-the-bank')
      expect(gateway.log.join()).not.toContain('-of-the-bank')
    })

    test('a return without any parameter says so, and a browser without scripts says what is needed', async () => {
      const page = await chromium.context.newPage()
      await page.goto(`${gateway.issuer}/bank/callback`)
      await page.getByText('Your bank returned no answer').waitFor()
      const plain = await openChromium()
      const withoutScripts = await plain.context.newPage()
      await withoutScripts.goto(`${gateway.issuer}/bank/callback${FRAGMENT}`)
      await withoutScripts.getByText('Allow scripts for this page').waitFor()
      await plain.close()
    })
  },
)
