import type { Server } from 'node:http'
import { join } from 'node:path'
import { SandboxBank } from './bank.ts'
import { berlinGroupRoutes } from './berlin-group-api.ts'
import { cdrRoutes } from './cdr-api.ts'
import { controlRoutes } from './control.ts'
import { withFaults } from './faults.ts'
import { fdxRoutes } from './fdx-api.ts'
import { keptEventRoutes } from './kept-events.ts'
import { obieRoutes } from './obie-api.ts'
import { SANDBOX_BANKS, withCrowd, type SandboxBankFacts, type SandboxBankId } from './people.ts'
import { platformRoutes } from './platform.ts'
import { serve, type Routes } from './server.ts'

export interface SandboxOptions {
  readonly host: string
  /** The first of consecutive ports, or 0 for any free ones. */
  readonly port?: number
  /** The port of each bank and of the platform, instead. */
  readonly ports?: Readonly<Partial<Record<SandboxBankId | 'platform', number>>>
  /** The origin by which others reach it where that is not the listening address: scheme and host without a port. */
  readonly publicHost?: string | undefined
  readonly stateDir: string
  readonly seed: string
  /** Under which origin a bank is reached where that is a line in front of it. */
  readonly origins?: Readonly<Partial<Record<SandboxBankId, string>>> | undefined
  /** Whether banks keep their events for who asks, where their standard has that; they do where nothing is said. */
  readonly keepsEvents?: boolean | undefined
  /** So many more people, with twenty accounts each, for measuring. */
  readonly crowd?: number | undefined
  /** Put into everything purchase-like, so that a leak can be recognised. */
  readonly canary: string | undefined
}

/** Where each pretend bank and the pretend platform listen. */
export interface SandboxAddresses {
  readonly banks: Readonly<Record<SandboxBankId, string>>
  readonly platform: string
}

const APIS: Readonly<Record<SandboxBankFacts['standard'], (bank: SandboxBank) => { api: Routes; oauth: Routes }>> = {
  OBIE: obieRoutes,
  BERLIN_GROUP: berlinGroupRoutes,
  FDX: fdxRoutes,
  CDR: cdrRoutes,
}

/** Starts the pretend banks and the pretend platform, each on its own port. */
export async function runSandbox(
  options: SandboxOptions,
): Promise<{ addresses: SandboxAddresses; stop: () => Promise<void> }> {
  const servers: Server[] = []
  const first = options.port ?? 0
  const open = async (name: SandboxBankId | 'platform', routes: () => Routes): Promise<string> => {
    const given = options.ports?.[name] ?? (first === 0 ? 0 : first + servers.length)
    const server = await serve(routes, options.host, given)
    servers.push(server)
    const address = server.address()
    const port = typeof address === 'object' && address ? address.port : 0
    return `${options.publicHost ?? `http://${options.host}`}:${port}`
  }

  const banks: Partial<Record<SandboxBankId, string>> = {}
  for (const facts of SANDBOX_BANKS.map((one) => withCrowd(one, options.crowd ?? 0))) {
    const stateFile = join(options.stateDir, `${facts.id}.json`)
    const bank = await SandboxBank.open({
      facts,
      stateFile,
      seed: options.seed,
      canary: options.canary,
      now: () => new Date(),
      keepsEvents: options.keepsEvents ?? true,
    })
    const { api, oauth } = APIS[facts.standard](bank)
    const kept = bank.keepsEvents ? keptEventRoutes(bank) : {}
    const routes = { ...withFaults(bank, api), ...oauth, ...kept, ...controlRoutes(bank) }
    const at = await open(facts.id, () => routes)
    bank.origin = options.origins?.[facts.id] ?? at
    banks[facts.id] = at
  }
  const pretendPlatform = platformRoutes()
  const platform = await open('platform', () => pretendPlatform)

  return {
    addresses: { banks: banks as Record<SandboxBankId, string>, platform },
    stop: async () => {
      await Promise.all(
        servers.map(
          (server) =>
            new Promise<void>((resolve) => {
              server.close(() => resolve())
              server.closeAllConnections()
            }),
        ),
      )
    },
  }
}
