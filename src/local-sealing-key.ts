import { existsSync, linkSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { ConfigError } from './config-error.ts'
import { systemRandomness } from './kernel/ids.ts'

/** A sealing key as text: 32 bytes in base64url. */
export const SEALING_KEY = /^[A-Za-z0-9_-]{43}$/

/** Reads the sandbox's sealing key from `dataDir`, or creates it on first use. Throws `ConfigError`. */
export function loadLocalSealingKey(dataDir: string): string {
  try {
    const key = readOrCreateKey(dataDir)
    if (SEALING_KEY.test(key)) return key
    throw new ConfigError([
      'GUICHET_DATA_DIR: its file sealing-key is damaged; restore the key that the data was sealed with',
    ])
  } catch (error) {
    if (error instanceof ConfigError) throw error
    const code = String((error as { code?: unknown }).code)
    throw new ConfigError([
      `GUICHET_DATA_DIR: its file sealing-key cannot be read or created (${code}); use a folder that this account owns, on a disk with free space`,
    ])
  }
}

function readOrCreateKey(dataDir: string): string {
  const file = resolve(dataDir, 'sealing-key')
  if (!existsSync(file)) {
    const temporaryFile = `${file}.${process.pid}`
    writeFileSync(temporaryFile, systemRandomness.bytes(32).toString('base64url'), { mode: 0o600 })
    try {
      // Atomic: if several processes start at once, the first key wins and none reads a partial file.
      linkSync(temporaryFile, file)
    } catch (error) {
      if (!existsSync(file)) throw error
    } finally {
      unlinkSync(temporaryFile)
    }
  }
  return readFileSync(file, 'utf8')
}
