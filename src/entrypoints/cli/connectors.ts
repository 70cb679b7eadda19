import { readFileSync } from 'node:fs'
import {
  requestTokenAs,
  queryField,
  sandboxBankUrl,
  mutate,
  requireOption,
  requestClientToken,
  toCommandError,
  parseTime,
  type Command,
  type CommandContext,
} from './command.ts'
import type { Token } from './oauth-client.ts'
import { CommandError } from './errors.ts'
import { openSandbox } from './sandbox.ts'

const CONNECTOR_FIELDS = 'id status newConsents standard bank { id name } eventsUrl redirectUri publicKeys certificate'
const CERTIFICATION_FIELDS = 'kind at finishedAt passed checks { name passed reason failureCause tookMs } statement'
const POLL_MS = 250
/** A run takes seconds; one that takes minutes is not worth waiting for. */
const CERTIFICATION_TIMEOUT_MS = 180_000

interface CertificationReport {
  finishedAt: string | null
  passed: boolean
  checks: { name: string; passed: boolean; reason: string | null; failureCause: string | null; tookMs: number | null }[]
}

/** The commands of bank partners, and of the admins who put their banks live. */
export const CONNECTOR_COMMANDS: Readonly<Record<string, Command>> = {
  'connectors list': {
    usage: 'connectors list [--as <client>]',
    description: 'the connectors of a partner, or all of them as admin',
    run: async (context, _args, { as = 'admin' }) =>
      queryField(
        context,
        await requestTokenAs(context, as, 'banks:manage', 'connectors:read'),
        `{ connectors { ${CONNECTOR_FIELDS} } }`,
        'connectors',
      ),
  },
  'connectors register': {
    usage: 'connectors register --as <partner client> (--file <registration.json> | --bank <sandbox bank>) [--dry-run]',
    description:
      'registers a bank as a draft, or only says what is wrong with it; a sandbox bank is also told of the gateway',
    async run(context, _args, { as, file, bank, ...options }) {
      const token = await requestClientToken(context, requireOption(as, '--as'), 'connectors:manage connectors:read')
      const bankUrl =
        bank === undefined ? undefined : sandboxBankUrl(openSandbox(context.issuer, context.dataDir), bank)
      const text = bankUrl
        ? await (await fetch(`${bankUrl}/sandbox/registration`)).text()
        : readFileSync(requireOption(file, '--file or --bank'), 'utf8')
      const input = parseRegistrationFile(text)
      if (options['dry-run']) return previewRegistration(context, token, input)
      const query = `mutation ($input: RegisterConnectorInput!) { registerConnector(input: $input) { connector { ${CONNECTOR_FIELDS} } userErrors { code path message } } }`
      const connector = await mutate(context, token, query, { input }, 'registerConnector', 'connector')
      if (bankUrl) {
        const { publicKeys, redirectUri, eventsUrl } = connector as {
          publicKeys: object
          redirectUri: string
          eventsUrl: string
        }
        await fetch(`${bankUrl}/sandbox/clients/${input.registration.clientId}`, {
          method: 'PUT',
          body: JSON.stringify({ ...publicKeys, redirectUri, eventsUrl }),
        })
      }
      return connector
    },
  },
  'connectors show': {
    usage: 'connectors show <connector id> [--as <partner client>]',
    description: 'how it is: certification runs, health, problems in its answers, notices and history',
    async run(context, [id], { as = 'admin' }) {
      const token = await requestTokenAs(context, as, 'banks:manage', 'connectors:read')
      const fields = `${CONNECTOR_FIELDS} health { operation status calls failures meanMs failureCauses { cause description count } } problems { problem count description } notices { kind at operation } history { kind at clientId } certifications { ${CERTIFICATION_FIELDS} }`
      return findConnector(context, token, requireOption(id, 'a connector id'), fields)
    },
  },
  'connectors introduce': {
    usage: 'connectors introduce <connector id> --as <partner client> --file <software statement>',
    description: 'has the gateway register itself at the bank of a draft, where the standard has that',
    async run(context, [id], { as, file }) {
      const token = await requestClientToken(context, requireOption(as, '--as'), 'connectors:manage connectors:read')
      const input = {
        id: requireOption(id, 'a connector id'),
        softwareStatement: readFileSync(requireOption(file, '--file'), 'utf8').trim(),
      }
      const query =
        'mutation ($input: IntroduceConnectorInput!) { introduceConnector(input: $input) { connector { id status clientId } userErrors { code path message } } }'
      return mutate(context, token, query, { input }, 'introduceConnector', 'connector')
    },
  },
  'connectors certify': {
    usage: 'connectors certify <connector id> --as <partner client>',
    description:
      'tries the bank from its metadata to the end of a consent, and shows each check; one that passes is CERTIFIED',
    async run(context, [connectorId], { as, json }) {
      const id = requireOption(connectorId, 'a connector id')
      const token = await requestClientToken(context, requireOption(as, '--as'), 'connectors:manage connectors:read')
      const query =
        'mutation ($input: ConnectorInput!) { certifyConnector(input: $input) { connector { id } userErrors { code path message } } }'
      await mutate(context, token, query, { input: { id } }, 'certifyConnector', 'connector')
      const report = await awaitCertification(context, token, id, json === true)
      const failed = report.checks.filter(({ passed }) => !passed)
      if (failed.length > 0)
        throw new CommandError(
          `not certified: ${failed.map(({ name, reason, failureCause }) => `${name} ${failureCause ?? reason}`).join(', ')}`,
        )
      return findConnector(context, token, id, `id status bank { id } certifications { ${CERTIFICATION_FIELDS} }`)
    },
  },
  'connectors live': lifecycleCommand(
    'live',
    'putConnectorLive',
    '[--as <admin>]',
    'puts a certified connector live, as admin',
    'admin',
  ),
  'connectors suspend': lifecycleCommand(
    'suspend',
    'suspendConnector',
    '[--as <partner client>]',
    'stops everything of its bank at once, as its partner or as admin',
    'admin',
  ),
  'connectors retire': lifecycleCommand(
    'retire',
    'retireConnector',
    '[--as <partner client>]',
    'gives it up for good, as its partner or as admin',
    'admin',
  ),
  'connectors announce': {
    usage:
      'connectors announce <connector id> --as <partner client> --from (now | <time>) --to (<time> | +<hours>h) [--incident]',
    description: 'says when the bank will not answer, at most 48 hours; shown beside its balances',
    async run(context, [id], { as, from, to, incident }) {
      const token = await requestClientToken(context, requireOption(as, '--as'), 'connectors:manage')
      const kind = incident ? 'INCIDENT' : 'MAINTENANCE'
      const [startsAt, endsAt] = [parseTime(requireOption(from, '--from')), parseTime(requireOption(to, '--to'))]
      const input = { id: requireOption(id, 'a connector id'), from: startsAt, to: endsAt, kind }
      const query =
        'mutation ($input: AnnounceMaintenanceInput!) { announceMaintenance(input: $input) { bank { id maintenance { kind from to } } userErrors { code path message } } }'
      return mutate(context, token, query, { input }, 'announceMaintenance', 'bank')
    },
  },
  'connectors end-incident': {
    usage: 'connectors end-incident <connector id> --as <partner client>',
    description: 'the bank answers again',
    async run(context, [id], { as }) {
      const token = await requestClientToken(context, requireOption(as, '--as'), 'connectors:manage')
      const query =
        'mutation ($input: ConnectorInput!) { endIncident(input: $input) { bank { id maintenance { kind from to } } userErrors { code path message } } }'
      return mutate(
        context,
        token,
        query,
        { input: { id: requireOption(id, 'a connector id') } },
        'endIncident',
        'bank',
      )
    },
  },
}

