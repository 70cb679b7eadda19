import { accessSync, chmodSync, constants, existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Creates the folder and those above it that are missing, each with exactly this mode: the process's umask would take
 * from it. A folder that exists stays as it is. Throws the system's error where one cannot be made.
 */
export function createDirectory(path: string, mode: number): void {
  // Not `recursive`: below /proc and its like, where nothing can be made, that tries for ever.
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isDirectory()) return
  if (!found && path !== dirname(path)) createDirectory(dirname(path), mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    // Another process was faster.
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) throw error
    return
  }
  chmodSync(path, mode)
}

/** Makes the folder with `mode` where there is none, and says in words why it cannot be used; nothing where it can. */
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

const NO_USABLE_PARENT = 'lies below something that is no folder, or in which none can be made'
const DIRECTORY_FAULTS: Readonly<Record<string, string>> = {
  ENOENT: NO_USABLE_PARENT,
  ENOTDIR: NO_USABLE_PARENT,
  EEXIST: 'is a file, and must be a folder',
  EACCES: 'belongs to another account, which does not let this one write to it',
  EPERM: 'belongs to another account, which does not let this one write to it',
  EROFS: 'is on a disk that is read-only',
  ENOSPC: 'is on a disk that is full',
  EDQUOT: 'is on a disk of which this account has used its share',
  ELOOP: 'has links that lead in a circle',
  ENAMETOOLONG: 'is too long a path',
}
