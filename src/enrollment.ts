import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { App } from './app.ts'
import type { Config } from './config.ts'
import type { Log } from './kernel/log.ts'

/** The file in the data folder with the secret for the next enrollment of an admin. */
const SECRET_FILE = 'admin-enrollment-secret'

/**
 * The notice to print at the start if nobody can administer the gateway or an enrollment is open; undefined otherwise. The secret
 * of an enrollment is written to a file that only its owner can read, never into the notice.
 */
export async function administrationNotice(app: App, config: Config, log: Log): Promise<string | undefined> {
  const administration = await app.administration()
  if (administration.kind === 'ADMINISTERED') return undefined
  if (administration.kind === 'NOBODY') {
    log.warn('admin.missing')
    return `Nobody can administer this gateway: no ACTIVE client has clients:manage and a usable key.
Anybody with access to its database or its data folder can make a new admin (docs/OPERATE.md, "No admin is left"):

  npx guichet admin recover
`
  }
  const until = `until ${administration.expiresAt.toISOString()}`
  if (administration.secret === undefined)
    return `An enrollment of an admin is open ${until}; its secret is on the machine where it was opened.
If the secret is lost, run npx guichet admin recover: it opens a new enrollment in its place.
`
  const command = `npx guichet admin bootstrap --gateway ${config.issuer}`
  if (config.bootstrapSecret !== undefined)
    return `Nobody can administer this gateway yet. With GUICHET_BOOTSTRAP_SECRET, make the first admin, once, ${until}:

  ${command}
`
  const file = writeSecret(config.dataDir, administration.secret)
  return `Nobody can administer this gateway yet. With the secret in this file, make the first admin, once, ${until}:

  ${command} --secret-file ${quoted(file)}
`
}

/** Writes the secret atomically to a file that only its owner can read; returns the path. */
export function writeSecret(dataDir: string, secret: string): string {
  mkdirSync(dataDir, { recursive: true, mode: 0o711 })
  const file = join(dataDir, SECRET_FILE)
  const draft = `${file}.${process.pid}`
  rmSync(draft, { force: true })
  writeFileSync(draft, secret, { mode: 0o600, flag: 'wx' })
  chmodSync(draft, 0o600)
  renameSync(draft, file)
  return file
}

/** Quotes a path as one word for a shell. */
export const quoted = (path: string): string => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`)