function parseRegistrationFile(text: string): { registration: { clientId: string } } {
  try {
    return JSON.parse(text) as { registration: { clientId: string } }
  } catch {
    throw new CommandError('the file holds no JSON: it must be { "standard": …, "registration": { … } }')
  }
}

/** What registering would do; nothing is stored. */
async function previewRegistration(context: CommandContext, token: Token, input: object): Promise<unknown> {
  const query =
    'query ($input: RegisterConnectorInput!) { connectorPreview(input: $input) { bankId bankName userErrors { code path message } } }'
  const result = (await queryField(context, token, query, 'connectorPreview', { input })) as {
    bankId: string
    bankName: string
    userErrors: { code: string; path: string[]; message: string }[]
  }
  if (result.userErrors.length > 0) throw toCommandError(result.userErrors)
  return { acceptable: true, bank: { id: result.bankId, name: result.bankName } }
}

/** Waits for the newest run to be over, and shows each check as it is done. */
async function awaitCertification(
  context: CommandContext,
  token: Token,
  id: string,
  isQuiet: boolean,
): Promise<CertificationReport> {
  const deadlineMs = Date.now() + CERTIFICATION_TIMEOUT_MS
  let shownCount = 0
  while (Date.now() < deadlineMs) {
    const { certifications } = (await findConnector(
      context,
      token,
      id,
      `id certifications { ${CERTIFICATION_FIELDS} }`,
    )) as {
      certifications: CertificationReport[]
    }
    const [report] = certifications
    for (const { name, passed, reason, failureCause, tookMs } of report?.checks.slice(shownCount) ?? [])
      if (!isQuiet)
        process.stdout.write(
          `${passed ? '✓' : '✗'} ${name.padEnd(20)} ${tookMs ?? 0} ms${reason ? `  ${reason}` : ''}${failureCause ? `: ${failureCause}` : ''}\n`,
        )
    shownCount = report?.checks.length ?? 0
    if (report?.finishedAt) return report
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  throw new CommandError('the run is not over yet: see connectors show')
}

async function findConnector(context: CommandContext, token: Token, id: string, fields: string): Promise<unknown> {
  const connectors = (await queryField(context, token, `{ connectors { ${fields} } }`, 'connectors')) as {
    id: string
  }[]
  const found = connectors.find((connector) => connector.id === id)
  if (!found) throw new CommandError('there is no such connector')
  return found
}

function lifecycleCommand(
  verb: string,
  mutation: string,
  options: string,
  description: string,
  client: string,
): Command {
  return {
    usage: `connectors ${verb} <connector id> ${options}`.trim(),
    description,
    async run(context, [id], { as = client }) {
      const token = await requestTokenAs(context, as, 'banks:manage', 'connectors:manage')
      const query = `mutation ($input: ConnectorInput!) { ${mutation}(input: $input) { connector { id status bank { id } } userErrors { code path message } } }`
      return mutate(
        context,
        token,
        query,
        { input: { id: requireOption(id, 'a connector id') } },
        mutation,
        'connector',
      )
    },
  }
}
