import type { Server } from 'node:http'
import { join } from 'node:path'
import { alertResponseRoutes } from './alert-responses.ts'
import { appRoutes } from './app.ts'
import { SandboxBank } from './bank.ts'
import { berlinGroupRoutes } from './berlin-group-api.ts'
import { cdrRoutes } from './cdr-api.ts'
import { controlRoutes } from './control.ts'
import { withFaults } from './fault-injection.ts'
import { fdxRoutes } from './fdx-api.ts'
import { eventPollingRoutes } from './event-polling.ts'
import { obieRoutes } from './obie-api.ts'
import { SANDBOX_BANKS, withExtraCustomers, type SandboxBankConfig, type SandboxBankId } from './personas.ts'
import { platformRoutes } from './platform.ts'
import { serve, type Routes } from './server.ts'
import { sharedSignalsRoutes } from './shared-signals.ts'

/** Options of the sandbox. */
export interface SandboxOptions {
  readonly host: string
  /** The first of consecutive ports, or 0 for any free ones. */
  readonly port?: number
  /** Overrides the port of single banks or of the platform. */
  readonly ports?: Readonly<Partial<Record<SandboxBankId | 'platform', number>>>
  /** Scheme and host without a port, if clients do not use the listening address. */
  readonly publicHost?: string | undefined
  readonly stateDir: string
  readonly seed: string
  /** The origin of a bank behind a proxy. */
  readonly origins?: Readonly<Partial<Record<SandboxBankId, string>>> | undefined
  /** Whether banks queue their events for polling, if they support that; true by default. */
  readonly queuesEvents?: boolean | undefined
  /** The number of extra customers, with twenty accounts each, for benchmarks. */
  readonly extraCustomerCount?: number | undefined
  /** Text that all purchase data contains, so that any leak can be recognised. */
  readonly canary: string | undefined
}

/** The origin of each sandbox bank and of the sandbox platform. */
export interface SandboxAddresses {
  readonly banks: Readonly<Record<SandboxBankId, string>>
  readonly platform: string
}

const STANDARD_ROUTES: Readonly<
  Record<SandboxBankConfig['standard'], (bank: SandboxBank) => { api: Routes; oauth: Routes }>
> = {
  OBIE: obieRoutes,
  BERLIN_GROUP: berlinGroupRoutes,
  FDX: fdxRoutes,
  CDR: cdrRoutes,
}

/** Where the gateway fetches queued events. */
const routesOfQueue = (bank: SandboxBank): Routes =>
  bank.config.usesSharedSignals ? sharedSignalsRoutes(bank) : eventPollingRoutes(bank)

/** Starts the sandbox banks and the sandbox platform, each on its own port. */
export async function runSandbox(
  options: SandboxOptions,
): Promise<{ addresses: SandboxAddresses; stop: () => Promise<void> }> {
  const servers: Server[] = []
  const firstPort = options.port ?? 0
  const startServer = async (name: SandboxBankId | 'platform', routes: () => Routes): Promise<string> => {
    const requestedPort = options.ports?.[name] ?? (firstPort === 0 ? 0 : firstPort + servers.length)
    const server = await serve(routes, options.host, requestedPort)
    servers.push(server)
    const address = server.address()
    const port = typeof address === 'object' && address ? address.port : 0
    return `${options.publicHost ?? `http://${options.host}`}:${port}`
  }

  const banks: Partial<Record<SandboxBankId, string>> = {}
  for (const config of SANDBOX_BANKS.map((config) => withExtraCustomers(config, options.extraCustomerCount ?? 0))) {
    const stateFile = join(options.stateDir, `${config.id}.json`)
    const bank = await SandboxBank.open({
      config,
      stateFile,
      seed: options.seed,
      canary: options.canary,
      now: () => new Date(),
      queuesEvents: options.queuesEvents ?? true,
    })
    const { api, oauth } = STANDARD_ROUTES[config.standard](bank)
    const eventRoutes = bank.queuesEvents ? routesOfQueue(bank) : {}
    const deskRoutes = { ...alertResponseRoutes(bank), ...appRoutes(bank) }
    const routes = { ...withFaults(bank, api), ...oauth, ...eventRoutes, ...deskRoutes, ...controlRoutes(bank) }
    const origin = await startServer(config.id, () => routes)
    bank.origin = options.origins?.[config.id] ?? origin
    banks[config.id] = origin
  }
  const sandboxPlatformRoutes = platformRoutes()
  const platform = await startServer('platform', () => sandboxPlatformRoutes)

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
