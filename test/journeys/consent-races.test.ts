import { afterAll, beforeAll, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { answerOf, BANK, GO, SHARING } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { holdRows } from '../support/locked-rows.ts'
import { agreeTo, agreeToAll, isResume, RHEINBANK, signInAs, visits } from '../support/interactions.ts'

let gateway: TestGateway
let at: ReturnType<typeof visits>
beforeAll(async () => {
  gateway = await startGateway()
  at = visits(gateway)
})
afterAll(() => gateway.close())

const BO_AGREES = agreeTo(['nb-10003'])
const HOLD_CONSENT = 'select 1 from consent where id = $1 for update'

/** A visit whose platform has the code and has not redeemed it. */
async function finishedVisit() {
  const browser = createBrowser()
  const { page, redeem } = await at.pages.begin(browser)
  const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, signInAs('bo'))
  const code = answerOf(await at.pages.walk(browser, atBank, BO_AGREES))['code']!
  return { redeem: () => redeem(code), id: (await at.newest()).id }
}

/** The status of a consent, and who ended it. */
const stateOf = async (id: string) =>
  (
    await gateway.database.query<{ status: string; ended_by: string | null }>(
      'select status, ended_by from consent where id = $1',
      [id],
    )
  )[0]!

test('two concurrent requests with one authorization code get at most one token, and the consent ends', async () => {
  const { redeem, id } = await finishedVisit()
  const held = await holdRows(
    gateway,
    `select 1 from oauth_artifact where kind = 'AuthorizationCode' and consumed_at is null for update`,
  )
  const redeemed = Promise.allSettled([redeem(), redeem()])
  await held.waiting(2)
  await held.release()
  expect((await redeemed).map(({ status }) => status)).toContain('rejected')
  await eventually('the end', async () => (await stateOf(id)).status === 'REVOKED')
})

test('if a consent ends while its code is redeemed, no token is issued', async () => {
  const { redeem, id } = await finishedVisit()
  const held = await holdRows(gateway, HOLD_CONSENT, [id])
  const redeemed = redeem()
  const refused = expect(redeemed).rejects.toThrow('invalid_grant')
  await held.waiting(1)
  await held.change(`update consent set status = 'REVOKED', ended_at = now() where id = $1`, [id])
  await held.release()
  await refused
})

test('a consent whose code is redeemed just before housekeeping ends it stays active', async () => {
  const { id } = await finishedVisit()
  // Locked before its deadline, because the worker of the gateway would end it, too.
  const held = await holdRows(gateway, HOLD_CONSENT, [id])
  gateway.forward(10 * 60_000)
  const swept = gateway.app.services.consents.jobs.endExpired()
  await held.waiting(1)
  await held.change('update consent set redeem_by = null where id = $1', [id])
  await held.release()
  await swept
  expect(await stateOf(id)).toEqual({ status: 'ACTIVE', ended_by: null })
})

test('a consent that its bank ended for a newer one ends here, even if the two cannot be linked to one person', async () => {
  await gateway.customer('cleo', ['rheinbank'])
  const older = await at.newest()
  const browser = createBrowser()
  const { page, redeem } = await at.pages.begin(browser)
  const atBank = await at.pages.walk(browser, page, RHEINBANK, SHARING, GO, signInAs('cleo'))
  const resume = await browser.submit(atBank, agreeToAll(atBank), isResume)
  await redeem(answerOf(await browser.open(resume.url, at.pages.isPlatform))['code']!)
  const newer = await at.newest()
  expect(newer.customer_id).not.toBe(older.customer_id)
  await eventually('the end of the older consent', async () => (await stateOf(older.id)).status === 'REVOKED')
  expect(await stateOf(older.id)).toMatchObject({ ended_by: 'CUSTOMER_AT_BANK' })
  expect(await stateOf(newer.id)).toMatchObject({ status: 'ACTIVE' })
})
