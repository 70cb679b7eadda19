// `npm run bench -- --live`: what asking the banks costs and how long it takes, beside what people would write instead,
// and with banks that have a bad day.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import {
  customerOf,
  graphql,
  oauthClient,
  presenceStatement,
  type ClientFile,
  type Token,
} from '../src/entrypoints/cli/oauth-client.ts'
import { createBrowser } from '../src/entrypoints/cli/browser.ts'
import { optIn } from '../src/entrypoints/cli/opt-in.ts'
import { startFaultProxy, type FaultProxy, type LineFault } from '../test/support/fault-proxy.ts'
import { databaseUrl } from '../test/support/process.ts'
import { shoot, type Shot } from './load.ts'
import { cpuBelow, startServer, type Server } from './process.ts'

const ROOT = join(import.meta.dirname, '..')
const ORDER = ['northbank', 'rheinbank', 'eastbank', 'westbank', 'lakebank', 'southbank'] as const
/** Three banks that can tell of all accounts in one look, with seven, seven and six accounts of each customer. */
const BANKS = [
  { id: 'northbank', name: 'Northbank', standard: 'OBIE', path: '/open-banking/v4.0/aisp' },
  { id: 'westbank', name: 'Westbank', standard: 'FDX', path: '/fdx/v6' },
  { id: 'southbank', name: 'Southbank', standard: 'CDR', path: '/cds-au/v1' },
] as const
type Bank = (typeof BANKS)[number]['id'] | 'rheinbank'
const CROWD = 240
/** Of them, so many share accounts at a fourth bank as well. */
const AT_FOUR = 30
const CLIENT = 'chatterbox-bearer'
const ROUNDS = 7
const WARM_ROUNDS = 12
const AT_ONCE = 16

const LIVE = `query Live {
  customer { accounts(first: 25) { nodes {
    id displayName currency bank { id name }
    balances { __typename ... on ExactBalance { type amount currency asOf } ... on BalanceUnavailable { reason } }
  } } }
}`
const OF_NORTH = LIVE.replace('first: 25', 'first: 25, filter: { bankIds: ["northbank"] }').replace('Live', 'North')
const OF_WEST = LIVE.replace('first: 25', 'first: 25, filter: { bankIds: ["westbank"] }').replace('Live', 'West')
const WARM = '{ customer { accounts(first: 1) { nodes { id } } } }'

interface Node {
  bank: { id: Bank }
  balances: { __typename: string; reason?: string }
}

const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!
const percentile = (numbers: readonly number[], share: number): number =>
  [...numbers].sort((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(numbers.length * share))]!
