import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { noChromium, openChromium } from '../support/chromium.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

describe.skipIf(noChromium !== undefined)(`the explorer in Chromium${noChromium ? ` (${noChromium})` : ''}`, () => {
  let gateway: TestGateway
  let chromium: Awaited<ReturnType<typeof openChromium>>
  beforeAll(async () => {
    gateway = await startGateway()
    chromium = await openChromium(true)
  })
  afterAll(async () => {
    await chromium.close()
    await gateway.close()
  })

  async function signedIn(): Promise<Page> {
    const page = await chromium.context.newPage()
    page.setDefaultTimeout(15_000)
    await page.goto(`${gateway.issuer}/explorer`)
    await page.getByRole('button', { name: 'Sign in as a sandbox customer' }).click()
    await page.getByLabel('Northbank').check()
    const same = page.getByLabel('Yes')
    if ((await same.count()) > 0) await same.check()
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByLabel('as a range').check()
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByRole('button', { name: 'Go to Northbank' }).click()
    await page.getByLabel('Name').fill('ada')
    await page.getByLabel('Password').fill('sandbox')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('button', { name: 'Share these accounts' }).click()
    await page.getByRole('button', { name: 'Sign out and revoke the token' }).waitFor()
    return page
  }

  const refreshTokenOf = (page: Page): Promise<string> =>
    page.evaluate(() => (JSON.parse(sessionStorage.getItem('guichet.token')!) as { refreshToken: string }).refreshToken)
  const newest = async () =>
    (
      await gateway.database.query<{ status: string; ended_by: string | null }>(
        'select status, ended_by from consent order by created_at desc limit 1',
      )
    )[0]!
  const refreshTokens = async () =>
    (await gateway.database.query("select 1 from oauth_artifact where kind = 'RefreshToken'")).length

  test('signing out of the explorer revokes its refresh token, which ends the consent', async () => {
    const page = await signedIn()
    expect(await refreshTokenOf(page)).toBeTruthy()
    expect(await newest()).toMatchObject({ status: 'ACTIVE' })
    await page.getByRole('button', { name: 'Sign out and revoke the token' }).click()
    await page.getByText('The token is revoked and the consent has ended.').waitFor()
    expect(await newest()).toEqual({ status: 'REVOKED', ended_by: 'CLIENT' })
    expect(await refreshTokens()).toBe(0)
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0)
    await page.close()
  })

  test('the explorer keeps the token and shows a message if the revocation fails', async () => {
    const page = await signedIn()
    await page.route('**/oauth/revoke', (route) => route.abort())
    await page.getByRole('button', { name: 'Sign out and revoke the token' }).click()
    await page.getByText(/^The token could not be revoked/).waitFor()
    expect(await refreshTokenOf(page)).toBeTruthy()
    expect(await newest()).toMatchObject({ status: 'ACTIVE' })
    await page.close()
  })
})
