import { randomBytes } from 'node:crypto'
import { exportJWK, generateKeyPair } from 'jose'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generateDpopKey, createOauthClient, type ClientFile } from '../../src/entrypoints/cli/oauth-client.ts'
import { noChromium, openChromium } from '../support/chromium.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { serve, startTwoHostBank, type TwoHostBank } from '../support/two-host-bank.ts'

const APP_LINK = 'exampleapp://chat/7'
type Chromium = Awaited<ReturnType<typeof openChromium>>
type Served = Awaited<ReturnType<typeof serve>>

describe.skipIf(noChromium !== undefined)(
  `the opt-in in Chromium without scripts${noChromium ? ` (${noChromium})` : ''}`,
  () => {
    let gateway: TestGateway
    let chromium: Chromium
    const banks: TwoHostBank[] = []
    const servers: Served[] = []
    /** Platforms by what their callback does next. */
    const platforms: Partial<Record<'further' | 'app', { client: ClientFile; server: Served }>> = {}

    beforeAll(async () => {
      gateway = await startGateway()
      chromium = await openChromium()
      const chat = await serve('localhost', () => ({
        status: 200,
        headers: { 'content-type': 'text/html' },
        body: 'The chat',
      }))
      servers.push(chat)
      platforms.further = await platform('further', `${chat.origin}/chat`)
      platforms.app = await platform('app', APP_LINK)
      await liveBank('twohosts', 'Two Hosts Bank', 'OAUTH')
      await liveBank('ownlink', 'Own Link Bank', 'REDIRECT')
    })
    afterAll(async () => {
      await chromium.close()
      await Promise.all([...banks, ...servers].map((one) => one.close()))
      await gateway.close()
    })

    /** A platform whose callback sends the browser on to `next`. */
    async function platform(id: string, next: string): Promise<{ client: ClientFile; server: Served }> {
      const server = await serve('127.0.0.1', (_request, { pathname }) =>
        pathname === '/callback' ? { status: 302, headers: { location: next } } : { status: 404 },
      )
      servers.push(server)
      const { clients } = gateway.app.services
      const { privateKey } = await generateKeyPair('ES256', { extractable: true })
      const key = { ...(await exportJWK(privateKey)), kid: `${id}-1` }
      const { d: _private, ...publicKey } = key
      const redirectUri = `${server.origin}/callback`
      await clients.register(
        'admin',
        {
          organizationId: (await clients.find('chatterbox'))!.organizationId,
          name: `Platform ${id}`,
          jwks: { keys: [publicKey] },
          redirectUris: [redirectUri],
          scopes: ['accounts:read', 'balances:band'],
          tokenBinding: 'DPOP',
        },
        { id },
      )
      return { client: { clientId: id, key, redirectUri }, server }
    }

    /** A bank that is live without its certification, which is not what is tested here. */
    async function liveBank(id: string, name: string, sca: 'OAUTH' | 'REDIRECT'): Promise<void> {
      const bank = await startTwoHostBank(id, name, gateway.issuer, sca)
      banks.push(bank)
      const connector = await gateway.app.services.banks.register('rheinbank-partner', {
        standard: 'BERLIN_GROUP',
        registration: bank.registration,
      })
      await gateway.database.query("update connector set status = 'ACTIVE' where id = $1", [connector.id])
    }

    /** The first consent page of a new visit. */
    async function begin(which: 'further' | 'app', page: Page): Promise<void> {
      const scopes = ['accounts:read', 'balances:band']
      const { url } = await createOauthClient(gateway.issuer, platforms[which]!.client).pushAuthorizationRequest(
        {
          scope: ['openid', ...scopes].join(' '),
          details: { type: 'urn:guichet:account-information', actions: scopes, purposes: ['ANSWER_CUSTOMER'] },
          state: randomBytes(9).toString('base64url'),
        },
        await generateDpopKey(),
      )
      await page.goto(url)
    }

    async function withPage(walk: (page: Page) => Promise<void>): Promise<void> {
      await chromium.context.clearCookies()
      const page = await chromium.context.newPage()
      page.setDefaultTimeout(60_000)
      const violations: string[] = []
      page.on('console', (message) => {
        if (/content security policy/i.test(message.text())) violations.push(message.text())
      })
      const [walked] = await Promise.allSettled([walk(page)])
      await page.close()
      // First, because a walk that a policy has blocked fails by waiting.
      expect(violations).toEqual([])
      if (walked.status === 'rejected') throw walked.reason as Error
    }

    async function towardsBank(page: Page, bank: string): Promise<void> {
      await page.getByLabel(bank).check()
      await page.getByRole('button', { name: 'Continue' }).click()
      await page.getByLabel('as a range').check()
      await page.getByRole('button', { name: 'Continue' }).click()
    }

    test.each([
      ['whose authorization endpoint redirects to another of its hosts', 'Two Hosts Bank', 0],
      ['whose sign-in link is on another origin than its token endpoint', 'Own Link Bank', 1],
    ])('a customer reaches a bank %s and returns to the chat', async (_what, name, index) => {
      await withPage(async (page) => {
        await begin('further', page)
        await towardsBank(page, name)
        await page.getByRole('button', { name: `Go to ${name}` }).click()
        await page.waitForURL((url) => url.origin === banks[index]!.pages)
        expect(await page.getByRole('heading').textContent()).toBe('Sign in')
        // The bank's own policy lets its forms lead to the gateway and not to the platform.
        await page.getByRole('button', { name: 'Agree' }).click()
        await page.waitForURL((url) => url.pathname === '/chat')
        expect(platforms.further!.server.requests.at(-1)).toMatch(/^GET \/callback\?code=/)
      })
    })

    test.each(['first', 'second', 'third'])(
      "“Not now” on the %s page reaches the chat if the platform's callback redirects to another origin",
      async (step) => {
        await withPage(async (page) => {
          await begin('further', page)
          if (step !== 'first') {
            await page.getByLabel('Two Hosts Bank').check()
            await page.getByRole('button', { name: 'Continue' }).click()
          }
          if (step === 'third') await page.getByRole('button', { name: 'Continue' }).click()
          await page.getByRole('button', { name: 'Not now' }).click()
          await page.waitForURL((url) => url.pathname === '/chat')
          expect(platforms.further!.server.requests.at(-1)).toMatch(/^GET \/callback\?error=access_denied/)
        })
      },
    )

    test("“Not now” opens the app link that the platform's callback redirects to", async () => {
      await withPage(async (page) => {
        await begin('app', page)
        const opened = page.waitForEvent('requestfailed', (request) => request.url().startsWith('exampleapp:'))
        await page.getByRole('button', { name: 'Not now' }).click()
        expect((await opened).url()).toBe(APP_LINK)
        expect(platforms.app!.server.requests.at(-1)).toMatch(/^GET \/callback\?error=access_denied/)
        // Browsers ask before they open an app. Whoever says no first still has the link.
        const before = platforms.app!.server.requests.length
        const address = await page.getByRole('link', { name: 'Continue to Chatterbox' }).getAttribute('href')
        // In a page of its own: the first one takes no click until the browser has given up opening the app, which can last.
        const again = await chromium.context.newPage()
        await again.goto(address!).catch(() => undefined)
        await again.close()
        expect(platforms.app!.server.requests.slice(before)).toEqual([platforms.app!.server.requests[before - 1]])
      })
    })

    test('a return from the bank that is reloaded while the bank responds reaches the chat with a code', async () => {
      await withPage(async (page) => {
        await begin('further', page)
        await towardsBank(page, 'Two Hosts Bank')
        await page.getByRole('button', { name: 'Go to Two Hosts Bank' }).click()
        await page.waitForURL((url) => url.origin === banks[0]!.pages)
        const bank = gateway.holdNext('/token')
        const returned = page.waitForRequest((request) => request.url().includes('/return?'))
        await page.getByRole('button', { name: 'Agree' }).click({ noWaitAfter: true })
        const address = (await returned).url()
        await bank.reached
        const again = page.goto(address)
        bank.letGo()
        await again.catch(() => undefined)
        const link = page.getByRole('link', { name: 'Continue to Chatterbox' })
        const isThere = () => new URL(page.url()).pathname === '/chat'
        await expect.poll(async () => isThere() || (await link.count()) === 1).toBe(true)
        if (!isThere()) await link.click()
        await page.waitForURL((url) => url.pathname === '/chat')
        expect(platforms.further!.server.requests.at(-1)).toMatch(/^GET \/callback\?code=/)
      })
    })

    test('the page before the bank, if reloaded, waits for the customer and leads to the bank', async () => {
      await withPage(async (page) => {
        await begin('further', page)
        await towardsBank(page, 'Two Hosts Bank')
        const left = page.waitForRequest((request) => request.url().endsWith('/to-bank'))
        await page.getByRole('button', { name: 'Go to Two Hosts Bank' }).click()
        const address = (await left).url()
        await page.waitForURL((url) => url.origin === banks[0]!.pages)
        await page.goto(address)
        expect(await page.getByRole('heading').textContent()).toBe('Going to Two Hosts Bank')
        await page.getByRole('link', { name: 'Continue to Two Hosts Bank' }).click()
        await page.waitForURL((url) => url.origin === banks[0]!.pages)
      })
    })
  },
)
