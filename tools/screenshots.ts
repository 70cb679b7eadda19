// Walks through an opt-in in headless Chromium as a customer would, and saves a screenshot of every page, narrow and wide.
//   npm start     and then     npm run screenshots -- FOLDER
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { chromium } from 'playwright-core'
import { generateDpopKey, createOauthClient, type ClientFile } from '../src/entrypoints/cli/oauth-client.ts'

const folder = resolve(process.argv[2] ?? 'screenshots')
const issuer = process.env['ISSUER'] ?? 'http://127.0.0.1:4000'
const dataDir = process.env['GUICHET_DATA_DIR'] ?? '.guichet'
const client = JSON.parse(readFileSync(join(dataDir, 'clients/chatterbox.json'), 'utf8')) as ClientFile
const scopes = ['accounts:read', 'balances:band', 'balances:exact', 'alerts:read']

mkdirSync(folder, { recursive: true })
for (const [size, width] of [
  ['narrow', 360],
  ['wide', 1280],
] as const) {
  const profile = mkdtempSync(join(tmpdir(), 'guichet-chromium-'))
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
    viewport: { width, height: 760 },
    javaScriptEnabled: false,
  })
  const page = await browser.newPage()
  const problems: string[] = []
  page.on('console', (message) => problems.push(message.text()))
  let step = 0
  const takeScreenshot = (name: string) =>
    page.screenshot({ path: join(folder, `${++step}-${name}-${size}.png`), fullPage: true })

  const details = {
    type: 'urn:guichet:account-information',
    actions: scopes,
    purposes: ['ANSWER_CUSTOMER', 'FRAUD_AND_SECURITY_ALERTS'],
    chat: { label: '+44 … 123' },
  }
  const pushed = await createOauthClient(issuer, client).pushAuthorizationRequest(
    { scope: ['openid', ...scopes].join(' '), details, state: 'screenshots' },
    await generateDpopKey(),
  )
  await page.goto(pushed.url)
  await takeScreenshot('bank')
  await page.getByLabel('Northbank').check()
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByLabel('Security alerts').check()
  await takeScreenshot('sharing')
  await page.getByRole('button', { name: 'Continue' }).click()
  await takeScreenshot('leaving')
  const bankPageRequest = page.waitForRequest((request) => request.url().endsWith('/to-bank'))
  await page.getByRole('button', { name: 'Go to Northbank' }).click()
  await page.getByRole('button', { name: 'Sign in' }).waitFor()
  // The intermediate page redirects only once, so this visit stays on it.
  await page.goto((await bankPageRequest).url())
  await takeScreenshot('to-bank')
  await page.getByRole('link', { name: 'Continue to Northbank' }).click()
  await takeScreenshot('sign-in')
  await page.getByLabel('Name').fill('ada')
  await page.getByLabel('Password').fill('sandbox')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await takeScreenshot('accounts')
  await page.getByRole('button', { name: 'Share these accounts' }).click()
  await page.waitForURL((url) => url.searchParams.has('code')).catch(() => undefined)
  if (!new URL(page.url()).searchParams.has('code'))
    throw new Error(`the opt-in ended at ${page.url()}: ${problems.join(' ')}`)
  await page.goto(`${issuer}/sharing`)
  await takeScreenshot('dashboard')
  await page.getByRole('link', { name: 'Stop sharing' }).first().click()
  await takeScreenshot('stop')
  await page.getByRole('button', { name: 'Stop sharing' }).click()
  await takeScreenshot('stopped')
  await page.goto(issuer)
  await takeScreenshot('front-door')
  await browser.close()
  rmSync(profile, { recursive: true, force: true })
  for (const problem of problems) process.stdout.write(`${size}: ${problem}\n`)
}
process.stdout.write(`${folder}\n`)
