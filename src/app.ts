import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError, DEFAULT_METRICS_PORT, type Config } from './config.ts'
import { adminRoutes } from './entrypoints/admin/index.ts'
import { bankEventRoutes } from './entrypoints/bank-events/index.ts'
import { consoleRoutes, type Life } from './entrypoints/console/index.ts'
import { explorerRoutes } from './entrypoints/explorer/index.ts'
import { createGraphql } from './entrypoints/graphql/index.ts'
import { createListener, type Listener } from './entrypoints/listener.ts'
import { metricsRoutes } from './entrypoints/metrics/index.ts'
import { clientMetadata, createOauth, newOauthSecrets, oauthStore } from './entrypoints/oauth/index.ts'
import { sandboxControlRoutes } from './entrypoints/sandbox-control/index.ts'
import { createWorker } from './entrypoints/worker.ts'
import { localOrigin } from './kernel/addresses.ts'
import { createTrustedProxies } from './kernel/client-address.ts'
import { CLOCK_TOLERANCE_S, DAY_MS, later, SECOND_MS } from './kernel/clock.ts'
import { createAccessLimits, type LimitedEntrypoint } from './kernel/access-limits.ts'
import { stopInSteps, type StopStep } from './kernel/stop.ts'
import { createTally } from './kernel/tally.ts'
import type { World } from './kernel/world.ts'
import { createAccounts } from './modules/accounts/index.ts'
import { createAlerts } from './modules/alerts/index.ts'
import { createBanks } from './modules/banks/index.ts'
import { createAdminEnrolment, createClients } from './modules/clients/index.ts'
import { createConsents } from './modules/consents/index.ts'
import { createDeliveries } from './modules/deliveries/index.ts'
import { createAuditLog, createLedger } from './modules/ledger/index.ts'
import { createOutbox } from './modules/outbox/index.ts'
import { createClockWatch } from './storage/clock-watch.ts'
import type { Database } from './storage/database.ts'
import { createOnce } from './storage/once.ts'
import { createReseal } from './storage/reseal.ts'
import { createSeal } from './storage/seal.ts'
import { sharedSecret } from './storage/shared-secrets.ts'

/** How long requests under way may take to end when the process stops. */
const REQUEST_GRACE_MS = 5_000