/** Does `work` for each, ten at a time. */
async function inTens<T>(all: readonly T[], work: (one: T) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < all.length; at += 10) await Promise.all(all.slice(at, at + 10).map(work))
}
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Runs all of it on ports from `first` on, and says what it found. */
export async function measureLive(first: number, say: (line: string) => void): Promise<void> {
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-live-'))
  chmodSync(dataDir, 0o711)
  const sandboxPort = first + 20
  const lines = new Map<Bank, FaultProxy>()
  for (const bank of ['northbank', 'rheinbank', 'westbank', 'southbank'] as const) {
    const line = await startFaultProxy()
    line.target = `http://127.0.0.1:${sandboxPort + ORDER.indexOf(bank)}`
    lines.set(bank, line)
  }
  const origins = Object.fromEntries([...lines].map(([bank, { url }]) => [bank, url]))
  const options = {
    host: '127.0.0.1',
    port: sandboxPort,
    stateDir: join(dataDir, 'sandbox'),
    seed: 'bench',
    crowd: CROWD,
    origins,
    keepsEvents: false,
  }
  const sandbox = await startServer(
    'banks',
    sandboxPort,
    [join(ROOT, 'src/sandbox/main.ts'), JSON.stringify(options)],
    {},
    '}',
  )
  const gateway = await startServer('Guichet', first, [join(ROOT, 'src/main.ts')], {
    PORT: String(first),
    GUICHET_DATA_DIR: dataDir,
    GUICHET_SANDBOX_PORT: String(sandboxPort),
    GUICHET_SANDBOX_BANKS: 'remote',
    GUICHET_LOG_LEVEL: 'error',
  })
  const servers: Server[] = [sandbox, gateway]
  const issuer = `http://127.0.0.1:${first}`
  const database = new pg.Client({ connectionString: databaseUrl({ dataDir, port: first, sandboxPort }) })
  await database.connect()

  const client = (id: string): ClientFile =>
    JSON.parse(readFileSync(join(dataDir, 'clients', `${id}.json`), 'utf8')) as ClientFile
  const own = client(CLIENT)
  const most = { quotaPerMinute: 2_147_483_647, customerQuotaPerMinute: 2_147_483_647 }
  await graphql(
    issuer,
    await oauthClient(issuer, client('admin')).own('clients:manage'),
    'mutation ($input: UpdateClientInput!) { updateClient(input: $input) { userErrors { code } } }',
    { input: { id: CLIENT, ...most } },
  )

  say(`${CROWD} customers agree at three banks each …`)
  const tokens: Token[] = []
  const agree = async (index: number): Promise<void> => {
    const browser = createBrowser()
    let token: Token | undefined
    const wished: Bank[] = [...(index < AT_FOUR ? (['rheinbank'] as const) : []), ...BANKS.map(({ id }) => id)]
    for (const bank of wished)
      token = await optIn({
        issuer,
        client: own,
        bearer: true,
        customer: `crowd${index}`,
        bank,
        scopes: ['accounts:read', 'balances:exact', 'balances:band'],
        browser,
        ...(token?.idToken && { idTokenHint: token.idToken }),
      })
    tokens[index] = token!
  }
  await inTens([...Array(CROWD).keys()], agree)
  const three = tokens.slice(AT_FOUR)
  const four = tokens.slice(0, AT_FOUR)

  let renewedAt = Date.now()
  const renewAll = async (): Promise<void> => {
    if (Date.now() - renewedAt < 200_000) return
    renewedAt = Date.now()
    await inTens(tokens, async (token) =>
      Object.assign(token, await oauthClient(issuer, own, true).refresh(token.refreshToken!, token.dpopJwk)),
    )
  }
  const shotOf = async (token: Token, query: string): Promise<Shot> => ({
    port: first,
    body: JSON.stringify({ query }),
    headers: {
      authorization: `Bearer ${token.accessToken}`,
      'guichet-customer-present': await presenceStatement(issuer, own, customerOf(token)!),
    },
  })
  /** Forgets every balance, here and in the gateway's memory, and every budget; all else is as in the middle of a chat. */
  async function forget(): Promise<void> {
    await database.query('truncate snapshot, disclosure')
    const { rows } = await database.query<{ id: string }>('select id from customer')
    const signals = rows.map(({ id }) => JSON.stringify({ kind: 'CONSENT', id: 'none', customerId: id }))
    await database.query("select pg_notify('guichet_signal', signal) from unnest($1::text[]) signal", [signals])
    // Forgetting so much at once is a stall of its own, during which the gateway would say no.
    await wait(700)
    await inTens(tokens, async (token) => shoot(await shotOf(token, WARM)))
  }
  const nodesOf = (text: string): Node[] =>
    (JSON.parse(text) as { data: { customer: { accounts: { nodes: Node[] } } } }).data.customer.accounts.nodes
  const isTold = ({ balances }: Node): boolean => balances.__typename !== 'BalanceUnavailable'

  /** All shots, so many at a time; how long each took, and its answer. */
  async function fire(shots: readonly Shot[], atOnce = AT_ONCE): Promise<{ ms: number; text: string }[]> {
    const results: { ms: number; text: string }[] = []
    let at = 0
    await Promise.all(
      Array.from({ length: atOnce }, async () => {
        for (let shot = shots[at++]; shot; shot = shots[at++]) {
          const began = performance.now()
          const text = await shoot(shot)
          results.push({ ms: performance.now() - began, text })
        }
      }),
    )
    return results
  }
  const asked = (all: readonly Token[], query: string): Promise<Shot[]> =>
    Promise.all(all.map((token) => shotOf(token, query)))
  const callsTo = (bank: Bank): string[] => lines.get(bank)!.requests
  const clearCalls = (): void => lines.forEach((line) => void (line.requests.length = 0))

  try {
    // What it costs, beside what people would write instead.
    const file = join(dataDir, 'people.json')
    const bankTokens = (): void => {
      const people: Record<string, { tokens: Record<string, string>; accounts: Record<string, string[]> }> = {}
      for (let index = 0; index < CROWD; index++) people[`peer-${index}`] = { tokens: {}, accounts: {} }
      for (const { id } of BANKS) {
        const state = JSON.parse(readFileSync(join(dataDir, 'sandbox', `${id}.json`), 'utf8')) as {
          consents: Record<string, { customer: string; accounts: string[]; state: string }>
          tokens: Record<string, { kind: string; consentId: string | null }>
        }
        for (const [token, { kind, consentId }] of Object.entries(state.tokens)) {
          const consent = state.consents[consentId ?? '']
          const person = people[consent?.customer.replace('crowd', 'peer-') ?? '']
          if (kind !== 'ACCESS' || consent?.status !== 'LIVE' || !person) continue
          person.tokens[id] = token
          person.accounts[id] = consent.accounts
        }
      }
      const banks = BANKS.map(({ path, ...bank }) => ({ ...bank, base: `${lines.get(bank.id)!.url}${path}` }))
      writeFileSync(file, JSON.stringify({ banks, people }))
    }
    bankTokens()
    const peers: Server[] = []
    for (const [index, name] of ['plain', 'tuned', 'floor'].entries()) {
      const port = first + 1 + index
      peers.push(await startServer(name, port, [join(import.meta.dirname, 'live-peers.mjs'), name, String(port), file]))
    }
    servers.push(...peers)
    const peerShots = (port: number): Shot[] =>
      three.map((_token, index) => ({
        port,
        body: JSON.stringify({ query: LIVE }),
        headers: { authorization: `Bearer peer-${AT_FOUR + index}` },
      }))

    const us = new Map<string, number[]>()
    const databaseUs: number[] = []
    const postgres = Number(readFileSync(join(dataDir, 'postgresql/postmaster.pid'), 'utf8').split('\n')[0])
    for (let round = -WARM_ROUNDS; round < ROUNDS; round++) {
      await renewAll()
      for (const server of [gateway, ...peers]) {
        if (server === gateway) await forget()
        const shots = server === gateway ? await asked(three, LIVE) : peerShots(server.port)
        const [before, databaseBefore] = [server.cpuS(), cpuBelow(postgres)]
        const answers = await fire(shots)
        const usEach = ((server.cpuS() - before) / shots.length) * 1e6
        for (const { text } of answers)
          if (nodesOf(text).filter(isTold).length !== 20)
            throw new Error(`${server.name} lacks balances: ${text.slice(0, 400)}`)
        if (round < 0) continue
        us.set(server.name, [...(us.get(server.name) ?? []), usEach])
        if (server === gateway) databaseUs.push(((cpuBelow(postgres) - databaseBefore) / shots.length) * 1e6)
      }
    }
    for (const peer of peers) await peer.stop()
    const tuned = median(us.get('tuned')!)
    say('\nCPU per request that asks the banks, 20 accounts at three banks, medians of interleaved rounds')
    say('                     µs      of the tuned one')
    for (const [name, all] of us)
      say(`${name.padEnd(16)} ${median(all).toFixed(0).padStart(6)}   ${(median(all) / tuned).toFixed(2).padStart(6)}`)
    say(`(PostgreSQL under Guichet: ${median(databaseUs).toFixed(0)} µs per request, in its own processes)`)

    // What goes to the banks.
    const countCalls = (): number[] => BANKS.map(({ id }) => callsTo(id).length)
    await forget()
    clearCalls()
    const same = await shotOf(three[0]!, LIVE)
    await fire(
      Array.from({ length: 100 }, () => same),
      100,
    )
    say(`\n100 identical queries at once: calls to the three banks ${countCalls().join(', ')}`)
    await forget()
    clearCalls()
    await fire(await asked(three, LIVE), three.length)
    say(`${three.length} customers at once: calls to the three banks ${countCalls().join(', ')}`)

    // Banks that have a bad day.
    await renewAll()
    await forget()
    lines.get('westbank')!.fault = { kind: 'BLACKHOLE' }
    const hung = await fire(await asked(four.slice(0, 4), LIVE), 1)
    const whole = (answers: readonly { text: string }[]): boolean =>
      answers.every(({ text }) => nodesOf(text).every((node) => node.bank.id === 'westbank' || isTold(node)))
    say(
      `one of four banks hangs: the others' answers ${whole(hung) ? 'whole' : 'NOT WHOLE'}, all of it after ${Math.max(...hung.map(({ ms }) => ms)).toFixed(0)} ms at most (deadline 1,400)`,
    )
    await forget()
    await fire(await asked(four, LIVE), 8)
    await forget()
    const open = await fire(await asked(four.slice(0, 20), OF_WEST), 1)
    say(
      `its own, once its breaker is open: ${percentile(
        open.map(({ ms }) => ms),
        0.5,
      ).toFixed(1)} ms, at most ${Math.max(...open.map(({ ms }) => ms)).toFixed(1)} ms`,
    )
    lines.get('westbank')!.fault = { kind: 'NONE' }
    await wait(15_000)
    await forget()
    await shoot(await shotOf(four[0]!, OF_WEST))
    await wait(500)

    // Beside the slowest bank.
    const DELAY_MS = 150
    for (const { id } of BANKS) lines.get(id)!.fault = { kind: 'DELAY', ms: DELAY_MS }
    const over: number[] = []
    for (let round = 0; round < 5; round++) {
      await renewAll()
      await forget()
      const shots = await asked(three, LIVE)
      await Promise.all(
        shots.map(async (shot, index) => {
          await wait(index * 20)
          const began = performance.now()
          await shoot(shot)
          over.push(performance.now() - began - DELAY_MS)
        }),
      )
    }
    say(
      `over the slowest bank, 50 queries/s: p50 ${percentile(over, 0.5).toFixed(1)} ms, p99 ${percentile(over, 0.99).toFixed(1)} ms`,
    )
    for (const { id } of BANKS) lines.get(id)!.fault = { kind: 'NONE' }

    // Beside one that is slow: the same questions to both, about fifty a second to the other, so that what is measured is
    // the other bank and not the load.
    const north = async (): Promise<number[]> => {
      const all: number[] = []
      for (let round = 0; round < 4; round++) {
        await forget()
        all.push(...(await fire(await asked(three, OF_NORTH), 4)).map(({ ms }) => ms))
      }
      return all
    }
    const besideWest = async (fault: LineFault): Promise<number> => {
      await renewAll()
      lines.get('westbank')!.fault = fault
      const life = { stopping: false }
      const west = (async () => {
        while (!life.stopping) {
          void fire(await asked(three.slice(0, 5), OF_WEST), 5).catch(() => undefined)
          await wait(100)
        }
      })()
      const all = await north()
      life.stopping = true
      await west
      lines.get('westbank')!.fault = { kind: 'NONE' }
      return percentile(all, 0.99)
    }
    const [p99, slowP99] = [await besideWest({ kind: 'NONE' }), await besideWest({ kind: 'DELAY', ms: 5_000 })]
    say(`\none bank's p99 beside a quick one ${p99.toFixed(1)} ms; beside one that takes 5 s ${slowP99.toFixed(1)} ms`)
  } finally {
    await database.end()
    for (const server of servers.reverse()) await server.stop()
    for (const line of lines.values()) await line.close()
    rmSync(dataDir, { recursive: true, force: true })
  }
}
