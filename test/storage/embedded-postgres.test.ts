import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, describe, expect, test } from 'vitest'
import { systemTimers } from '../../src/kernel/clock.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/storage/embedded-postgres.ts'
import { copyWorldReadable } from '../../src/storage/postgres-binaries.ts'

const folders: string[] = []
const servers: EmbeddedPostgres[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop().catch(() => undefined)
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'guichet-embedded-'))
  chmodSync(folder, 0o711)
  folders.push(folder)
  return folder
}

async function start(dataDir: string): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({
    dataDir,
    randomness: systemRandomness,
    timers: systemTimers,
    print: () => undefined,
  })
  servers.push(server)
  return server
}

/** Restores the pid file of a stopped server, with the number of another process. */
function reusePid(dataDir: string, lines: string, pid: number): void {
  writeFileSync(join(dataDir, 'postgresql/postmaster.pid'), lines.replace(/^\d+/, String(pid)), { mode: 0o600 })
}

async function valueAt(url: string, sql: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<{ value: unknown }>(sql)
  await client.end()
  return rows[0]?.value
}

describe('the pid file of a server', () => {
  test('a stale pid file does not block a start if another program or the server of another folder has its number', async () => {
    const [dataDir, otherDir] = [newFolder(), newFolder()]
    const first = await start(dataDir)
    await valueAt(first.url, 'create table saved as select 1 as value')
    const lines = readFileSync(join(dataDir, 'postgresql/postmaster.pid'), 'utf8')
    await first.stop()
    const other = await start(otherDir)
    const otherPid = Number(readFileSync(join(otherDir, 'postgresql/postmaster.pid'), 'utf8').split('\n')[0])
    const namesake = spawn('/bin/sh', ['-c', 'read line', 'postgres', '-D', join(otherDir, 'postgresql')])

    for (const pid of [otherPid, namesake.pid!, process.pid, 1]) {
      reusePid(dataDir, lines, pid)
      const server = await start(dataDir)
      expect(await valueAt(server.url, 'select value from saved')).toBe(1)
      await server.stop()
    }
    namesake.kill()
    expect(await valueAt(other.url, 'select 1 as value')).toBe(1)
  })

  test('a second gateway on the same folder is refused, and the first continues', async () => {
    const dataDir = newFolder()
    const first = await start(dataDir)
    await expect(start(dataDir)).rejects.toThrow('another gateway is running')
    expect(await valueAt(first.url, 'select 1 as value')).toBe(1)
  })
})

describe('the copy of the binaries for an account that cannot enter the installation', () => {
  const original = (): string => {
    const from = join(newFolder(), 'package')
    mkdirSync(join(from, 'bin'), { recursive: true })
    mkdirSync(join(from, 'share'))
    writeFileSync(join(from, 'bin/postgres'), 'program', { mode: 0o700 })
    writeFileSync(join(from, 'share/data'), 'data', { mode: 0o600 })
    for (const folder of ['', 'bin', 'share']) chmodSync(join(from, folder), 0o750)
    return from
  }
  const expectOpen = (to: string): void => {
    for (const [path, mode] of Object.entries({ '': 0o755, bin: 0o755, 'bin/postgres': 0o755, 'share/data': 0o644 }))
      expect([path, statSync(join(to, path)).mode & 0o777]).toEqual([path, mode])
    expect(readFileSync(join(to, 'bin/postgres'), 'utf8')).toBe('program')
    expect(readFileSync(join(to, 'share/data'), 'utf8')).toBe('data')
  }
  /** What can have happened to a copy since it was made. */
  const DAMAGES: Readonly<Record<string, (copy: string) => void>> = {
    'no damage': () => undefined,
    'a restrictive umask': (copy) => {
      for (const path of ['share/data', 'share', 'bin/postgres', 'bin', '']) chmodSync(join(copy, path), 0o700)
    },
    'a missing file': (copy) => rmSync(join(copy, 'share/data')),
    'a missing folder': (copy) => rmSync(join(copy, 'share'), { recursive: true }),
    'a truncated file': (copy) => writeFileSync(join(copy, 'bin/postgres'), 'pro'),
    'a file of an earlier release': (copy) => writeFileSync(join(copy, 'bin/postgres'), 'another program'),
  }

  test.each(Object.keys(DAMAGES))('every account can read and execute the copy after %s, under any umask', (damage) => {
    const from = original()
    const to = join(newFolder(), 'copy')
    const before = process.umask(0o027)
    try {
      copyWorldReadable(from, to)
      expectOpen(to)
      DAMAGES[damage]!(to)
      copyWorldReadable(from, to)
    } finally {
      process.umask(before)
    }
    expectOpen(to)
  })

  test('the partial copy of a process that was killed is removed', () => {
    const from = original()
    const to = join(newFolder(), 'copy')
    mkdirSync(`${to}.999999999`)
    writeFileSync(join(`${to}.999999999`, 'half'), '')
    copyWorldReadable(from, to)
    expect(existsSync(`${to}.999999999`)).toBe(false)
  })
})
