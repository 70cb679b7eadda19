// `npm run bench`: what docs/PERFORMANCE.md says, measured again on this machine, beside peers in the same run.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { measureBombs } from './bombs.ts'
import { startGateway } from './gateway.ts'
import { measureLive } from './live.ts'
import { shoot, volley, type Shot } from './load.ts'
import { cpuBelow, startServer, type Server } from './process.ts'
import { LIST } from './queries.ts'
import { measureStreams } from './streams.ts'

const PEERS = ['apollo-defaults', 'apollo-tuned', 'yoga', 'mercurius', 'mercurius-jit', 'floor']
const PORT = 4_700
const ROUNDS = 7
const SHOTS = 3_000
const WARM_UP = 8_000

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!

if (!existsSync(join(import.meta.dirname, 'node_modules'))) {
  say('installing the peers (bench/package.json) …')
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts'], { cwd: import.meta.dirname, stdio: 'inherit' })
  if (status !== 0) process.exit(1)
}

if (process.argv.includes('--live')) {
  await measureLive(PORT, say)
  process.exit(0)
}

const folder = mkdtempSync(join(tmpdir(), 'guichet-bench-peers-'))
const gateway = await startGateway(PORT, PORT + 50)
const servers: Server[] = [gateway]
try {
  const body = JSON.stringify({ query: LIST })
  const gatewayShot = async (): Promise<Shot> => ({
    port: gateway.port,
    body,
    headers: {
      authorization: `Bearer ${gateway.token.accessToken}`,
      'guichet-customer-present': await gateway.statement(),
    },
  })
  // Once to fetch from the banks, once to be answered from what is kept, as every later request.
  await shoot(await gatewayShot())
  const answer = await shoot(await gatewayShot())
  const { data } = JSON.parse(answer) as { data: unknown }
  say(`answer: ${JSON.stringify({ data }).length} bytes`)

  say(`ready after ${(gateway.readyAfterMs / 1_000).toFixed(1)} s on an empty folder (meant: at most 10)`)

  const token = 'peer-token-0123456789abcdef'
  const file = join(folder, 'data.json')
  writeFileSync(file, JSON.stringify({ token, data, query: LIST }))
  for (const [index, name] of PEERS.entries()) {
    const port = PORT + 1 + index
    const peers = join(import.meta.dirname, 'peers.mjs')
    servers.push(await startServer(name, port, [peers, name, String(port), file]))
  }
  const shotAt = async (server: Server): Promise<Shot> =>
    server === gateway ? gatewayShot() : { port: server.port, body, headers: { authorization: `Bearer ${token}` } }

  for (const server of servers) {
    const given = JSON.parse(await shoot(await shotAt(server))) as { data: unknown }
    if (JSON.stringify(given.data) !== JSON.stringify(data)) throw new Error(`${server.name} answers something else`)
    await volley(await shotAt(server), WARM_UP)
  }

  const perRequestUs = new Map<string, number[]>(servers.map(({ name }) => [name, []]))
  const databaseUs: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    await gateway.renewed()
    for (const server of servers) {
      const shot = await shotAt(server)
      const [before, databaseBefore] = [server.cpuS(), cpuBelow(gateway.postgresPid())]
      await volley(shot, SHOTS)
      perRequestUs.get(server.name)!.push(((server.cpuS() - before) / SHOTS) * 1e6)
      if (server === gateway) databaseUs.push(((cpuBelow(gateway.postgresPid()) - databaseBefore) / SHOTS) * 1e6)
    }
  }
  const medians = new Map([...perRequestUs].map(([name, all]) => [name, median(all)]))
  const base = medians.get('apollo-defaults')!
  say('\nCPU per request, 20 accounts × balances × 3 alerts; medians of interleaved rounds')
  say('                     µs      less than Apollo Server defaults')
  for (const [name, us] of medians)
    say(`${name.padEnd(16)} ${us.toFixed(0).padStart(6)}   ${(base / us).toFixed(2).padStart(6)} ×`)
  say(`(PostgreSQL under Guichet: ${median(databaseUs).toFixed(0)} µs per request, in its own processes)`)

  for (const server of servers.splice(1)) await server.stop()
  const costOf = async (query: string | ((index: number) => string), headers: Shot['headers'], count = 4_000) => {
    const shot = (index: number): Shot => {
      const text = typeof query === 'string' ? query : query(index)
      return { port: gateway.port, headers, body: JSON.stringify({ query: text }) }
    }
    if (typeof query === 'string') await volley(shot(0), 1_000)
    const before = gateway.cpuS()
    if (typeof query === 'string') await volley(shot(0), count)
    else for (let index = 0; index < count; index++) await shoot(shot(index))
    return ((gateway.cpuS() - before) / count) * 1e6
  }
  await gateway.renewed()
  const signed = (await gatewayShot()).headers
  const { authorization = '' } = signed
  const [without, withToken] = [await costOf('{ __typename }', {}), await costOf('{ __typename }', { authorization })]
  say(`\na request without a token          ${without.toFixed(0).padStart(6)} µs`)
  say(`the check of a remembered token   ${(withToken - without).toFixed(1).padStart(7)} µs`)
  const warm = await costOf(LIST, signed)
  const cold = await costOf((index) => `# ${index}\n${LIST}`, signed, 200)
  say(`a document never seen before     ${((cold - warm) / 1_000).toFixed(1).padStart(8)} ms beyond one that is known`)

  const { bombMs, neighbourMs } = await measureBombs(gateway.port)
  say(
    `the slowest refusal of a bomb    ${bombMs.toFixed(0).padStart(6)} ms; a neighbour's longest wait beside one ${neighbourMs.toFixed(0)} ms`,
  )

  if (process.argv.includes('--million')) {
    for (let done = 0; done < 1_000_000; done += 20_000) {
      await gateway.renewed()
      await volley(await gatewayShot(), 20_000)
    }
    say(`resident after a million requests ${gateway.rssMiB().toFixed(0).padStart(6)} MiB`)
  } else
    say(
      `resident                          ${gateway.rssMiB().toFixed(0).padStart(6)} MiB (--million: after a million requests)`,
    )

  const streams = await measureStreams(gateway)
  say(`\n${streams.streams} idle streams               ${streams.idleKiB.toFixed(1).padStart(8)} KiB each`)
  say(
    `an alert told to ${streams.told} of them   ${streams.fanOutUs.toFixed(1).padStart(8)} µs each, beyond the alert itself`,
  )
} finally {
  for (const server of servers) await server.stop()
  rmSync(folder, { recursive: true, force: true })
}
