import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { App } from './app.ts'
import type { Config } from './config.ts'
import type { Log } from './kernel/log.ts'

/** Below the data folder: the secret by which the next admin is made. */
const SECRET_FILE = 'admin-enrolment-secret'

/**
 * What a person must read at the start about who can administer: nothing where somebody can. The secret of an open
 * enrolment goes into a file that its owner alone can read, and never into the text.
 */
export async function administrationNotice(app: App, config: Config, log: Log): Promise<string | undefined> {
  const found = await app.administration()
  if (found.kind === 'ADMINISTERED') return undefined
  if (found.kind === 'NOBODY') {
    log.warn('admin.missing')
    return `Nobody can administer this gateway: no client is ACTIVE, holds clients:manage and can use it.
Whoever reaches its database or its data folder makes a new admin (docs/OPERATE.md, "Nobody can administer"):

  npx guichet admin recover
`
  }
  const until = `until ${found.expiresAt.toISOString()}`
  if (found.secret === undefined)
    return `An enrolment of an admin is open ${until}; its secret is where it was opened, and not known here.
Was it lost, npx guichet admin recover opens another in its place.
`
  const command = `npx guichet admin bootstrap --gateway ${config.issuer}`
  if (config.bootstrapSecret !== undefined)
    return `Nobody can administer this gateway yet. Whoever knows GUICHET_BOOTSTRAP_SECRET makes the first admin, once, ${until}:

  ${command}
`
  const file = writeSecret(config.dataDir, found.secret)
  return `Nobody can administer this gateway yet. Whoever can read the file makes the first admin, once, ${until}:

  ${command} --secret-file ${quoted(file)}
`
}

/** Writes the secret so that its owner alone can read it, at no moment half; returns the file. */
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

/** As a shell takes it for one word. */
export const quoted = (path: string): string => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`)
