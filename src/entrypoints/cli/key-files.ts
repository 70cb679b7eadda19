import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CommandError } from './errors.ts'
import type { ClientFile } from './oauth-client.ts'

/** Where the sandbox banks and the sandbox platform of a data folder are. */
export interface SandboxAddresses {
  /** URL of each bank, by its ID. */
  readonly banks: Readonly<Record<string, string>>
  readonly platform: string
  /** Origin of the gateway that they belong to. */
  readonly gateway?: string
}

/** A client's ID and private key, by its name in the data folder or by the path of a file. Throws `CommandError`. */
export function readClientFile({ dataDir }: { readonly dataDir: string }, name: string): ClientFile {
  const path = keyFilePath(dataDir, name)
  if (path === undefined || !existsSync(path))
    throw new CommandError(`there is no key of a client ${name} in ${dataDir}: name its key file with --as <path>.json`)
  return readJsonFile(path) as ClientFile
}

/** Where the key of `name` would be: a path ends with .json, a plain name is a client of the data folder. */
export function keyFilePath(dataDir: string, name: string): string | undefined {
  if (name.endsWith('.json')) return name
  return /^[\w-]+$/.test(name) ? join(dataDir, 'clients', `${name}.json`) : undefined
}

/** The addresses that a sandbox gateway wrote into its data folder; undefined if none has run there. */
export function readSandboxFile(dataDir: string): SandboxAddresses | undefined {
  const path = join(dataDir, 'sandbox.json')
  return existsSync(path) ? (readJsonFile(path) as SandboxAddresses) : undefined
}

/** Reads a JSON file. Throws `CommandError`, which names the file and nothing in it. */
export function readJsonFile(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    throw new CommandError(`${path} ${code === undefined ? 'is not JSON' : `cannot be read (${code})`}`)
  }
}