/** Every dependency in order, from the database up to what listens. Reads downwards. */
export async function createApp(config: Config, world: World, database: Database) {
  const { issuer } = config
  const opener = createSeal(config.sealingKeys)
  const seal = createSeal(
    config.sealingKeys,
    await sharedSecret(database, opener, 'digest-key', () => Promise.resolve(opener.derivedDigestKey)),
  )
  const reseal = createReseal(database, seal)

  const refusedEvents = createTally(world.log, 'events.refused')
  const limitedRequests = createTally(world.log, 'requests.limited')
  const limitsOf = (entrypoint: LimitedEntrypoint) => createAccessLimits(entrypoint, world.clock, limitedRequests)

  const ledger = createLedger({ database, world })
  const auditLog = createAuditLog({ database, seal })
  const outbox = createOutbox({ database, world })
  const once = createOnce(database, world.clock)
  const bearerAllowed = config.profile === 'sandbox'
  const clients = createClients({ database, world, ledger, outbox, once, bearerAllowed })
  const enrolment = createAdminEnrolment({ database, world, ledger, outbox, bearerAllowed })
  const banks = createBanks({ database, world, seal, ledger, outbox, once, issuer })
  const consents = createConsents({ database, world, seal, banks, ledger, outbox })
  const deliveries = createDeliveries({ database, world, seal, clients, consents, ledger, once })
  const alerts = createAlerts({ database, world, seal, banks, consents, ledger, outbox, refusedEvents })
  const accounts = createAccounts({ database, world, seal, banks, consents, ledger, outbox })

  const secrets = await sharedSecret(database, seal, 'oauth', () => newOauthSecrets(world.randomness))
  const store = oauthStore({
    database,
    clock: world.clock,
    outbox,
    consents,
    clientOf: (id) => clientMetadata(clients, id),
  })
  const oauth = createOauth({
    issuer,
    secrets,
    store,
    seal,
    world,
    banks,
    clients,
    consents,
    ledger,
    outbox,
    limits: limitsOf('oauth'),
    tokenLimits: limitsOf('tokens'),
  })
  const graphql = createGraphql({
    typeDefs: readFileSync(join(import.meta.dirname, '../schema.graphql'), 'utf8'),
    services: { accounts, alerts, auditLog, banks, clients, consents, deliveries },
    ledger,
    outbox,
    world,
    issuer,
    maxUnderWay: config.maxUnderWay,
    authenticate: oauth.authenticate,
    isOpen: oauth.isOpen,
    presenceOf: oauth.presenceOf,
  })
  let life: Life = 'STARTING'
  const console = consoleRoutes({ issuer, ping: () => database.ping(), life: () => life })
  const explorer = explorerRoutes({
    sandboxClient:
      config.sandbox === 'OFF' ? undefined : () => readFileSync(join(config.dataDir, 'clients/explorer.json'), 'utf8'),
  })
  const sandboxControl =
    config.profile === 'sandbox' && config.sandbox !== 'OFF'
      ? sandboxControlRoutes({ authenticate: oauth.authenticate, accounts })
      : []
  const gateway = config.role !== 'worker'
  const isTrustedProxy = createTrustedProxies(config.trustedProxies)
  const listener = createListener({
    routes: gateway
      ? [
          ...graphql.routes,
          ...oauth.routes,
          ...bankEventRoutes({ alerts, world, issuer, limits: limitsOf('events'), refusedEvents }),
          ...adminRoutes({ enrolment, quotas: clients.quotas, world, issuer }),
          ...explorer,
          ...sandboxControl,
          ...console,
        ]
      : console,
    world,
    issuer,
    isTrustedProxy,
    keepAliveMs: config.keepAliveMs,
  })
  const clockWatch = createClockWatch({ database, world, toleranceMs: CLOCK_TOLERANCE_S * SECOND_MS })
  const metricsListener = createListener({
    routes: metricsRoutes({
      issuer,
      clockOffsetMs: () => clockWatch.offsetMs(),
      outbox,
      banks,
      sealedBefore: () => reseal.left(),
      refusedEvents,
      limitedRequests,
    }),
    world,
    issuer: localOrigin(config.metricsHost, config.metricsPort ?? DEFAULT_METRICS_PORT),
    servesAnyHost: true,
    isTrustedProxy,
    keepAliveMs: config.keepAliveMs,
  })
  let metricsUrl: string | undefined
  const worker = createWorker({
    world,
    outbox,
    alerts,
    consents,
    deliveries,
    banks,
    nightlyTrials: config.nightlyTrials,
    reseal,
    forgetGrant: (id) => store.forgetGrant(id),
    endSessions: (customerId) => store.endSessions(customerId),
    sweep: [
      () => store.sweep(),
      () => clients.quotas.sweep(),
      () => clients.usage.sweep(),
      () => accounts.forgetDisclosures(),
      () => accounts.forgetClaims(),
      () => banks.health.sweep(),
      () => consents.forgetSignIns(),
      () => once.sweep(later(world.clock.now(), -DAY_MS)),
    ],
  })

  return {
    services: { clients, banks, consents, deliveries, alerts, accounts, ledger, outbox },
    /** Moves what is sealed with older keys to the newest. */
    reseal,
    /** A secret that all processes share, made at the first asking. */
    secret: <T>(name: string, make: () => Promise<T>): Promise<T> => sharedSecret(database, seal, name, make),
    /** Who can administer; opens the enrolment of the first admin where there is no client at all. */
    administration: () =>
      enrolment.administration((salt) => config.bootstrapSecret ?? seal.digest('admin-enrolment', salt)),
    /** Where the metrics are read on this machine, once started. */
    metricsUrl: () => metricsUrl,
    issuer,
    /** Where the explorer's customers come back to. */
    explorerUri: `${issuer}/explorer`,
    /** The two addresses that a bank must know of the gateway. */
    bankFacing: (connectorId: string) => ({
      redirectUri: `${issuer}/bank/callback`,
      eventsUrl: `${issuer}/bank-events/${connectorId}`,
    }),
    /** Starts listening and does what must be done before it counts as ready; returns the port. */
    async start(prepare: () => Promise<void> = () => Promise.resolve()): Promise<number> {
      await outbox.start()
      refusedEvents.start()
      limitedRequests.start()
      clockWatch.start()
      await reseal.start()
      if (gateway) await graphql.start()
      if (config.role !== 'gateway') await worker.start()
      metricsUrl = `${localOrigin(config.metricsHost, await listenForMetrics(metricsListener, config))}/metrics`
      const port = await listener.listen(config.port, config.host)
      await prepare()
      life = 'READY'
      return port
    },
    /**
     * Lets what is under way finish, then stops all of it. Ends within the bounds of its steps, together 20 s, whatever
     * hangs. Returns false if something had to be abandoned or failed.
     */
    stop(): Promise<boolean> {
      life = 'STOPPING'
      refusedEvents.stop()
      limitedRequests.stop()
      clockWatch.stop()
      const step = (name: string, withinMs: number, run: StopStep['run']): StopStep => ({ name, withinMs, run })
      return stopInSteps(
        [
          [
            step('listener', 6_000, () => listener.close(REQUEST_GRACE_MS)),
            step('metrics', 6_000, () => metricsListener.close(REQUEST_GRACE_MS)),
            ...(gateway ? [step('graphql', 6_000, () => graphql.stop())] : []),
            ...(config.role === 'gateway' ? [] : [step('worker', 6_000, () => worker.stop())]),
          ],
          [step('accounts', 12_000, () => accounts.settled()), step('consents', 12_000, () => consents.settled())],
          [
            step('health', 2_000, () => banks.health.flush()),
            step('usage', 2_000, () => clients.usage.flush()),
            step('outbox', 2_000, () => outbox.stop()),
            // Attempts that this cuts off let go of their deliveries.
            step('http', 2_000, () => world.http.close().then(() => deliveries.settled())),
          ],
        ],
        world.log,
      )
    },
  }
}
/** A gateway that was put together. */
export type App = Awaited<ReturnType<typeof createApp>>

/** Two sandboxes on one machine both start; in production, where somebody collects the metrics, a taken port is a mistake. */
async function listenForMetrics(listener: Listener, config: Config): Promise<number> {
  const { metricsHost: host, metricsPort, profile } = config
  const port = metricsPort ?? DEFAULT_METRICS_PORT
  try {
    return await listener.listen(port, host)
  } catch (error) {
    const code: unknown = error instanceof Error && Reflect.get(error, 'code')
    if (code !== 'EADDRINUSE' && code !== 'EACCES' && code !== 'EADDRNOTAVAIL') throw error
    if (code === 'EADDRINUSE' && metricsPort === undefined && profile === 'sandbox') return listener.listen(0, host)
    throw new ConfigError([
      code === 'EADDRNOTAVAIL'
        ? 'METRICS_HOST: is no address of this machine'
        : `METRICS_PORT: ${port} is in use or not allowed; name another one, or 0 for any that is free`,
    ])
  }
}
