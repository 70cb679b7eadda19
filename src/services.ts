import type { Config } from './config.ts'
import { createEventCounters } from './entrypoints/metrics/index.ts'
import { SECOND_MS } from './kernel/clock.ts'
import { createMetrics } from './kernel/metrics.ts'
import type { World } from './kernel/world.ts'
import { consentHandlers, createAccounts } from './modules/accounts/index.ts'
import { createAlerts, onConsentEnded as onConsentOfAlertsEnded } from './modules/alerts/index.ts'
import { createBanks } from './modules/banks/index.ts'
import { createAdminEnrollment, createClients } from './modules/clients/index.ts'
import { createConsents, type ConsentHandlers } from './modules/consents/index.ts'
import { createDeliveries, generateEventKey } from './modules/deliveries/index.ts'
import { createAuditLog, createLedger } from './modules/ledger/index.ts'
import { createJobs } from './modules/jobs/index.ts'
import { createMail, createSmtpTransport } from './modules/mail/index.ts'
import { createOutbox } from './modules/outbox/index.ts'
import type { Database } from './storage/database.ts'
import { createIdempotency } from './storage/idempotency.ts'
import { createResealer } from './storage/reseal.ts'
import { createSeal } from './storage/seal.ts'
import { getOrCreateSharedSecret } from './storage/shared-secrets.ts'
import { createSignals } from './storage/signals.ts'

/** The modules and what they share. */
export type Services = Awaited<ReturnType<typeof createServices>>

/** Builds the modules in the order in which they depend on each other. Starts nothing. */
export async function createServices(config: Config, world: World, database: Database) {
  const { issuer } = config
  const bootstrapSeal = createSeal(config.sealingKeys)
  const seal = createSeal(
    config.sealingKeys,
    await getOrCreateSharedSecret(database, bootstrapSeal, 'digest-key', () =>
      Promise.resolve(bootstrapSeal.derivedDigestKey),
    ),
  )
  const metrics = createMetrics()
  database.onPoolWait((pool, waitMs) => metrics.databaseWaitDuration.observe({ pool }, waitMs / SECOND_MS))
  const { rejectedEvents, rateLimitedRequests } = createEventCounters(metrics, world)

  const resealer = createResealer(database, seal)
  const signals = createSignals(database)
  const idempotency = createIdempotency(database, world.clock)
  const shared = { database, world, seal, signals, idempotency, metrics, issuer }

  const eventKey = await getOrCreateSharedSecret(database, seal, 'event-signing-key', () =>
    Promise.resolve(generateEventKey(world.randomness)),
  )

  const outbox = createOutbox(shared)
  const jobs = createJobs({ ...shared, outbox })
  const ledger = createLedger(shared)
  const auditLog = createAuditLog(shared)
  const isBearerAllowed = config.profile === 'sandbox'
  const mailTransport = config.smtp && createSmtpTransport(config.smtp, new URL(issuer).hostname, world.log)
  const mail = createMail({ ...shared, mailTransport })
  const clients = createClients({ ...shared, ledger, mail, outbox, isBearerAllowed })
  const enrollment = createAdminEnrollment({ ...shared, ledger, isBearerAllowed })
  const banks = createBanks({ ...shared, clients, ledger, outbox })
  const handlers: ConsentHandlers = {
    ...consentHandlers,
    async onConsentEnded(...ended) {
      await consentHandlers.onConsentEnded(...ended)
      await onConsentOfAlertsEnded(...ended)
    },
  }
  const consents = createConsents({ ...shared, banks, ledger, outbox, handlers })
  const alerts = createAlerts({ ...shared, banks, consents, ledger, outbox, rejectedEvents })
  const deliveries = createDeliveries({ ...shared, eventKey, alerts, consents, clients, ledger, outbox })
  const accounts = createAccounts({ ...shared, alerts, banks, consents, ledger })
  return {
    ...shared,
    resealer,
    eventKey,
    rejectedEvents,
    rateLimitedRequests,
    outbox,
    jobs,
    ledger,
    auditLog,
    mail,
    clients,
    enrollment,
    banks,
    consents,
    alerts,
    deliveries,
    accounts,
  }
}
