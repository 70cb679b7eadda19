import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { createHistory } from '../../src/sandbox/history.ts'
import { SANDBOX_BANKS } from '../../src/sandbox/personas.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'
import { databaseUrl, newPlace, startProcess } from '../support/process.ts'
import { disguises, search } from './canary.ts'
import { runJourneys } from './journeys.ts'
import { watch, type Sinks } from './sinks.ts'

const canary = `Canary${randomBytes(8).toString('hex')}Kx`
let gateway: TestGateway
let sinks: Sinks
beforeAll(async () => {
  gateway = await startGateway({ canary, keepsEvents: true })
  sinks = watch(gateway)
  await runJourneys(gateway, sinks)
})
afterAll(async () => {
  sinks.stop()
  await gateway.close()
})

describe('purchase data', () => {
  test('every entry at the sandbox banks contains purchase data, which the banks return to authorized requests', () => {
    const entries = SANDBOX_BANKS.flatMap((bank) => bank.accounts).flatMap((account) =>
      createHistory(account, 'test', canary),
    )
    expect(entries.length).toBeGreaterThan(500)
    for (const { id, merchant, note } of entries)
      expect([id, merchant, note].every((text) => text.includes(canary))).toBe(true)
    expect(new Set(entries.map(({ merchant }) => merchant)).size).toBe(entries.length)
  })

  test('purchase data reached the gateway unrequested in account lists, balances, error pages and events', async () => {
    const { banks } = gateway.sandbox
    expect(gateway.bankBytes()).toContain(canary)
    expect(gateway.sent.some(({ url }) => url.startsWith(banks.northbank))).toBe(true)
    const events = await gateway.database.query<{ n: number }>('select count(*)::int n from bank_event')
    expect(events[0]!.n).toBeGreaterThanOrEqual(3)
  })

  test("no purchase data is in the gateway's output, in any table, or in the log at level trace", async () => {
    const held = await sinks.gather()
    for (const [sink, text] of Object.entries(held))
      expect(text.length, `${sink} must not be empty, or it proves nothing`).toBeGreaterThan(100)
    expect(search(held, canary)).toEqual([])
  })
})

describe('the proof can fail', () => {
  test.each(Object.entries(disguises('Canary0123456789abcdefKx')))(
    'the check detects a leak that is written %s',
    (_encoding, forms) => {
      for (const form of forms) {
        expect(form.length).toBeGreaterThan(15)
        expect(search({ sink: `before ${form} after` }, 'Canary0123456789abcdefKx')).not.toEqual([])
      }
    },
  )

  test('the check detects a leak at any offset within base64 text', () => {
    for (const before of ['', 'a', 'ab', 'abc'])
      expect(search({ sink: Buffer.from(`${before}${canary} and more`).toString('base64') }, canary)).toContainEqual({
        sink: 'sink',
        encoding: 'base64',
      })
  })

  /** One leak for each sink, put where a careless change would put it; the real gateway then carries it out. */
  const plants: Record<string, () => Promise<void>> = {
    async tables() {
      await gateway.customer('ada', ['northbank'])
      await gateway.database.query('update account set display_name = $1', [canary])
    },
    async graphql() {
      const token = await gateway.customer('ada', ['northbank'])
      await gateway.database.query('update account set display_name = $1', [canary])
      await gateway.ask(token, '{ customer { accounts { nodes { displayName } } } }')
    },
    async pages() {
      await gateway.database.query("update bank set name = $1 where id = 'northbank'", [canary])
      const browser = createBrowser()
      await gateway.customer('ada', ['northbank'], { browser })
      await browser.open(`${gateway.issuer}/sharing`)
    },
    async subscriptions() {
      const heard = await listen(
        gateway.issuer,
        await gateway.customer('ada', ['northbank']),
        'subscription { alertReceived { bank { name } } }',
      )
      await gateway.database.query("update bank set name = $1 where id = 'northbank'", [canary])
      await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })
      await eventually('the live alert', () => Promise.resolve(heard.text().includes('event: next')))
      heard.close()
      sinks.heard(heard.text())
    },
    async webhooks() {
      const before = (await gateway.received()).length
      await gateway.customer('ada', ['northbank'])
      await gateway.database.query(
        `create function leak() returns trigger language plpgsql as $$ begin new.requested_action = '${canary}'; return new; end $$`,
      )
      await gateway.database.query('create trigger leak before insert on alert for each row execute function leak()')
      await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })
      await eventually('the webhook', async () => (await gateway.received()).length > before)
    },
    async log() {
      const token = await gateway.customer('ada', ['northbank'])
      gateway.forward(20_000)
      gateway.intercept = (request) =>
        request.url.endsWith('/balances') ? Promise.reject(Object.assign(new Error(), { name: canary })) : undefined
      await gateway.ask(token, '{ customer { accounts { nodes { balances { __typename } } } } }')
      gateway.intercept = undefined
    },
    async metrics() {
      await gateway.database.query("update bank set id = $1 where id = 'northbank'", [canary])
    },
    async oauth() {
      const token = await gateway.customer('ada', ['northbank'])
      await gateway.database.query(
        "update oauth_artifact set payload = jsonb_set(payload, '{rar,0,bank}', to_jsonb($1::text)) where kind = 'RefreshToken'",
        [canary],
      )
      await gateway.renew(token)
    },
  }

  test.each(Object.entries(plants))('the check detects a leak that is planted in %s', async (sink, plant) => {
    const fresh = await startGateway({ canary: 'none-of-the-other' })
    const outer = { gateway, sinks }
    gateway = fresh
    sinks.stop()
    sinks = watch(fresh)
    try {
      await plant()
      expect(search(await sinks.gather(), canary).map((finding) => finding.sink)).toContain(sink)
    } finally {
      sinks.stop()
      await fresh.close()
      ;({ gateway, sinks } = outer)
    }
  })
})

