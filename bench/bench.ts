// `npm run bench`: measures the figures of docs/PERFORMANCE.md on this machine, with peers in the same run.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { measureAbusiveQueries } from './abusive-queries.ts'
import { measureAlerts } from './alerts.ts'
import { addressHeader, startGateway } from './gateway.ts'
import { measureLive } from './live.ts'
import { sendRequest, sendRepeatedly, type BenchRequest } from './load.ts'
import { childCpuSeconds, startServer, type Server } from './process.ts'
import { ACCOUNT_LIST_QUERY } from './queries.ts'
import { measureStreams } from './streams.ts'

const PEERS = ['apollo-defaults', 'apollo-tuned', 'yoga', 'mercurius', 'mercurius-jit', 'floor']
const PORT = 4_700
const ROUNDS = 7
const REQUESTS_PER_ROUND = 3_000
const WARM_UP_REQUESTS = 8_000

const print = (line: string): void => void process.stdout.write(`${line}\n`)
const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!

// So that everything that was started is stopped.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

if (!existsSync(join(import.meta.dirname, 'node_modules'))) {
  print('installing the peers (bench/package.json) …')
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts'], { cwd: import.meta.dirname, stdio: 'inherit' })
  if (status !== 0) process.exit(1)
}

// All measurements of alerts, or some: `--alerts`, `--alerts=delivery,backlog`.
const alertsOption = process.argv.find((argument) => /^--alerts(=|$)/.test(argument))
if (alertsOption !== undefined) {
  await measureAlerts(PORT, print, alertsOption.split('=')[1]?.split(','))
  process.exit(0)
}

if (process.argv.includes('--live')) {
  await measureLive(PORT, print)
  process.exit(0)
}

