import { accessSync, chmodSync, constants, existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Creates the folder and its missing parents with exactly this mode, regardless of the umask. Existing folders are left
 * unchanged. Throws the system's error if a folder cannot be created.
 */
export function createDirectory(path: string, mode: number): void {
  // Not `recursive`: below /proc and similar, where nothing can be created, that loops forever.
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isDirectory()) return
  if (!found && path !== dirname(path)) createDirectory(dirname(path), mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    // Another process may have created it meanwhile.
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) throw error
    return
  }
  chmodSync(path, mode)
}

/** Creates the folder with `mode` if it is missing. Returns why it cannot be used, or `undefined` if it can. */
export function findDirectoryFault(path: string, mode: number): string | undefined {
  try {
    createDirectory(path, mode)
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
    return undefined
  } catch (error) {
    const code = String((error as { code?: unknown }).code)
    if (code === 'EEXIST' && !existsSync(path)) return NO_USABLE_PARENT
    return DIRECTORY_FAULTS[code] ?? `cannot be used (${code})`
  }
}

const NO_USABLE_PARENT = 'is below a path that is not a folder or in which no folder can be created'
const DIRECTORY_FAULTS: Readonly<Record<string, string>> = {
  ENOENT: NO_USABLE_PARENT,
  ENOTDIR: NO_USABLE_PARENT,
  EEXIST: 'is a file but must be a folder',
  EACCES: 'belongs to another account, which does not let this one write to it',
  EPERM: 'belongs to another account, which does not let this one write to it',
  EROFS: 'is on a read-only disk',
  ENOSPC: 'is on a full disk',
  EDQUOT: 'is on a disk where this account has used up its quota',
  ELOOP: 'contains a loop of symbolic links',
  ENAMETOOLONG: 'is too long',
}
