import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser, type Browser } from '../../src/entrypoints/cli/browser.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { HOUR_MS, MINUTE_MS } from '../../src/kernel/clock.ts'
import { createLines, GBP_BAND_WIDTH as WIDTH, type Lines } from '../support/balance-lines.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { holdRows } from '../support/locked-rows.ts'
import { connectAtTwoPlatforms } from '../support/platforms.ts'

let gateway: TestGateway
let lines: Lines
let browser: Browser
/** Two platforms of one customer. */
let chatterbox: Token
let messenger: Token

beforeAll(async () => {
  gateway = await startGateway()
  lines = createLines(gateway)
  ;({ browser, chatterbox, messenger } = await connectAtTwoPlatforms(gateway))
})
afterAll(() => gateway.close())
beforeEach(async () => {
  await lines.removeAll()
  // Longer than snapshots are cached.
  gateway.forward(HOUR_MS)
  await refresh()
  lines.setBalance(1_000)
})

/** New tokens, because the clock has moved. */
async function refresh(): Promise<void> {
  chatterbox = await gateway.renew(chatterbox)
  messenger = await gateway.renew(messenger, 'messenger')
}
/** Lets time pass, and checks all lines. */
async function checkAfter(ms: number): Promise<void> {
  gateway.forward(ms)
  await lines.check()
}
const codesOf = ({ userErrors }: { userErrors: readonly { code: string }[] }): string[] =>
  userErrors.map(({ code }) => code)
