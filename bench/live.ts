// `npm run bench -- --live`: what asking the banks costs and how long it takes, beside what people would write instead,
// and with banks that have a bad day.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import {
  subjectOf,
  executeGraphql,
  createOauthClient,
  createPresenceStatement,
  type ClientFile,
  type Token,
} from '../src/entrypoints/cli/oauth-client.ts'
import { createBrowser } from '../src/entrypoints/cli/browser.ts'
import { optIn } from '../src/entrypoints/cli/opt-in.ts'
import { startFaultProxy, type FaultProxy, type LineFault } from '../test/support/fault-proxy.ts'
import { databaseUrl } from '../test/support/process.ts'
import { sendRequest, type BenchRequest } from './load.ts'
import { childCpuSeconds, startServer, type Server } from './process.ts'

const ROOT = join(import.meta.dirname, '..')
const SANDBOX_BANK_ORDER = ['northbank', 'rheinbank', 'eastbank', 'westbank', 'lakebank', 'southbank'] as const
/** Three banks that can tell of all accounts in one look, with seven, seven and six accounts of each customer. */
const BANKS = [
  { id: 'northbank', name: 'Northbank', standard: 'OBIE', path: '/open-banking/v4.0/aisp' },
  { id: 'westbank', name: 'Westbank', standard: 'FDX', path: '/fdx/v6' },
  { id: 'southbank', name: 'Southbank', standard: 'CDR', path: '/cds-au/v1' },
] as const
type Bank = (typeof BANKS)[number]['id'] | 'rheinbank'
const CUSTOMER_COUNT = 240
/** Of them, so many share accounts at a fourth bank as well. */
const FOUR_BANK_CUSTOMER_COUNT = 30
const CLIENT_ID = 'chatterbox-bearer'
const ROUNDS = 7
const WARM_ROUNDS = 12
const CONCURRENCY = 16

const LIVE_QUERY = `query Live {
  customer { accounts(first: 25) { nodes {
    id displayName currency bank { id name }
    balances { __typename ... on ExactBalance { type amount currency asOf } ... on BalanceUnavailable { reason } }
  } } }
}`
const NORTHBANK_QUERY = LIVE_QUERY.replace('first: 25', 'first: 25, filter: { bankIds: ["northbank"] }').replace(
  'Live',
  'North',
)
const WESTBANK_QUERY = LIVE_QUERY.replace('first: 25', 'first: 25, filter: { bankIds: ["westbank"] }').replace(
  'Live',
  'West',
)
const WARM_UP_QUERY = '{ customer { accounts(first: 1) { nodes { id } } } }'

interface Node {
  bank: { id: Bank }
  balances: { __typename: string; reason?: string }
}

const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!
const percentile = (numbers: readonly number[], share: number): number =>
  [...numbers].sort((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(numbers.length * share))]!