describe('a whole gateway as a process', () => {
  test('a gateway process leaves no purchase data on disk, in database files or in output, even after kill -9', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'guichet-proof-'))
    chmodSync(folder, 0o711)
    const place = await newPlace(folder)
    const started = await startProcess(place, { GUICHET_SANDBOX_CANARY: canary, GUICHET_LOG_LEVEL: 'trace' })
    const cli = (...words: string[]): string =>
      execFileSync(
        process.execPath,
        [join(import.meta.dirname, '../../src/entrypoints/cli/main.ts'), ...words, '--json'],
        { encoding: 'utf8', env: { ...process.env, PORT: String(place.port), GUICHET_DATA_DIR: folder, ISSUER: '' } },
      )
    let output = cli(
      'query',
      '{ customer { accounts { nodes { displayName balances { ... on ExactBalance { value { amount } } } } } } }',
      '--customer',
      'ada',
    )
    cli('sandbox', 'alert', '--bank', 'northbank', '--customer', 'ada', '--type', 'CARD_SECURITY')
    output += cli('alerts', 'list', '--customer', 'ada')
    await started.stop('SIGKILL')
    const again = await startProcess(place, { GUICHET_SANDBOX_CANARY: canary, GUICHET_LOG_LEVEL: 'trace' })
    output += cli('alerts', 'deliveries')
    await again.stop('SIGINT')
    const held = diskOf(folder)
    expect(Object.keys(held).some((path) => path.includes('pg_wal'))).toBe(true)
    // What ought to be there is, so that the search looked at the right files.
    expect(Object.values(held).some((text) => text.includes('CARD_SECURITY'))).toBe(true)
    expect(search({ ...held, output, log: started.output() + again.output() }, canary)).toEqual([])

    // And it would have been found: the same gateway with one leak in one row.
    const leaking = await startProcess(place, { GUICHET_SANDBOX_CANARY: canary })
    const database = new pg.Client({ connectionString: databaseUrl(place) })
    await database.connect()
    await database.query("update bank set name = $1 || ' ' || id", [canary])
    await database.end()
    const leaked = cli('banks', 'list')
    await leaking.stop('SIGINT')
    const found = search({ ...diskOf(folder), output: leaked }, canary).map(({ sink }) => sink)
    expect(found).toContain('output')
    expect(found.some((sink) => sink.includes('pg_wal'))).toBe(true)
    expect(found.some((sink) => sink.includes('/base/'))).toBe(true)
    rmSync(folder, { recursive: true, force: true })
  })
})

/** Every file of the gateway's data folder, but for what the pretend banks keep there. */
const diskOf = (folder: string): Record<string, string> =>
  Object.fromEntries(
    filesBelow(folder)
      .filter((path) => !path.startsWith(join(folder, 'sandbox')))
      .map((path) => [path.slice(folder.length), readFileSync(path, 'latin1')])
      .map(([path, text]) => [path!, path!.includes('/pg_wal/') ? text! + withoutPageHeaders(text!) : text!]),
  )

const WAL_PAGE_BYTES = 8_192
/** A segment of the write-ahead log without the headers of its pages, which can stand in the middle of a word. */
const withoutPageHeaders = (segment: string): string => {
  let text = ''
  for (let start = 0; start < segment.length; start += WAL_PAGE_BYTES)
    text += segment.slice(start + (start === 0 ? 40 : 24), start + WAL_PAGE_BYTES)
  return text
}

const filesBelow = (folder: string): string[] =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    return statSync(path).isDirectory() ? filesBelow(path) : [path]
  })
