import { execFile } from 'node:child_process'
import { join } from 'node:path'
import type { TestGateway } from './gateway.ts'

/** The project's folder. */
export const root = join(import.meta.dirname, '../..')

/** How a command ended, and what it printed. */
export interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** The command line as an operator of a gateway uses it, in the project's folder. `gateway` is read at each call. */
export function commandLineOf(gateway: () => Pick<TestGateway, 'issuer' | 'dataDir'>) {
  /** Runs a shell line, as the documents print it. */
  const shell = (line: string): Promise<Ended> =>
    new Promise((resolve) => {
      const env = {
        ...process.env,
        ISSUER: gateway().issuer,
        GUICHET_DATA_DIR: gateway().dataDir,
        PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`,
      }
      execFile('/bin/sh', ['-c', line], { cwd: root, env }, (error, out, err) =>
        resolve({ code: error ? Number(error.code) : 0, out, err }),
      )
    })
  return { shell, guichet: (words: string): Promise<Ended> => shell(`node src/entrypoints/cli/main.ts ${words}`) }
}