/** Does `work` for each, ten at a time. */
async function forEachInBatches<T>(all: readonly T[], action: (item: T) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < all.length; start += 10) await Promise.all(all.slice(start, start + 10).map(action))
}
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Runs all of it on ports from `first` on, and says what it found. */
export async function measureLive(firstPort: number, print: (proxy: string) => void): Promise<void> {
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-live-'))
  chmodSync(dataDir, 0o711)
  const sandboxPort = firstPort + 20
  const proxies = new Map<Bank, FaultProxy>()
  for (const bank of ['northbank', 'rheinbank', 'westbank', 'southbank'] as const) {
    const proxy = await startFaultProxy()
    proxy.target = `http://127.0.0.1:${sandboxPort + SANDBOX_BANK_ORDER.indexOf(bank)}`
    proxies.set(bank, proxy)
  }
  const origins = Object.fromEntries([...proxies].map(([bank, { url }]) => [bank, url]))
  const options = {
    host: '127.0.0.1',
    port: sandboxPort,
    stateDir: join(dataDir, 'sandbox'),
    seed: 'bench',
    extraCustomerCount: CUSTOMER_COUNT,
    origins,
    queuesEvents: false,
  }
  const sandbox = await startServer(
    'banks',
    sandboxPort,
    [join(ROOT, 'src/sandbox/main.ts'), JSON.stringify(options)],
    {},
    '}',
  )
  const gateway = await startServer('Guichet', firstPort, [join(ROOT, 'src/main.ts')], {
    PORT: String(firstPort),
    GUICHET_DATA_DIR: dataDir,
    GUICHET_SANDBOX_PORT: String(sandboxPort),
    GUICHET_SANDBOX_BANKS: 'remote',
    GUICHET_LOG_LEVEL: 'error',
  })
  const servers: Server[] = [sandbox, gateway]
  const issuer = `http://127.0.0.1:${firstPort}`
  const database = new pg.Client({ connectionString: databaseUrl({ dataDir, port: firstPort, sandboxPort }) })
  await database.connect()

  const client = (id: string): ClientFile =>
    JSON.parse(readFileSync(join(dataDir, 'clients', `${id}.json`), 'utf8')) as ClientFile
  const ownClient = client(CLIENT_ID)
  const unlimitedQuota = { quotaPerMinute: 2_147_483_647, customerQuotaPerMinute: 2_147_483_647 }
  await executeGraphql(
    issuer,
    await createOauthClient(issuer, client('admin')).clientCredentials('clients:manage'),
    'mutation ($input: UpdateClientInput!) { updateClient(input: $input) { userErrors { code } } }',
    { input: { id: CLIENT_ID, ...unlimitedQuota } },
  )

  print(`${CUSTOMER_COUNT} customers agree at three banks each …`)
  const tokens: Token[] = []
  const optInCustomer = async (index: number): Promise<void> => {
    const browser = createBrowser()
    let token: Token | undefined
    const requestedBanks: Bank[] = [
      ...(index < FOUR_BANK_CUSTOMER_COUNT ? (['rheinbank'] as const) : []),
      ...BANKS.map(({ id }) => id),
    ]
    for (const bank of requestedBanks)
      token = await optIn({
        issuer,
        client: ownClient,
        bearer: true,
        customer: `crowd${index}`,
        bank,
        scopes: ['accounts:read', 'balances:exact', 'balances:band'],
        browser,
        ...(token?.idToken && { idTokenHint: token.idToken }),
      })
    tokens[index] = token!
  }
  await forEachInBatches([...Array(CUSTOMER_COUNT).keys()], optInCustomer)
  const threeBankTokens = tokens.slice(FOUR_BANK_CUSTOMER_COUNT)
  const fourBankTokens = tokens.slice(0, FOUR_BANK_CUSTOMER_COUNT)

  let refreshedAtMs = Date.now()
  const refreshAllTokens = async (): Promise<void> => {
    if (Date.now() - refreshedAtMs < 200_000) return
    refreshedAtMs = Date.now()
    await forEachInBatches(tokens, async (token) =>
      Object.assign(
        token,
        await createOauthClient(issuer, ownClient, true).refresh(token.refreshToken!, token.dpopJwk),
      ),
    )
  }
  const createRequest = async (token: Token, query: string): Promise<BenchRequest> => ({
    port: firstPort,
    body: JSON.stringify({ query }),
    headers: {
      authorization: `Bearer ${token.accessToken}`,
      'guichet-customer-present': await createPresenceStatement(issuer, ownClient, subjectOf(token)!),
    },
  })
  /** Forgets every balance, here and in the gateway's memory, and every budget; all else is as in the middle of a chat. */
  async function clearCaches(): Promise<void> {
    await database.query('truncate snapshot, disclosure')
    const { rows } = await database.query<{ id: string }>('select id from customer')
    const signals = rows.map(({ id }) => JSON.stringify({ kind: 'CONSENT', id: 'none', customerId: id }))
    await database.query("select pg_notify('guichet_signal', signal) from unnest($1::text[]) signal", [signals])
    // Forgetting so much at once is a stall of its own, during which the gateway would say no.
    await sleep(700)
    await forEachInBatches(tokens, async (token) => sendRequest(await createRequest(token, WARM_UP_QUERY)))
  }
  const nodesOf = (text: string): Node[] =>
    (JSON.parse(text) as { data: { customer: { accounts: { nodes: Node[] } } } }).data.customer.accounts.nodes
  const hasBalance = ({ balances }: Node): boolean => balances.__typename !== 'BalanceUnavailable'

  /** All shots, so many at a time; how long each took, and its answer. */
  async function sendAll(
    shots: readonly BenchRequest[],
    atOnce = CONCURRENCY,
  ): Promise<{ ms: number; text: string }[]> {
    const results: { ms: number; text: string }[] = []
    let at = 0
    await Promise.all(
      Array.from({ length: atOnce }, async () => {
        for (let shot = shots[at++]; shot; shot = shots[at++]) {
          const began = performance.now()
          const text = await sendRequest(shot)
          results.push({ ms: performance.now() - began, text })
        }
      }),
    )
    return results
  }
  const createRequests = (all: readonly Token[], query: string): Promise<BenchRequest[]> =>
    Promise.all(all.map((token) => createRequest(token, query)))
  const callsTo = (bank: Bank): string[] => proxies.get(bank)!.requests
  const clearCalls = (): void => proxies.forEach((line) => void (line.requests.length = 0))

  try {
    // What it costs, beside what people would write instead.
    const file = join(dataDir, 'people.json')
    const writePeerData = (): void => {
      const people: Record<string, { tokens: Record<string, string>; accounts: Record<string, string[]> }> = {}
      for (let index = 0; index < CUSTOMER_COUNT; index++) people[`peer-${index}`] = { tokens: {}, accounts: {} }
      for (const { id } of BANKS) {
        const state = JSON.parse(readFileSync(join(dataDir, 'sandbox', `${id}.json`), 'utf8')) as {
          consents: Record<string, { customer: string; accounts: string[]; status: string }>
          tokens: Record<string, { kind: string; consentId: string | null }>
        }
        for (const [token, { kind, consentId }] of Object.entries(state.tokens)) {
          const consent = state.consents[consentId ?? '']
          const person = people[consent?.customer.replace('crowd', 'peer-') ?? '']
          if (kind !== 'ACCESS' || consent?.status !== 'AUTHORIZED' || !person) continue
          person.tokens[id] = token
          person.accounts[id] = consent.accounts
        }
      }
      const banks = BANKS.map(({ path, ...bank }) => ({ ...bank, base: `${proxies.get(bank.id)!.url}${path}` }))
      writeFileSync(file, JSON.stringify({ banks, people }))
    }
    writePeerData()
    const peers: Server[] = []
    for (const [index, name] of ['plain', 'tuned', 'floor'].entries()) {
      const port = firstPort + 1 + index
      peers.push(await startServer(name, port, [join(import.meta.dirname, 'live-peers.mjs'), name, String(port), file]))
    }
    servers.push(...peers)
    const peerShots = (port: number): BenchRequest[] =>
      threeBankTokens.map((_token, index) => ({
        port,
        body: JSON.stringify({ query: LIVE_QUERY }),
        headers: { authorization: `Bearer peer-${FOUR_BANK_CUSTOMER_COUNT + index}` },
      }))

    const us = new Map<string, number[]>()
    const databaseUs: number[] = []
    const postgres = Number(readFileSync(join(dataDir, 'postgresql/postmaster.pid'), 'utf8').split('\n')[0])
    for (let round = -WARM_ROUNDS; round < ROUNDS; round++) {
      await refreshAllTokens()
      for (const server of [gateway, ...peers]) {
        if (server === gateway) await clearCaches()
        const shots = server === gateway ? await createRequests(threeBankTokens, LIVE_QUERY) : peerShots(server.port)
        const [before, databaseBefore] = [server.cpuS(), childCpuSeconds(postgres)]
        const answers = await sendAll(shots)
        const usEach = ((server.cpuS() - before) / shots.length) * 1e6
        for (const { text } of answers)
          if (nodesOf(text).filter(hasBalance).length !== 20)
            throw new Error(`${server.name} lacks balances: ${text.slice(0, 400)}`)
        if (round < 0) continue
        us.set(server.name, [...(us.get(server.name) ?? []), usEach])
        if (server === gateway) databaseUs.push(((childCpuSeconds(postgres) - databaseBefore) / shots.length) * 1e6)
      }
    }
    for (const peer of peers) await peer.stop()
    const tuned = median(us.get('tuned')!)
    print('\nCPU per request that asks the banks, 20 accounts at three banks, medians of interleaved rounds')
    print('                     µs      of the tuned one')
    for (const [name, all] of us)
      print(
        `${name.padEnd(16)} ${median(all).toFixed(0).padStart(6)}   ${(median(all) / tuned).toFixed(2).padStart(6)}`,
      )
    print(`(PostgreSQL under Guichet: ${median(databaseUs).toFixed(0)} µs per request, in its own processes)`)

    // What goes to the banks.
    const countCalls = (): number[] => BANKS.map(({ id }) => callsTo(id).length)
    await clearCaches()
    clearCalls()
    const same = await createRequest(threeBankTokens[0]!, LIVE_QUERY)
    await sendAll(
      Array.from({ length: 100 }, () => same),
      100,
    )
    print(`\n100 identical queries at once: calls to the three banks ${countCalls().join(', ')}`)
    await clearCaches()
    clearCalls()
    await sendAll(await createRequests(threeBankTokens, LIVE_QUERY), threeBankTokens.length)
    print(`${threeBankTokens.length} customers at once: calls to the three banks ${countCalls().join(', ')}`)

    // Banks that have a bad day.
    await refreshAllTokens()
    await clearCaches()
    proxies.get('westbank')!.fault = { kind: 'BLACKHOLE' }
    const hangingBankResults = await sendAll(await createRequests(fourBankTokens.slice(0, 4), LIVE_QUERY), 1)
    const isComplete = (answers: readonly { text: string }[]): boolean =>
      answers.every(({ text }) => nodesOf(text).every((node) => node.bank.id === 'westbank' || hasBalance(node)))
    print(
      `one of four banks hangs: the others' answers ${isComplete(hangingBankResults) ? 'whole' : 'NOT WHOLE'}, all of it after ${Math.max(...hangingBankResults.map(({ ms }) => ms)).toFixed(0)} ms at most (deadline 1,400)`,
    )
    await clearCaches()
    await sendAll(await createRequests(fourBankTokens, LIVE_QUERY), 8)
    await clearCaches()
    const openBreakerResults = await sendAll(await createRequests(fourBankTokens.slice(0, 20), WESTBANK_QUERY), 1)
    print(
      `its own, once its breaker is open: ${percentile(
        openBreakerResults.map(({ ms }) => ms),
        0.5,
      ).toFixed(1)} ms, at most ${Math.max(...openBreakerResults.map(({ ms }) => ms)).toFixed(1)} ms`,
    )
    proxies.get('westbank')!.fault = { kind: 'NONE' }
    await sleep(15_000)
    await clearCaches()
    await sendRequest(await createRequest(fourBankTokens[0]!, WESTBANK_QUERY))
    await sleep(500)

    // Beside the slowest bank.
    const DELAY_MS = 150
    for (const { id } of BANKS) proxies.get(id)!.fault = { kind: 'DELAY', ms: DELAY_MS }
    const overheadsMs: number[] = []
    for (let round = 0; round < 5; round++) {
      await refreshAllTokens()
      await clearCaches()
      const shots = await createRequests(threeBankTokens, LIVE_QUERY)
      await Promise.all(
        shots.map(async (shot, index) => {
          await sleep(index * 20)
          const startedAt = performance.now()
          await sendRequest(shot)
          overheadsMs.push(performance.now() - startedAt - DELAY_MS)
        }),
      )
    }
    print(
      `over the slowest bank, 50 queries/s: p50 ${percentile(overheadsMs, 0.5).toFixed(1)} ms, p99 ${percentile(overheadsMs, 0.99).toFixed(1)} ms`,
    )
    for (const { id } of BANKS) proxies.get(id)!.fault = { kind: 'NONE' }

    // Beside one that is slow: the same questions to both, about fifty a second to the other, so that what is measured is
    // the other bank and not the load.
    const measureNorthbank = async (): Promise<number[]> => {
      const all: number[] = []
      for (let round = 0; round < 4; round++) {
        await clearCaches()
        all.push(...(await sendAll(await createRequests(threeBankTokens, NORTHBANK_QUERY), 4)).map(({ ms }) => ms))
      }
      return all
    }
    const measureNorthbankBesideWestbank = async (fault: LineFault): Promise<number> => {
      await refreshAllTokens()
      proxies.get('westbank')!.fault = fault
      const loadState = { stopping: false }
      const westbankLoad = (async () => {
        while (!loadState.stopping) {
          void sendAll(await createRequests(threeBankTokens.slice(0, 5), WESTBANK_QUERY), 5).catch(() => undefined)
          await sleep(100)
        }
      })()
      const all = await measureNorthbank()
      loadState.stopping = true
      await westbankLoad
      proxies.get('westbank')!.fault = { kind: 'NONE' }
      return percentile(all, 0.99)
    }
    const [p99, slowP99] = [
      await measureNorthbankBesideWestbank({ kind: 'NONE' }),
      await measureNorthbankBesideWestbank({ kind: 'DELAY', ms: 5_000 }),
    ]
    print(
      `\none bank's p99 beside a quick one ${p99.toFixed(1)} ms; beside one that takes 5 s ${slowP99.toFixed(1)} ms`,
    )
  } finally {
    await database.end()
    for (const server of servers.reverse()) await server.stop()
    for (const proxy of proxies.values()) await proxy.close()
    rmSync(dataDir, { recursive: true, force: true })
  }
}
