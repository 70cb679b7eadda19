// `npm run bench`: what docs/PERFORMANCE.md says, measured again on this machine, beside peers in the same run.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startGateway, type Gateway } from './gateway.ts'
import { shoot, volley, type Shot } from './load.ts'
import { cpuBelow, startServer, type Server } from './process.ts'
import { LIST } from './queries.ts'

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
} finally {
  for (const server of servers) await server.stop()
  rmSync(folder, { recursive: true, force: true })
}
export type { Gateway }
