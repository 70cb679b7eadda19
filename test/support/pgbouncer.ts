import { spawn } from 'node:child_process'
import { chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { inject } from 'vitest'
import { eventually } from './gateway.ts'
import { accepts, freePort } from './ports.ts'

const PROGRAM = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer', '/opt/homebrew/bin/pgbouncer'].find(existsSync)
/** The account `nobody`: PgBouncer refuses to run as root. */
const NOBODY = 65_534

/** False where the tests on PgBouncer are left out: on a machine without it. In CI they run, and fail without it. */
export const HAS_PGBOUNCER = PROGRAM !== undefined || process.env['CI'] === 'true'

export interface Pgbouncer {
  /** The same database, through the pooler. */
  through(url: string): string
  stop(): Promise<void>
}

/** A real PgBouncer before the test server, on a free port of loopback. */
export async function startPgbouncer(mode: 'transaction' | 'session', poolSize: number): Promise<Pgbouncer> {
  if (!PROGRAM) throw new Error('PgBouncer is not installed: apt-get install pgbouncer')
  const server = new URL(inject('serverUrl'))
  const port = await freePort()
  const folder = mkdtempSync(join(tmpdir(), 'guichet-pgbouncer-'))
  const account = userInfo().uid === 0 ? { uid: NOBODY, gid: NOBODY } : {}
  const ini = join(folder, 'pgbouncer.ini')
  const password = server.password ? ` password=${decodeURIComponent(server.password)}` : ''
  writeFileSync(
    ini,
    `[databases]
* = host=${server.hostname} port=${server.port || '5432'} user=${decodeURIComponent(server.username)}${password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${mode}
default_pool_size = ${poolSize}
max_client_conn = 500
`,
  )
  if (account.uid !== undefined) for (const path of [folder, ini]) chownSync(path, account.uid, account.gid)
  const child = spawn(PROGRAM, [ini], { ...account, cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] })
  let output = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  await eventually('PgBouncer to listen', () => {
    if (child.exitCode !== null) throw new Error(`PgBouncer ended: ${output}`)
    return accepts(port)
  })
  return {
    through(url) {
      const pooled = new URL(url)
      pooled.host = `127.0.0.1:${port}`
      return pooled.href
    },
    async stop() {
      child.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
