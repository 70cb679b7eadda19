import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inject } from 'vitest'
import type { SandboxBankId } from '../../src/sandbox/personas.ts'
import { freePort, isFree } from './ports.ts'

/** The ports of a gateway, its sandbox banks and its sandbox platform. Its clients and connectors are registered with them. */
export interface SeededPorts {
  readonly gateway: number
  readonly sandbox: Readonly<Record<SandboxBankId | 'platform', number>>
}

/** A gateway with seeded clients and certified banks, stopped, from which others start: seeding takes a second of CPU time. */
export interface Seeded {
  /** The database to clone. */
  readonly template: string
  readonly ports: SeededPorts
  /** Copies its keys, client files and the state of its banks. */
  copyTo(dataDir: string): void
}

/** Two gateways on the same ports exclude each other. */
let isInUse = false

const workerId = (): string => process.env['VITEST_POOL_ID'] ?? '0'
const folder = (): string => join(inject('seededDir'), workerId())

/**
 * Takes this worker's seeded gateway, created by `create` at the first call of a run, until `release`. Returns undefined if
 * this worker already runs one, or if its ports are not free.
 */
export async function takeSeeded(create: () => Promise<void>): Promise<Seeded | undefined> {
  if (isInUse) return undefined
  isInUse = true
  const portsFile = join(folder(), 'ports.json')
  if (!existsSync(portsFile)) await create()
  const ports = JSON.parse(readFileSync(portsFile, 'utf8')) as SeededPorts
  const free = await Promise.all([ports.gateway, ...Object.values(ports.sandbox)].map(isFree))
  if (!free.every(Boolean)) {
    isInUse = false
    return undefined
  }
  return {
    template: templateName(),
    ports,
    copyTo: (dataDir) => cpSync(join(folder(), 'data'), dataDir, { recursive: true }),
  }
}

export function releaseSeeded(): void {
  isInUse = false
}

/** The name of the database that this worker's gateways are cloned from. */
export const templateName = (): string => `${inject('template')}_seeded_${workerId()}`

/** Keeps the data folder of a stopped gateway for `takeSeeded`. */
export function keepSeeded(dataDir: string, ports: SeededPorts): void {
  mkdirSync(folder(), { recursive: true })
  cpSync(dataDir, join(folder(), 'data'), { recursive: true })
  writeFileSync(join(folder(), 'ports.json'), JSON.stringify(ports))
}

/** Free ports for a gateway and its sandbox. */
export async function newSeededPorts(banks: readonly SandboxBankId[]): Promise<SeededPorts> {
  const first = await freePort(banks.length + 2)
  const names = [...banks, 'platform'] as const
  return {
    gateway: first,
    sandbox: Object.fromEntries(names.map((name, index) => [name, first + 1 + index])) as SeededPorts['sandbox'],
  }
}
