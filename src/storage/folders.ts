import { chmodSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Creates the folder and those above it that are missing, each with exactly this mode: the process's umask would take
 * from it. A folder that exists stays as it is.
 */
export function makeFolder(path: string, mode: number): void {
  const first = mkdirSync(path, { recursive: true, mode })
  if (first === undefined) return
  for (let folder = path; ; folder = dirname(folder)) {
    chmodSync(folder, mode)
    if (folder === first || folder === dirname(folder)) return
  }
}
