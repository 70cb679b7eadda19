import { readFileSync } from 'node:fs'
import {
  requestTokenAs,
  queryAllNodes,
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

const CONNECTOR_FIELDS =
  'id status acceptsNewConsents standard bank { id name } eventsUrl redirectUri jwks clientCertificate'
const CERTIFICATION_RUN_FIELDS =
  'id trigger status startedAt finishedAt checks { name status code failureCause durationMs } signedReport'
const OUTAGE_FIELDS = 'id bank { id } kind startsAt endsAt'
const USER_ERROR_FIELDS = 'userErrors { code path message }'
const POLL_MS = 250
/** A run takes seconds; one that takes minutes is not worth waiting for. */
const CERTIFICATION_TIMEOUT_MS = 180_000

interface CertificationRun {
  id: string
  status: 'RUNNING' | 'PASSED' | 'FAILED'
  checks: {
    name: string
    status: 'PASSED' | 'FAILED' | 'SKIPPED'
    code: string | null
    failureCause: string | null
    durationMs: number | null
  }[]
}

const CHECK_MARKS = { PASSED: '✓', FAILED: '✗', SKIPPED: '-' } as const

/** The commands of bank partners, and of the admins who activate their connectors. */
export const CONNECTOR_COMMANDS: Readonly<Record<string, Command>> = {
  'connectors list': {
    usage: 'connectors list [--as <client>]',
    description: 'the connectors of a partner, or all of them as admin',
    run: async (context, _args, { as = 'admin' }) =>
      queryAllNodes(
        context,
        await requestTokenAs(context, as, 'banks:manage', 'connectors:read'),
        'connectors',
        CONNECTOR_FIELDS,
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
      const query = `mutation ($input: RegisterConnectorInput!) { registerConnector(input: $input) { connector { ${CONNECTOR_FIELDS} } ${USER_ERROR_FIELDS} } }`
      const connector = await mutate(context, token, query, { input }, 'registerConnector', 'connector')
      if (bankUrl) {
        const { jwks, redirectUri, eventsUrl } = connector as {
          jwks: object
          redirectUri: string
          eventsUrl: string
        }
        await fetch(`${bankUrl}/sandbox/clients/${input.registration.clientId}`, {
          method: 'PUT',
          body: JSON.stringify({ ...jwks, redirectUri, eventsUrl }),
        })
      }
      return connector
    },
  },
  'connectors show': {
    usage: 'connectors show <connector id> [--as <partner client>]',
    description: 'how it is: certification runs, health, issues in responses, notices and history',
    async run(context, [id], { as = 'admin' }) {
      const token = await requestTokenAs(context, as, 'banks:manage', 'connectors:read')
      const lists = {
        certificationRuns: `(first: 10) { nodes { ${CERTIFICATION_RUN_FIELDS} } }`,
        notices: '{ nodes { kind occurredAt operation } }',
        history: '(first: 50) { nodes { action occurredAt clientId } }',
      }
      const fields = `${CONNECTOR_FIELDS} clientIdAtBank health { operation status callCount failureCount meanDurationMs failureCauses { cause description count } } responseIssues { code count description } ${Object.entries(
        lists,
      )
        .map(([field, selection]) => `${field}${selection}`)
        .join(' ')}`
      const connector = await findConnector(context, token, requireOption(id, 'a connector id'), fields)
      const nodes = Object.keys(lists).map((field) => [field, (connector[field] as { nodes: unknown[] }).nodes])
      return { ...connector, ...(Object.fromEntries(nodes) as Record<string, unknown>) }
    },
  },
  'connectors register-at-bank': {
    usage: 'connectors register-at-bank <connector id> --as <partner client> --file <software statement>',
    description: 'registers the gateway at the bank of a draft, where the standard has that',
    async run(context, [id], { as, file }) {
      const token = await requestClientToken(context, requireOption(as, '--as'), 'connectors:manage connectors:read')
      const input = {
        connectorId: requireOption(id, 'a connector id'),
        softwareStatement: readFileSync(requireOption(file, '--file'), 'utf8').trim(),
      }
      const query = `mutation ($input: RegisterGatewayAtBankInput!) { registerGatewayAtBank(input: $input) { connector { id status clientIdAtBank } ${USER_ERROR_FIELDS} } }`
      return mutate(context, token, query, { input }, 'registerGatewayAtBank', 'connector')
    },
  },
  'connectors certify': {
    usage: 'connectors certify <connector id> --as <partner client>',
    description:
      'tries the bank from its metadata to the end of a consent, and shows each check; one that passes is CERTIFIED',
    async run(context, [id], { as, json }) {
      const connectorId = requireOption(id, 'a connector id')
      const token = await requestClientToken(context, requireOption(as, '--as'), 'connectors:manage connectors:read')
      const query = `mutation ($input: StartCertificationInput!) { startCertification(input: $input) { certificationRun { id } ${USER_ERROR_FIELDS} } }`
      const variables = { input: { connectorId } }
      const started = await mutate(context, token, query, variables, 'startCertification', 'certificationRun')
      const run = await awaitCertification(context, token, (started as { id: string }).id, json === true)
      if (run.status !== 'PASSED') {
        const failed = run.checks.filter(({ status, code }) => status !== 'PASSED' && code !== 'NOT_SUPPORTED')
        const reasons = failed.map(({ name, code, failureCause }) => `${name} ${failureCause ?? code}`)
        throw new CommandError(`not certified: ${reasons.join(', ')}`)
      }
      const connector = await findConnector(context, token, connectorId, 'id status bank { id }')
      return { ...connector, certificationRun: run }
    },
  },
  'connectors live': lifecycleCommand(
    'live',
    'activateConnector',
    '[--as <admin>]',
    'activates a certified connector, or lifts a suspension, as admin',
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
      const input = { connectorId: requireOption(id, 'a connector id'), startsAt, endsAt, kind }
      const query = `mutation ($input: AnnounceOutageInput!) { announceOutage(input: $input) { outage { ${OUTAGE_FIELDS} } ${USER_ERROR_FIELDS} } }`
      return mutate(context, token, query, { input }, 'announceOutage', 'outage')
    },
  },
  'connectors end-outage': {
    usage: 'connectors end-outage <outage id> --as <partner client>',
    description: 'ends an outage as of now, or takes back one that has not begun',
    async run(context, [id], { as }) {
      const token = await requestClientToken(context, requireOption(as, '--as'), 'connectors:manage')
      return endOutage(context, token, requireOption(id, 'an outage id'))
    },
  },
  'connectors end-incident': {
    usage: 'connectors end-incident <connector id> --as <partner client>',
    description: 'ends every incident of its bank: the bank answers again',
    async run(context, [id], { as }) {
      const token = await requestClientToken(context, requireOption(as, '--as'), 'connectors:manage')
      const fields = 'id bank { outages { id kind } }'
      const { bank } = await findConnector(context, token, requireOption(id, 'a connector id'), fields)
      const { outages } = bank as { outages: { id: string; kind: string }[] }
      const incidents = outages.filter(({ kind }) => kind === 'INCIDENT')
      if (incidents.length === 0) throw new CommandError('the bank has announced no incident')
      return Promise.all(incidents.map((incident) => endOutage(context, token, incident.id)))
    },
  },
}

