import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Browser } from '../../src/entrypoints/cli/browser.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { HOUR_MS, MINUTE_MS } from '../../src/kernel/clock.ts'
import { createLines, GBP_BAND_WIDTH as WIDTH, type Lines } from '../support/balance-lines.ts'
import { isBalances } from '../support/balance-reads.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { connectAtTwoPlatforms } from '../support/platforms.ts'

let gateway: TestGateway
let lines: Lines
let browser: Browser
/** Two platforms of one customer. */
let chatterbox: Token
let messenger: Token
/** A bound of the bands, with the balance in the band above it. */
let edge: number

beforeAll(async () => {
  // Without the worker, which would check lines as well.
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  ;({ browser, chatterbox, messenger } = await connectAtTwoPlatforms(gateway))
})
afterAll(() => gateway.close())
beforeEach(async () => {
  lines = createLines(gateway)
  await lines.removeAll()
  // Longer than snapshots are cached.
  gateway.forward(HOUR_MS)
  await refresh()
  lines.setBalance(1_000)
  edge = (await lines.band(chatterbox)).lower
  lines.setBalance(edge + WIDTH / 2)
})

/** New tokens, because the clock has moved. */
async function refresh(): Promise<void> {
  chatterbox = await gateway.renew(chatterbox)
  messenger = await gateway.renew(messenger, 'messenger')
}
/** Moves the balance by bands from the one above the edge, and the clock until bands are updated, and checks the lines. */
async function moveTo(bands: number): Promise<void> {
  lines.setBalance(edge + WIDTH / 2 + bands * WIDTH)
  gateway.forward(6 * HOUR_MS + MINUTE_MS)
  await lines.check()
}
const draw = async (token: Token, direction = 'FALLING'): Promise<string> =>
  (await lines.create(token, edge, direction)).balanceLine!.id
const fetchCount = (): number => gateway.sent.filter(isBalances).length

describe('a crossing', () => {
  test('a balance that falls below the line is reported to the client of the line, and to no other', async () => {
    const line = await draw(chatterbox)
    await moveTo(0)
    expect(await lines.alerts()).toEqual([])
    await moveTo(-1)
    expect(await lines.alerts()).toEqual([{ line, client: 'chatterbox', direction: 'FALLING' }])
    await moveTo(-2)
    await moveTo(0)
    expect(await lines.alerts()).toHaveLength(1)
  })

  test('only crossings in the direction of the line are reported', async () => {
    const line = await draw(messenger, 'RISING')
    await moveTo(-1)
    expect(await lines.alerts()).toEqual([])
    await moveTo(1)
    expect(await lines.alerts()).toEqual([{ line, client: 'messenger', direction: 'RISING' }])
  })

  test('a line is reported at most once in 24 hours, for any number of crossings', async () => {
    await draw(chatterbox)
    for (let hours = 0; hours < 72; hours += 12) {
      await moveTo(-1)
      await moveTo(0)
    }
    expect((await lines.alerts()).length).toBeLessThanOrEqual(4)
    expect((await lines.alerts()).length).toBeGreaterThanOrEqual(2)
    const rows = await gateway.database.query<{ at: Date }>('select created_at as at from alert order by created_at')
    const gaps = rows.slice(1).map(({ at }, index) => at.getTime() - rows[index]!.at.getTime())
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(24 * HOUR_MS)
  })

  test('a balance that moves beside the line by less than a quarter of a band is not reported', async () => {
    await draw(chatterbox)
    await moveTo(0)
    for (let round = 0; round < 6; round++) {
      lines.setBalance(edge + (round % 2 === 0 ? -1 : 1) * (WIDTH / 4 - 1))
      gateway.forward(13 * HOUR_MS)
      await lines.check()
    }
    expect(await lines.alerts()).toEqual([])
    lines.setBalance(edge - WIDTH / 4 - 1)
    gateway.forward(7 * HOUR_MS)
    await lines.check()
    expect(await lines.alerts()).toHaveLength(1)
  })

  test('drawing a line discloses nothing about the side on which the balance is', async () => {
    lines.setBalance(edge - 3 * WIDTH)
    gateway.forward(6 * HOUR_MS + MINUTE_MS)
    await refresh()
    expect((await lines.band(chatterbox)).upper).toBeLessThan(edge)
    await draw(chatterbox)
    await moveTo(-3)
    await moveTo(-3)
    expect(await lines.alerts()).toEqual([])
  })

  test('the first check of a line on an account without a band discloses nothing about the balance', async () => {
    await gateway.database.query('delete from snapshot')
    gateway.forward(10 * MINUTE_MS)
    await refresh()
    await draw(chatterbox)
    await moveTo(-3)
    expect(await lines.alerts()).toEqual([])
    await moveTo(0)
    await moveTo(-1)
    expect(await lines.alerts()).toHaveLength(1)
  })
})

