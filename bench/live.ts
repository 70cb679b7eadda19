// `npm run bench -- --live`: the cost and latency of requests that fetch from the banks, compared with alternative
// implementations, and with slow or failing banks.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import {
  subjectOf,
  createOauthClient,
  createPresenceStatement,
  type ClientFile,
  type Token,
} from '../src/entrypoints/cli/oauth-client.ts'
import { createBrowser } from '../src/entrypoints/cli/browser.ts'
import { optIn } from '../src/entrypoints/cli/opt-in.ts'
import { startFaultProxy, type FaultProxy, type LineFault } from '../test/support/fault-proxy.ts'
import { databaseUrl } from '../test/support/process.ts'
import { addressHeader, BENCH_PROXY, raiseQuotas } from './gateway.ts'
import { sendRequest, type BenchRequest } from './load.ts'
import { childCpuSeconds, startServer, type Server } from './process.ts'

const ROOT = join(import.meta.dirname, '..')
const SANDBOX_BANK_ORDER = ['northbank', 'rheinbank', 'eastbank', 'westbank', 'lakebank', 'southbank'] as const
/** Three banks with bulk endpoints, with seven, seven and six accounts of each customer. */
const BANKS = [
  { id: 'northbank', name: 'Northbank', standard: 'OBIE', path: '/open-banking/v4.0/aisp' },
  { id: 'westbank', name: 'Westbank', standard: 'FDX', path: '/fdx/v6' },
  { id: 'southbank', name: 'Southbank', standard: 'CDR', path: '/cds-au/v1' },
] as const
type Bank = (typeof BANKS)[number]['id'] | 'rheinbank'
const CUSTOMER_COUNT = 240
/** The number of customers who also share accounts at a fourth bank. */
const FOUR_BANK_CUSTOMER_COUNT = 30
const CLIENT_ID = 'chatterbox-bearer'
const ROUNDS = 7
const WARM_ROUNDS = 12
const CONCURRENCY = 16