function endOutage(context: CommandContext, token: Token, outageId: string): Promise<unknown> {
  const query = `mutation ($input: EndOutageInput!) { endOutage(input: $input) { outage { ${OUTAGE_FIELDS} } ${USER_ERROR_FIELDS} } }`
  return mutate(context, token, query, { input: { outageId } }, 'endOutage', 'outage')
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

/** Waits for the run to be over, and shows each check as it is done. */
async function awaitCertification(
  context: CommandContext,
  token: Token,
  id: string,
  isQuiet: boolean,
): Promise<CertificationRun> {
  const deadlineMs = Date.now() + CERTIFICATION_TIMEOUT_MS
  const query = `query ($id: ID!) { node(id: $id) { ... on CertificationRun { ${CERTIFICATION_RUN_FIELDS} } } }`
  let shownCount = 0
  while (Date.now() < deadlineMs) {
    const run = (await queryField(context, token, query, 'node', { id })) as CertificationRun
    for (const { name, status, code, failureCause, durationMs } of run.checks.slice(shownCount))
      if (!isQuiet)
        process.stdout.write(
          `${CHECK_MARKS[status]} ${name.padEnd(20)} ${durationMs ?? 0} ms${code ? `  ${code}` : ''}${failureCause ? `: ${failureCause}` : ''}\n`,
        )
    shownCount = run.checks.length
    if (run.status !== 'RUNNING') return run
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  throw new CommandError('the run is not over yet: see connectors show')
}

async function findConnector(
  context: CommandContext,
  token: Token,
  id: string,
  fields: string,
): Promise<Record<string, unknown>> {
  const query = `query ($id: ID!) { connector(id: $id) { ${fields} } }`
  const found = await queryField(context, token, query, 'connector', { id })
  if (found === null) throw new CommandError('there is no such connector')
  return found as Record<string, unknown>
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
      const inputType = `${mutation[0]!.toUpperCase()}${mutation.slice(1)}Input`
      const query = `mutation ($input: ${inputType}!) { ${mutation}(input: $input) { connector { id status bank { id } } ${USER_ERROR_FIELDS} } }`
      const variables = { input: { connectorId: requireOption(id, 'a connector id') } }
      return mutate(context, token, query, variables, mutation, 'connector')
    },
  }
}