const folder = mkdtempSync(join(tmpdir(), 'guichet-bench-peers-'))
const gateway = await startGateway(PORT, PORT + 50)
const servers: Server[] = [gateway]
try {
  const body = JSON.stringify({ query: ACCOUNT_LIST_QUERY })
  const createGatewayRequest = async (): Promise<BenchRequest> => ({
    port: gateway.port,
    body,
    headers: {
      authorization: `Bearer ${gateway.token.accessToken}`,
      'guichet-customer-present': await gateway.createPresenceStatement(),
    },
  })
  // The first request fetches from the banks; the second is served from the cache, like every later one.
  await sendRequest(await createGatewayRequest())
  const responseText = await sendRequest(await createGatewayRequest())
  const { data } = JSON.parse(responseText) as { data: unknown }
  print(`response: ${JSON.stringify({ data }).length} bytes`)

  print(`ready after ${(gateway.readyAfterMs / 1_000).toFixed(1)} s on an empty folder (target: at most 10)`)

  const token = 'peer-token-0123456789abcdef'
  const file = join(folder, 'data.json')
  writeFileSync(file, JSON.stringify({ token, data, query: ACCOUNT_LIST_QUERY }))
  for (const [index, name] of PEERS.entries()) {
    const port = PORT + 1 + index
    const peers = join(import.meta.dirname, 'peers.mjs')
    servers.push(await startServer(name, port, [peers, name, String(port), file]))
  }
  const createRequestFor = async (server: Server): Promise<BenchRequest> =>
    server === gateway
      ? createGatewayRequest()
      : { port: server.port, body, headers: { authorization: `Bearer ${token}` } }

  for (const server of servers) {
    const response = JSON.parse(await sendRequest(await createRequestFor(server))) as { data: unknown }
    if (JSON.stringify(response.data) !== JSON.stringify(data)) throw new Error(`${server.name} returns different data`)
    await sendRepeatedly(await createRequestFor(server), WARM_UP_REQUESTS)
  }

  const perRequestUs = new Map<string, number[]>(servers.map(({ name }) => [name, []]))
  const databaseUs: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    await gateway.refreshToken()
    for (const server of servers) {
      const request = await createRequestFor(server)
      const [before, databaseBefore] = [server.cpuS(), childCpuSeconds(gateway.postgresPid())]
      await sendRepeatedly(request, REQUESTS_PER_ROUND)
      perRequestUs.get(server.name)!.push(((server.cpuS() - before) / REQUESTS_PER_ROUND) * 1e6)
      if (server === gateway)
        databaseUs.push(((childCpuSeconds(gateway.postgresPid()) - databaseBefore) / REQUESTS_PER_ROUND) * 1e6)
    }
  }
  const medians = new Map([...perRequestUs].map(([name, samples]) => [name, median(samples)]))
  const base = medians.get('apollo-defaults')!
  print('\nCPU per request, 20 accounts × balances × 3 alerts; medians of interleaved rounds')
  print('                     µs      less than Apollo Server defaults')
  for (const [name, us] of medians)
    print(`${name.padEnd(16)} ${us.toFixed(0).padStart(6)}   ${(base / us).toFixed(2).padStart(6)} ×`)
  print(`(PostgreSQL under Guichet: ${median(databaseUs).toFixed(0)} µs per request, in its own processes)`)

  for (const server of servers.splice(1)) await server.stop()
  const createRequest = (customer: number, query: string, headers: BenchRequest['headers']): BenchRequest => ({
    port: gateway.port,
    headers: { ...headers, ...addressHeader(customer) },
    body: JSON.stringify({ query }),
  })
  const CUSTOMER_COUNT = 4
  // Less than the points that one address has in a minute without a token.
  const REQUESTS_PER_CUSTOMER = 1_000
  const measureCpuUs = async (query: string, headers: BenchRequest['headers']): Promise<number> => {
    await sendRepeatedly(createRequest(0, query, headers), REQUESTS_PER_CUSTOMER)
    const before = gateway.cpuS()
    for (let customer = 1; customer <= CUSTOMER_COUNT; customer++)
      await sendRepeatedly(createRequest(customer, query, headers), REQUESTS_PER_CUSTOMER)
    return ((gateway.cpuS() - before) / (CUSTOMER_COUNT * REQUESTS_PER_CUSTOMER)) * 1e6
  }
  const measureNewQueryCpuUs = async (query: string, headers: BenchRequest['headers'], count: number) => {
    const before = gateway.cpuS()
    for (let index = 0; index < count; index++) await sendRequest(createRequest(0, `# ${index}\n${query}`, headers))
    return ((gateway.cpuS() - before) / count) * 1e6
  }
  await gateway.refreshToken()
  const signedHeaders = (await createGatewayRequest()).headers
  const { authorization = '' } = signedHeaders
  const [without, withToken] = [
    await measureCpuUs('{ __typename }', {}),
    await measureCpuUs('{ __typename }', { authorization }),
  ]
  print(`\na request without a token          ${without.toFixed(0).padStart(6)} µs`)
  print(`the check of a cached token       ${(withToken - without).toFixed(1).padStart(7)} µs`)
  const warm = await measureCpuUs(ACCOUNT_LIST_QUERY, signedHeaders)
  const cold = await measureNewQueryCpuUs(ACCOUNT_LIST_QUERY, signedHeaders, 200)
  print(`an operation not seen before     ${((cold - warm) / 1_000).toFixed(1).padStart(8)} ms more than a cached one`)

  const { rejectionMs, concurrentRequestMs } = await measureAbusiveQueries(gateway.port)
  print(
    `the slowest rejection of abuse   ${rejectionMs.toFixed(0).padStart(6)} ms; the slowest normal query beside one ${concurrentRequestMs.toFixed(0)} ms`,
  )

  if (process.argv.includes('--million')) {
    for (let done = 0; done < 1_000_000; done += 20_000) {
      await gateway.refreshToken()
      await sendRepeatedly(await createGatewayRequest(), 20_000)
    }
    print(`resident after a million requests ${gateway.rssMiB().toFixed(0).padStart(6)} MiB`)
  } else
    print(
      `resident                          ${gateway.rssMiB().toFixed(0).padStart(6)} MiB (--million: after a million requests)`,
    )

  const streams = await measureStreams(gateway)
  print(`\n${streams.streams} idle streams               ${streams.idleKiB.toFixed(1).padStart(8)} KiB each`)
  print(
    `an alert delivered to ${streams.deliveredCount} ${streams.fanOutUs.toFixed(1).padStart(8)} µs each, in addition to the alert itself`,
  )
} finally {
  for (const server of servers) await server.stop()
  rmSync(folder, { recursive: true, force: true })
}