const LIVE_QUERY = `query Live {
  customer { accounts(first: 25) { nodes {
    id displayName currencies bank { id name }
    balances { __typename ... on ExactBalance { type value { amount currency } asOf } ... on BalanceUnavailable { reason { code } } }
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
  balances: { __typename: string; reason?: { code: string } }[]
}

const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!
const percentile = (numbers: readonly number[], share: number): number =>
  [...numbers].sort((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(numbers.length * share))]!
/** Runs `action` for each item, ten at a time. */
async function forEachInBatches<T>(items: readonly T[], action: (item: T) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < items.length; start += 10) await Promise.all(items.slice(start, start + 10).map(action))
}
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Runs all measurements on ports from `firstPort` on and prints the results. */
export async function measureLive(firstPort: number, print: (line: string) => void): Promise<void> {
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
    GUICHET_TRUSTED_PROXIES: BENCH_PROXY,
  })
  const servers: Server[] = [sandbox, gateway]
  const issuer = `http://127.0.0.1:${firstPort}`
  const database = new pg.Client({ connectionString: databaseUrl({ dataDir, port: firstPort, sandboxPort }) })
  await database.connect()

  const client = (id: string): ClientFile =>
    JSON.parse(readFileSync(join(dataDir, 'clients', `${id}.json`), 'utf8')) as ClientFile
  const ownClient = client(CLIENT_ID)
  await raiseQuotas(issuer, client('admin'), CLIENT_ID)

  print(`${CUSTOMER_COUNT} customers opt in at three banks each …`)
  const tokens: Token[] = []
  const optInCustomer = async (index: number): Promise<void> => {
    const browser = createBrowser(addressHeader(index))
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
      }).catch((error: unknown) => {
        throw new Error(`the opt-in of crowd${index} at ${bank} failed`, { cause: error })
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
  /** Clears all balances, in the database and in the gateway's memory, and all disclosures. Everything else stays warm. */
  async function clearCaches(): Promise<void> {
    await database.query('truncate snapshot, disclosure')
    const { rows } = await database.query<{ id: string }>('select id from customer')
    const signals = rows.map(({ id }) =>
      JSON.stringify({ publicationId: '', signal: { kind: 'CONSENT', id: 'none', customerId: id } }),
    )
    await database.query("select pg_notify('guichet_signal', signal) from unnest($1::text[]) signal", [signals])
    // Clearing so many entries at once stalls the gateway, which would reject requests in the meantime.
    await sleep(700)
    await forEachInBatches(tokens, async (token) => sendRequest(await createRequest(token, WARM_UP_QUERY)))
  }
  const nodesOf = (text: string): Node[] =>
    (JSON.parse(text) as { data: { customer: { accounts: { nodes: Node[] } } } }).data.customer.accounts.nodes
  const hasBalance = ({ balances: [balance] }: Node): boolean => balance!.__typename !== 'BalanceUnavailable'

  /** Sends all requests, `concurrency` at a time. Returns the duration and the response of each. */
  async function sendAll(
    requests: readonly BenchRequest[],
    concurrency = CONCURRENCY,
  ): Promise<{ ms: number; text: string }[]> {
    const results: { ms: number; text: string }[] = []
    let next = 0
    await Promise.all(
      Array.from({ length: concurrency }, async () => {
        for (let request = requests[next++]; request; request = requests[next++]) {
          const startedAt = performance.now()
          const text = await sendRequest(request)
          results.push({ ms: performance.now() - startedAt, text })
        }
      }),
    )
    return results
  }
  const createRequests = (customers: readonly Token[], query: string): Promise<BenchRequest[]> =>
    Promise.all(customers.map((token) => createRequest(token, query)))
  const callsTo = (bank: Bank): string[] => proxies.get(bank)!.requests
  const clearCalls = (): void => proxies.forEach((proxy) => void (proxy.requests.length = 0))

  try {
    // CPU per request, compared with alternative implementations.
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
    const createPeerRequests = (port: number): BenchRequest[] =>
      threeBankTokens.map((_token, index) => ({
        port,
        body: JSON.stringify({ query: LIVE_QUERY }),
        headers: { authorization: `Bearer peer-${FOUR_BANK_CUSTOMER_COUNT + index}` },
      }))

    const cpuUs = new Map<string, number[]>()
    const databaseUs: number[] = []
    const postgresPid = Number(readFileSync(join(dataDir, 'postgresql/postmaster.pid'), 'utf8').split('\n')[0])
    for (let round = -WARM_ROUNDS; round < ROUNDS; round++) {
      await refreshAllTokens()
      for (const server of [gateway, ...peers]) {
        if (server === gateway) await clearCaches()
        const requests =
          server === gateway ? await createRequests(threeBankTokens, LIVE_QUERY) : createPeerRequests(server.port)
        const [before, databaseBefore] = [server.cpuS(), childCpuSeconds(postgresPid)]
        const results = await sendAll(requests)
        const requestUs = ((server.cpuS() - before) / requests.length) * 1e6
        for (const { text } of results)
          if (nodesOf(text).filter(hasBalance).length !== 20)
            throw new Error(`${server.name} lacks balances: ${text.slice(0, 400)}`)
        if (round < 0) continue
        cpuUs.set(server.name, [...(cpuUs.get(server.name) ?? []), requestUs])
        if (server === gateway)
          databaseUs.push(((childCpuSeconds(postgresPid) - databaseBefore) / requests.length) * 1e6)
      }
    }
    for (const peer of peers) await peer.stop()
    const tunedUs = median(cpuUs.get('tuned')!)
    print('\nCPU per request that fetches from the banks, 20 accounts at three banks, medians of interleaved rounds')
    print('                     µs      relative to tuned')
    for (const [name, samples] of cpuUs)
      print(
        `${name.padEnd(16)} ${median(samples).toFixed(0).padStart(6)}   ${(median(samples) / tunedUs).toFixed(2).padStart(6)}`,
      )
    print(`(PostgreSQL under Guichet: ${median(databaseUs).toFixed(0)} µs per request, in its own processes)`)

    // Calls to the banks.
    const countCalls = (): number[] => BANKS.map(({ id }) => callsTo(id).length)
    await clearCaches()
    clearCalls()
    const request = await createRequest(threeBankTokens[0]!, LIVE_QUERY)
    await sendAll(
      Array.from({ length: 100 }, () => request),
      100,
    )
    print(`\n100 identical queries at once: calls to the three banks ${countCalls().join(', ')}`)
    await clearCaches()
    clearCalls()
    await sendAll(await createRequests(threeBankTokens, LIVE_QUERY), threeBankTokens.length)
    print(`${threeBankTokens.length} customers at once: calls to the three banks ${countCalls().join(', ')}`)

    // Latency added to that of the slowest bank. Before any outage, after which the gateway calls a bank with care for a while.
    const DELAY_MS = 150
    for (const { id } of BANKS) proxies.get(id)!.fault = { kind: 'DELAY', ms: DELAY_MS }
    const overheadsMs: number[] = []
    for (let round = 0; round < 5; round++) {
      await refreshAllTokens()
      await clearCaches()
      const requests = await createRequests(threeBankTokens, LIVE_QUERY)
      await Promise.all(
        requests.map(async (request, index) => {
          await sleep(index * 20)
          const startedAt = performance.now()
          const text = await sendRequest(request)
          overheadsMs.push(performance.now() - startedAt - DELAY_MS)
          if (nodesOf(text).filter(hasBalance).length !== 20) throw new Error(`lacks balances: ${text.slice(0, 400)}`)
        }),
      )
    }
    print(
      `latency added to the slowest bank, 50 queries/s: p50 ${percentile(overheadsMs, 0.5).toFixed(1)} ms, p99 ${percentile(overheadsMs, 0.99).toFixed(1)} ms`,
    )
    for (const { id } of BANKS) proxies.get(id)!.fault = { kind: 'NONE' }

    // A bank that does not respond.
    await refreshAllTokens()
    await clearCaches()
    proxies.get('westbank')!.fault = { kind: 'BLACKHOLE' }
    const hangingBankResults = await sendAll(await createRequests(fourBankTokens.slice(0, 4), LIVE_QUERY), 1)
    const isComplete = (results: readonly { text: string }[]): boolean =>
      results.every(({ text }) => nodesOf(text).every((node) => node.bank.id === 'westbank' || hasBalance(node)))
    print(
      `one of four banks hangs: balances of the others ${isComplete(hangingBankResults) ? 'complete' : 'INCOMPLETE'}, responses after ${Math.max(...hangingBankResults.map(({ ms }) => ms)).toFixed(0)} ms at most (deadline 1,400 ms)`,
    )
    await clearCaches()
    await sendAll(await createRequests(fourBankTokens, LIVE_QUERY), 8)
    await clearCaches()
    const openBreakerResults = await sendAll(await createRequests(fourBankTokens.slice(0, 20), WESTBANK_QUERY), 1)
    print(
      `the bank that hangs, with its circuit breaker open: ${percentile(
        openBreakerResults.map(({ ms }) => ms),
        0.5,
      ).toFixed(1)} ms, at most ${Math.max(...openBreakerResults.map(({ ms }) => ms)).toFixed(1)} ms`,
    )
    proxies.get('westbank')!.fault = { kind: 'NONE' }
    await sleep(15_000)
    await clearCaches()
    await sendRequest(await createRequest(fourBankTokens[0]!, WESTBANK_QUERY))
    await sleep(500)

    // A bank's latency beside a slow bank. Both measurements have the same load of about fifty queries per second on the
    // other bank, so that only its latency differs.
    const measureNorthbank = async (): Promise<number[]> => {
      const durationsMs: number[] = []
      for (let round = 0; round < 4; round++) {
        await clearCaches()
        durationsMs.push(
          ...(await sendAll(await createRequests(threeBankTokens, NORTHBANK_QUERY), 4)).map(({ ms }) => ms),
        )
      }
      return durationsMs
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
      const durationsMs = await measureNorthbank()
      loadState.stopping = true
      await westbankLoad
      proxies.get('westbank')!.fault = { kind: 'NONE' }
      return percentile(durationsMs, 0.99)
    }
    const [p99, slowP99] = [
      await measureNorthbankBesideWestbank({ kind: 'NONE' }),
      await measureNorthbankBesideWestbank({ kind: 'DELAY', ms: 5_000 }),
    ]
    print(
      `\none bank's p99 beside a fast bank ${p99.toFixed(1)} ms; beside one that takes 5 s ${slowP99.toFixed(1)} ms`,
    )
  } finally {
    await database.end()
    for (const server of servers.reverse()) await server.stop()
    for (const proxy of proxies.values()) await proxy.close()
    rmSync(dataDir, { recursive: true, force: true })
  }
}