describe('the schedule of checks', () => {
  test('neither drawing a line nor reading balances causes a check, and a check shares the fetch of readers', async () => {
    await draw(chatterbox)
    const before = fetchCount()
    await draw(chatterbox)
    expect(fetchCount()).toBe(before)
    lines.setBalance(edge - WIDTH)
    gateway.forward(6 * HOUR_MS + MINUTE_MS)
    await refresh()
    await gateway.database.query("update balance_line set check_due_at = '2100-01-01'")
    await lines.band(chatterbox)
    await gateway.app.services.accounts.checkLines(() => true)
    expect(await lines.alerts()).toEqual([])
    const afterRead = fetchCount()
    await lines.check()
    expect(await lines.alerts()).toHaveLength(1)
    expect(fetchCount()).toBe(afterRead)
  })

  test('a line is checked 6 to 8 hours after the last time, at a random time, so at most four times a day', async () => {
    await draw(chatterbox)
    const waits: number[] = []
    let previous = Date.now()
    const before = fetchCount()
    for (let count = 0; count < 12; count++) {
      const [row] = await gateway.database.query<{ at: Date }>('select check_due_at as at from balance_line')
      waits.push(row!.at.getTime() - previous)
      gateway.forward(row!.at.getTime() - Date.now() - 1_000)
      await gateway.app.services.accounts.checkLines(() => true)
      gateway.forward(2_000)
      previous = Date.now()
      await gateway.app.services.accounts.checkLines(() => true)
    }
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(6 * HOUR_MS - MINUTE_MS)
    expect(Math.max(...waits)).toBeLessThanOrEqual(8 * HOUR_MS + MINUTE_MS)
    expect(new Set(waits.map((ms) => Math.round(ms / MINUTE_MS))).size).toBeGreaterThan(6)
    expect(fetchCount() - before).toBeLessThanOrEqual(12)
    expect(fetchCount() - before).toBeGreaterThanOrEqual(8)
  })

  test('a bank that is away delays the check to the next one, and leads to no alert and no failed job', async () => {
    await draw(chatterbox)
    await moveTo(0)
    const respond = gateway.intercept!
    gateway.intercept = (request) =>
      isBalances(request) ? Promise.resolve({ status: 503, headers: {}, text: '' }) : respond(request)
    await moveTo(-1)
    expect(await lines.alerts()).toEqual([])
    // Without a saved band, too.
    await gateway.database.query('delete from snapshot')
    await moveTo(-1)
    expect(await lines.alerts()).toEqual([])
    gateway.intercept = respond
    await moveTo(-1)
    expect(await lines.alerts()).toHaveLength(1)
  })

  test('each check is in the ledger, with the client of the line', async () => {
    const line = await draw(chatterbox)
    await moveTo(0)
    const entries = await gateway.database.query<{ client: string; subject: string }>(
      `select client_id as client, subject_id as subject from ledger_entry where action = 'BALANCE_LINE_CHECKED'
       order by sequence desc limit 1`,
    )
    expect(entries).toEqual([{ client: 'chatterbox', subject: line }])
  })
})