/** An edge of the account's bands that is at least a band and at most two below the balance. */
async function edgeBelow(): Promise<number> {
  return (await lines.band(chatterbox)).lower - WIDTH
}
describe('drawing a line', () => {
  test('a line lies on a bound of a band, and any other amount is refused with the nearest bounds', async () => {
    const edge = await edgeBelow()
    const { userErrors } = await lines.create(chatterbox, edge + 1)
    expect(userErrors).toMatchObject([{ code: 'INVALID_INPUT', path: ['line', 'amount'] }])
    expect(userErrors[0]!.message).toContain(`such as ${edge} or ${edge + WIDTH}`)
    const created = await lines.create(chatterbox, `${edge}.00`)
    expect(created.balanceLine).toMatchObject({ line: { amount: String(edge), currency: 'GBP' }, direction: 'FALLING' })
    expect(await lines.lines(chatterbox)).toMatchObject([{ id: created.balanceLine!.id }])
  })

  test('drawing the same line again returns it and counts nothing', async () => {
    const edge = await edgeBelow()
    const first = await lines.create(chatterbox, edge)
    expect((await lines.create(chatterbox, edge)).balanceLine).toEqual(first.balanceLine)
    expect(codesOf(await lines.create(chatterbox, edge, 'RISING'))).toEqual(['BALANCE_LINE_LIMIT_REACHED'])
  })

  test('a line needs a customer who is present, and both alerts and bands by the consent and by the token', async () => {
    const edge = await edgeBelow()
    const accountId = await lines.accountIdOf(chatterbox)
    const query = `mutation ($id: ID!, $amount: Decimal!) { createBalanceLine(input: { accountId: $id, direction: FALLING,
      line: { amount: $amount, currency: "GBP" } }) { userErrors { code } } }`
    const variables = { id: accountId, amount: String(edge) }
    const absent = await gateway.askUnattended(chatterbox, query, variables)
    expect(absent.data).toEqual({
      createBalanceLine: { userErrors: [{ code: 'CUSTOMER_PRESENCE_REQUIRED' }] },
    })
    for (const scopes of [
      ['accounts:read', 'alerts:read'],
      ['accounts:read', 'balances:band'],
      ['accounts:read', 'alerts:read', 'balances:threshold'],
    ]) {
      const token = await gateway.customer('dan', ['northbank'], { scopes })
      const { errors } = await gateway.ask(token, query, variables)
      expect(errors).toMatchObject([{ extensions: { code: 'UNAUTHORIZED_FIELD_OR_TYPE' } }])
    }
    await gateway.database.query(
      "update consent set scopes = '{accounts:read,alerts:read}' where client_id = 'chatterbox'",
    )
    gateway.forward(MINUTE_MS)
    const narrowed = await gateway.ask(await gateway.renew(chatterbox), query, variables)
    await gateway.database.query(
      "update consent set scopes = '{accounts:read,balances:band,balances:exact,alerts:read}' where client_id = 'chatterbox'",
    )
    gateway.forward(MINUTE_MS)
    expect(narrowed.data).toEqual({ createBalanceLine: { userErrors: [{ code: 'NOT_CONSENTED' }] } })
    expect(await gateway.database.query('select 1 from balance_line')).toEqual([])
  })

  test('a line of a new consent never reports a crossing since a band from before the consent', async () => {
    const edge = (await lines.band(chatterbox)).lower
    await gateway.ask(messenger, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
    lines.setBalance(edge - 2 * WIDTH)
    gateway.forward(MINUTE_MS)
    messenger = await gateway.customer('ada', ['northbank'], { browser, clientId: 'messenger' })
    expect(codesOf(await lines.create(messenger, edge))).toEqual([])
    await checkAfter(7 * HOUR_MS)
    expect(await lines.alerts()).toEqual([])
  })

  test('a line never reports a crossing since a band that is too old to be disclosed as current', async () => {
    const edge = (await lines.band(chatterbox)).lower
    lines.setBalance(edge - 2 * WIDTH)
    gateway.forward(6 * HOUR_MS + MINUTE_MS)
    await refresh()
    expect(codesOf(await lines.create(chatterbox, edge))).toEqual([])
    await checkAfter(MINUTE_MS)
    expect(await lines.alerts()).toEqual([])
  })

  test('a line reports a crossing since a band that its client could read when the line was drawn', async () => {
    const edge = (await lines.band(messenger)).lower
    expect(codesOf(await lines.create(chatterbox, edge))).toEqual([])
    lines.setBalance(edge - 2 * WIDTH)
    await checkAfter(7 * HOUR_MS)
    expect(await lines.alerts()).toMatchObject([{ client: 'chatterbox', direction: 'FALLING' }])
  })

  test("another customer's account and line, and another client's line, are answered like unknown ones", async () => {
    const edge = await edgeBelow()
    const line = (await lines.create(chatterbox, edge)).balanceLine!
    const stranger = await gateway.customer('dan', ['northbank'])
    const foreign = await lines.accountIdOf(stranger)
    for (const accountId of [foreign, 'account_unknown', await lines.accountIdOf(messenger)])
      expect((await lines.create(chatterbox, edge, 'RISING', { accountId })).userErrors).toMatchObject([
        { code: 'NOT_FOUND', path: ['accountId'] },
      ])
    for (const token of [messenger, stranger])
      for (const id of [line.id, 'line_unknown'])
        expect(await lines.delete(token, id)).toMatchObject({
          deletedId: null,
          userErrors: [{ code: 'NOT_FOUND', path: ['balanceLineId'] }],
        })
    const { data } = await gateway.ask(messenger, 'query ($id: ID!) { node(id: $id) { id } }', { id: line.id })
    expect(data).toEqual({ node: null })
    const own = await gateway.ask(chatterbox, 'query ($id: ID!) { node(id: $id) { __typename id } }', { id: line.id })
    expect(own.data).toEqual({ node: { __typename: 'BalanceLine', id: line.id } })
    expect(await lines.lines(messenger)).toEqual([])
  })
})

describe('the limits of an account', () => {
  test('two clients have at most two lines together, and the refusal does not state which limit is reached', async () => {
    const edge = await edgeBelow()
    await lines.create(chatterbox, edge)
    const early = await lines.create(messenger, edge)
    await lines.forgetChanges()
    await lines.create(messenger, edge)
    await lines.forgetChanges()
    const full = await lines.create(chatterbox, edge - WIDTH)
    expect(codesOf(full)).toEqual(['BALANCE_LINE_LIMIT_REACHED'])
    expect(full).toEqual(early)
    expect(await lines.lines(chatterbox)).toHaveLength(1)
    expect(await lines.lines(messenger)).toHaveLength(1)
  })

  test('lines that two clients draw twenty times concurrently become one line', async () => {
    const edge = await edgeBelow()
    const results = await Promise.all(
      Array.from({ length: 20 }, (_none, index) =>
        lines.create(
          index % 2 === 0 ? chatterbox : messenger,
          edge - WIDTH * (index % 5),
          index % 3 ? 'RISING' : 'FALLING',
        ),
      ),
    )
    expect(results.filter(({ balanceLine }) => balanceLine !== null).length).toBeGreaterThanOrEqual(1)
    expect(await gateway.database.query('select 1 from balance_line')).toHaveLength(1)
  })

  test('concurrent requests for a second line after a day never make a third', async () => {
    const edge = await edgeBelow()
    await lines.create(chatterbox, edge)
    await lines.forgetChanges()
    await Promise.all(
      Array.from({ length: 12 }, (_none, index) =>
        lines.create(index % 2 ? chatterbox : messenger, edge - WIDTH * (index + 1)),
      ),
    )
    expect(await gateway.database.query('select 1 from balance_line')).toHaveLength(2)
  })

  test('a line can be deleted at any time, and deleting it does not renew the limit of changes', async () => {
    const edge = await edgeBelow()
    const line = (await lines.create(chatterbox, edge)).balanceLine!
    gateway.forward(23 * HOUR_MS)
    await refresh()
    expect(await lines.delete(chatterbox, line.id)).toEqual({ deletedId: line.id, userErrors: [] })
    // A day after it was drawn, but not a day after it was deleted.
    gateway.forward(2 * HOUR_MS)
    await refresh()
    for (const token of [chatterbox, messenger])
      expect(codesOf(await lines.create(token, edge))).toEqual(['BALANCE_LINE_LIMIT_REACHED'])
    gateway.forward(22 * HOUR_MS + MINUTE_MS)
    await refresh()
    expect(codesOf(await lines.create(chatterbox, edge))).toEqual([])
  })

  test('the limit of changes outlives consent, line and retention', async () => {
    const edge = await edgeBelow()
    await lines.create(messenger, edge)
    await gateway.ask(messenger, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
    expect(await gateway.database.query('select 1 from balance_line')).toEqual([])
    await gateway.app.services.accounts.deleteExpiredDisclosures()
    messenger = await gateway.customer('ada', ['northbank'], { browser, clientId: 'messenger' })
    expect(codesOf(await lines.create(messenger, edge - WIDTH))).toEqual(['BALANCE_LINE_LIMIT_REACHED'])
  })
})

describe('lines and the end of what they depend on', () => {
  test('a line whose consent ends while it is drawn is not stored', async () => {
    const edge = await edgeBelow()
    const consents = "client_id = 'messenger' and status = 'ACTIVE'"
    const rows = await holdRows(gateway, `select 1 from consent where ${consents} for update`)
    const drawing = lines.create(messenger, edge)
    await rows.waiting(1)
    await rows.change(`update consent set status = 'REVOKED', ended_at = now(), ended_by = 'BANK' where ${consents}`)
    await rows.release()
    expect(codesOf(await drawing)).toEqual(['NOT_CONSENTED'])
    expect(await gateway.database.query('select 1 from balance_line')).toEqual([])
    messenger = await gateway.customer('ada', ['northbank'], { browser, clientId: 'messenger' })
    expect(codesOf(await lines.create(messenger, edge))).toEqual([])
  })

  test('account numbers that a bank begins to provide renew no limit and leave no third line', async () => {
    const edge = await edgeBelow()
    const first = (await lines.create(chatterbox, edge)).balanceLine!
    await lines.forgetChanges()
    const second = (await lines.create(messenger, edge)).balanceLine!
    // As before the bank provided numbers: the account is identified by the bank's ID alone.
    for (const table of ['disclosure', 'balance_line'])
      await gateway.database.query(
        `update ${table} set disclosure_key = 'northbank/' || account.ref_digest from account
         where disclosure_key = 'northbank/' || account.number_digest`,
      )
    await gateway.database.query(
      `insert into balance_line select 'line_third', client_id, account_id, 'northbank/' || account.number_digest, sealed,
         balance_line.created_at + interval '1 second', alerted_at, check_due_at
       from balance_line join account on account.id = account_id where balance_line.id = '${second.id}'`,
    )
    await gateway.database.query(
      `insert into disclosure (disclosure_key, updated_at)
       select distinct 'northbank/' || number_digest, now() from account where type = 'CURRENT' and number_digest is not null
       on conflict do nothing`,
    )
    await gateway.database.query('update account set number_digest = null')
    await gateway.customer('ada', ['northbank'], { browser: createBrowser() })
    const rows = await gateway.database.query<{ id: string; hasNumber: boolean }>(
      `select balance_line.id, disclosure_key = 'northbank/' || number_digest as "hasNumber"
       from balance_line join account on account.id = account_id order by balance_line.created_at`,
    )
    expect(rows).toEqual([
      { id: first.id, hasNumber: true },
      { id: second.id, hasNumber: true },
    ])
    await gateway.database.query('delete from balance_line where id = $1', [second.id])
    gateway.forward(MINUTE_MS)
    await refresh()
    expect(codesOf(await lines.create(messenger, edge - WIDTH))).toEqual(['BALANCE_LINE_LIMIT_REACHED'])
  })

  test('a clock that was ahead blocks changes for a day at most, and setting it back renews no limit', async () => {
    const edge = await edgeBelow()
    const line = (await lines.create(chatterbox, edge)).balanceLine!
    const ahead = "now() + interval '300 days'"
    await gateway.database.query(`update disclosure set line_changed_at = ${ahead}, updated_at = ${ahead}`)
    await lines.delete(chatterbox, line.id)
    expect(codesOf(await lines.create(chatterbox, edge))).toEqual(['BALANCE_LINE_LIMIT_REACHED'])
    await gateway.app.services.accounts.deleteExpiredDisclosures()
    gateway.forward(25 * HOUR_MS)
    await refresh()
    expect(codesOf(await lines.create(chatterbox, edge))).toEqual([])
  })
})

test('the worker compares balances with lines, and reports the crossing of one', async () => {
  const edge = (await lines.band(chatterbox)).lower
  const line = (await lines.create(chatterbox, edge)).balanceLine!.id
  lines.setBalance(edge - WIDTH)
  gateway.forward(8 * HOUR_MS + 10 * MINUTE_MS)
  await eventually('the alert', async () => (await lines.alerts()).length === 1)
  expect(await lines.alerts()).toEqual([{ line, client: 'chatterbox', direction: 'FALLING' }])
})
