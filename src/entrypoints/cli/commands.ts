import type { Command } from './command.ts'
import { ADMIN_COMMANDS } from './commands/admin.ts'
import { ALERT_COMMANDS } from './commands/alerts.ts'
import { BANK_COMMANDS } from './commands/banks.ts'
import { CERTIFICATE_COMMANDS } from './commands/certificates.ts'
import { CERTIFICATION_COMMANDS } from './commands/certification.ts'
import { CLIENT_COMMANDS } from './commands/clients.ts'
import { completionCommand } from './commands/completion.ts'
import { CONNECTOR_COMMANDS } from './commands/connectors.ts'
import { CONSENT_COMMANDS } from './commands/consents.ts'
import { KEY_COMMANDS } from './commands/keys.ts'
import { LEDGER_COMMANDS } from './commands/ledger.ts'
import { ORGANIZATION_COMMANDS } from './commands/organizations.ts'
import { OUTAGE_COMMANDS } from './commands/outages.ts'
import { PLATFORM_COMMANDS } from './commands/platforms.ts'
import { QUERY_COMMANDS } from './commands/query.ts'
import { REGISTRATION_COMMANDS } from './commands/registration.ts'
import { SANDBOX_COMMANDS } from './commands/sandbox.ts'
import { WEBHOOK_COMMANDS } from './commands/webhooks.ts'
import { WORKER_COMMANDS } from './commands/worker.ts'

/** What each noun is about. */
export const NOUNS: Readonly<Record<string, string>> = {
  banks: 'the directory of banks',
  connectors: 'interfaces of banks: registration, certification, outages',
  consents: "sandbox customers' consents",
  alerts: 'alerts of sandbox customers, and their deliveries to platforms',
  webhooks: 'webhook endpoints of a platform',
  sandbox: 'the sandbox: tokens, faults, alerts, reset',
  organizations: 'organizations, which own clients',
  clients: 'OAuth clients',
  ledger: 'the audit log',
  keys: 'the sealing key',
  admin: 'the first admin, and recovery',
}

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  ...QUERY_COMMANDS,
  ...BANK_COMMANDS,
  ...CONSENT_COMMANDS,
  ...ALERT_COMMANDS,
  ...WEBHOOK_COMMANDS,
  ...SANDBOX_COMMANDS,
  ...REGISTRATION_COMMANDS,
  ...CONNECTOR_COMMANDS,
  ...CERTIFICATE_COMMANDS,
  ...PLATFORM_COMMANDS,
  ...CERTIFICATION_COMMANDS,
  ...OUTAGE_COMMANDS,
  ...ORGANIZATION_COMMANDS,
  ...CLIENT_COMMANDS,
  ...LEDGER_COMMANDS,
  ...KEY_COMMANDS,
  ...ADMIN_COMMANDS,
  ...WORKER_COMMANDS,
  completionCommand(NOUNS, () => COMMANDS),
]
