import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemTimers } from '../src/kernel/clock.ts'
import { systemRandomness } from '../src/kernel/ids.ts'
import { startEmbeddedPostgres } from '../src/storage/embedded-postgres.ts'

/** Runs `use` with the URL of an empty PostgreSQL server, which exists only meanwhile. */
export async function withTemporaryPostgres<T>(use: (url: string) => Promise<T>): Promise<T> {
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-tool-'))
  try {
    const server = await startEmbeddedPostgres({
      dataDir,
      randomness: systemRandomness,
      timers: systemTimers,
      print: () => undefined,
    })
    try {
      return await use(server.url)
    } finally {
      await server.stop()
    }
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
}