describe('privacy of lines', () => {
  test('a client that tries to find the balance by moving lines every hour gets one move a day and no alert', async () => {
    let drawn = 0
    let [low, high] = [edge - 20 * WIDTH, edge + 20 * WIDTH]
    const hours = 96
    for (let hour = 0; hour < hours; hour++) {
      await refresh()
      const middle = low + Math.round((high - low) / WIDTH / 2) * WIDTH
      for (const token of [chatterbox, messenger]) {
        const result = await lines.create(token, middle + (hour % 3) * WIDTH, hour % 2 ? 'RISING' : 'FALLING')
        if (result.balanceLine) {
          drawn++
          ;[low, high] = hour % 2 ? [middle, high] : [low, middle]
          if (high - low < WIDTH) [low, high] = [edge - 20 * WIDTH, edge + 20 * WIDTH]
        }
      }
      if (hour % 24 === 23)
        for (const token of [chatterbox, messenger])
          for (const { id } of (await lines.lines(token)).slice(0, 1)) await lines.delete(token, id)
      gateway.forward(HOUR_MS)
      if (hour % 7 === 0) await lines.check()
    }
    expect(drawn).toBeGreaterThanOrEqual(2)
    expect(drawn).toBeLessThanOrEqual(hours / 24)
    expect(await lines.alerts()).toEqual([])
  })

  test('the end of the consent deletes the line, and its pending alert is never shown', async () => {
    await draw(messenger)
    await moveTo(0)
    await moveTo(-1)
    expect(await lines.alerts()).toHaveLength(1)
    await refresh()
    await gateway.ask(messenger, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
    expect(await gateway.database.query('select 1 from balance_line')).toEqual([])
    gateway.forward(80 * MINUTE_MS)
    messenger = await gateway.customer('ada', ['northbank'], { browser, clientId: 'messenger' })
    const { data } = await gateway.ask(messenger, '{ customer { alerts { nodes { id } } } }')
    expect(data).toEqual({ customer: { alerts: { nodes: [] } } })
    const other = await gateway.ask(await gateway.renew(chatterbox), '{ customer { alerts { nodes { type } } } }')
    expect(JSON.stringify(other.data)).not.toContain('BALANCE_LINE_CROSSED')
  })

  test("one client's end of consent leaves the line of another client", async () => {
    const line = await draw(chatterbox)
    await lines.forgetChanges()
    await draw(messenger, 'RISING')
    await gateway.ask(messenger, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
    const rows = await gateway.database.query<{ id: string }>('select id from balance_line')
    expect(rows).toEqual([{ id: line }])
    messenger = await gateway.customer('ada', ['northbank'], { browser, clientId: 'messenger' })
  })

  test('a consent that ends while the bank responds leads to no alert', async () => {
    await draw(messenger)
    await moveTo(0)
    await refresh()
    const respond = gateway.intercept!
    const withdraw = 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }'
    gateway.intercept = (request) =>
      isBalances(request) ? gateway.ask(messenger, withdraw).then(() => respond(request)!) : undefined
    lines.setBalance(edge - WIDTH)
    gateway.forward(6 * HOUR_MS + MINUTE_MS)
    await refresh()
    await lines.check()
    gateway.intercept = respond
    expect(await gateway.database.query('select 1 from balance_line')).toEqual([])
    expect(await lines.alerts()).toEqual([])
    messenger = await gateway.customer('ada', ['northbank'], { browser, clientId: 'messenger' })
  })

  test('a client whose consent no longer shares the balance causes no fetch and gets no alert', async () => {
    await draw(messenger)
    await moveTo(0)
    await gateway.database.query(
      "update consent set scopes = '{accounts:read,alerts:read}' where client_id = 'messenger' and status = 'ACTIVE'",
    )
    const before = fetchCount()
    await moveTo(-1)
    expect(fetchCount()).toBe(before)
    expect(await lines.alerts()).toEqual([])
    await gateway.database.query(
      "update consent set scopes = '{accounts:read,balances:band,balances:exact,alerts:read}' where client_id = 'messenger' and status = 'ACTIVE'",
    )
  })

  test('a dump of the table discloses neither where a line lies nor where the balance is', async () => {
    await draw(chatterbox)
    await moveTo(0)
    const [row] = await gateway.database.query<Record<string, unknown>>('select * from balance_line')
    expect(Object.keys(row!).sort()).toEqual([
      'account_id',
      'alerted_at',
      'check_due_at',
      'client_id',
      'created_at',
      'disclosure_key',
      'id',
      'sealed',
    ])
    expect(JSON.stringify(row)).not.toMatch(new RegExp(`"${edge}"|ABOVE|BELOW|FALLING|GBP`))
  })
})
