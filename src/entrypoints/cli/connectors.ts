import { readFileSync } from 'node:fs'
import {
  actingAs,
  ask,
  bankOf,
  change,
  needed,
  own,
  refusalOf,
  timeOf,
  type Command,
  type Terminal,
} from './command.ts'
import type { Token } from './oauth-client.ts'
import { Refusal } from './refusal.ts'
import { openSandbox } from './sandbox.ts'

const CONNECTOR_FIELDS = 'id status newConsents standard bank { id name } eventsUrl redirectUri publicKeys certificate'
const REPORT_FIELDS = 'kind at finishedAt passed checks { name passed reason failureCause tookMs } statement'
const POLL_MS = 250
/** A run takes seconds; one that takes minutes is not worth waiting for. */
const PATIENCE_MS = 180_000

interface Report {
  finishedAt: string | null
  passed: boolean
  checks: { name: string; passed: boolean; reason: string | null; failureCause: string | null; tookMs: number | null }[]
}

/** The commands of bank partners, and of the admins who put their banks live. */
export const CONNECTOR_COMMANDS: Readonly<Record<string, Command>> = {
  'connectors list': {
    usage: 'connectors list [--as <client>]',
    does: 'the connectors of a partner, or all of them as admin',
    run: async (terminal, _words, { as = 'admin' }) =>
      ask(
        terminal,
        await actingAs(terminal, as, 'banks:manage', 'connectors:read'),
        `{ connectors { ${CONNECTOR_FIELDS} } }`,
        'connectors',
      ),
  },
  'connectors register': {
    usage: 'connectors register --as <partner client> (--file <registration.json> | --bank <sandbox bank>) [--dry-run]',
    does: 'registers a bank as a draft, or only says what is wrong with it; a sandbox bank is also told of the gateway',
    async run(terminal, _words, { as, file, bank, ...options }) {
      const token = await own(terminal, needed(as, '--as'), 'connectors:manage connectors:read')
      const bankUrl = bank === undefined ? undefined : bankOf(openSandbox(terminal.issuer, terminal.dataDir), bank)
      const text = bankUrl
        ? await (await fetch(`${bankUrl}/sandbox/registration`)).text()
        : readFileSync(needed(file, '--file or --bank'), 'utf8')
      const input = registrationIn(text)
      if (options['dry-run']) return preview(terminal, token, input)
      const query = `mutation ($input: RegisterConnectorInput!) { registerConnector(input: $input) { connector { ${CONNECTOR_FIELDS} } userErrors { code path message } } }`
      const connector = await change(terminal, token, query, { input }, 'registerConnector', 'connector')
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
    does: 'how it is: certification runs, health, problems in its answers, notices and history',
    async run(terminal, [id], { as = 'admin' }) {
      const token = await actingAs(terminal, as, 'banks:manage', 'connectors:read')
      const fields = `${CONNECTOR_FIELDS} health { operation status calls failures meanMs failureCauses { cause description count } } problems { problem count description } notices { kind at operation } history { kind at clientId } certifications { ${REPORT_FIELDS} }`
      return one(terminal, token, needed(id, 'a connector id'), fields)
    },
  },
  'connectors introduce': {
    usage: 'connectors introduce <connector id> --as <partner client> --file <software statement>',
    does: 'has the gateway register itself at the bank of a draft, where the standard has that',
    async run(terminal, [id], { as, file }) {
      const token = await own(terminal, needed(as, '--as'), 'connectors:manage connectors:read')
      const input = {
        id: needed(id, 'a connector id'),
        softwareStatement: readFileSync(needed(file, '--file'), 'utf8').trim(),
      }
      const query =
        'mutation ($input: IntroduceConnectorInput!) { introduceConnector(input: $input) { connector { id status clientId } userErrors { code path message } } }'
      return change(terminal, token, query, { input }, 'introduceConnector', 'connector')
    },
  },
  'connectors certify': {
    usage: 'connectors certify <connector id> --as <partner client>',
    does: 'tries the bank from its metadata to the end of a consent, and shows each check; one that passes is CERTIFIED',
    async run(terminal, [given], { as, json }) {
      const id = needed(given, 'a connector id')
      const token = await own(terminal, needed(as, '--as'), 'connectors:manage connectors:read')
      const query =
        'mutation ($input: ConnectorInput!) { certifyConnector(input: $input) { connector { id } userErrors { code path message } } }'
      await change(terminal, token, query, { input: { id } }, 'certifyConnector', 'connector')
      const report = await followed(terminal, token, id, json === true)
      const failed = report.checks.filter(({ passed }) => !passed)
      if (failed.length > 0)
        throw new Refusal(
          `not certified: ${failed.map(({ name, reason, failureCause }) => `${name} ${failureCause ?? reason}`).join(', ')}`,
        )
      return one(terminal, token, id, `id status bank { id } certifications { ${REPORT_FIELDS} }`)
    },
  },
  'connectors live': step(
    'live',
    'putConnectorLive',
    '[--as <admin>]',
    'puts a certified connector live, as admin',
    'admin',
  ),
  'connectors suspend': step(
    'suspend',
    'suspendConnector',
    '[--as <partner client>]',
    'stops everything of its bank at once, as its partner or as admin',
    'admin',
  ),
  'connectors retire': step(
    'retire',
    'retireConnector',
    '[--as <partner client>]',
    'gives it up for good, as its partner or as admin',
    'admin',
  ),
  'connectors announce': {
    usage:
      'connectors announce <connector id> --as <partner client> --from (now | <time>) --to (<time> | +<hours>h) [--incident]',
    does: 'says when the bank will not answer, at most 48 hours; shown beside its balances',
    async run(terminal, [id], { as, from, to, incident }) {
      const token = await own(terminal, needed(as, '--as'), 'connectors:manage')
      const kind = incident ? 'INCIDENT' : 'MAINTENANCE'
      const [begins, ends] = [timeOf(needed(from, '--from')), timeOf(needed(to, '--to'))]
      const input = { id: needed(id, 'a connector id'), from: begins, to: ends, kind }
      const query =
        'mutation ($input: AnnounceMaintenanceInput!) { announceMaintenance(input: $input) { bank { id maintenance { kind from to } } userErrors { code path message } } }'
      return change(terminal, token, query, { input }, 'announceMaintenance', 'bank')
    },
  },
  'connectors end-incident': {
    usage: 'connectors end-incident <connector id> --as <partner client>',
    does: 'the bank answers again',
    async run(terminal, [id], { as }) {
      const token = await own(terminal, needed(as, '--as'), 'connectors:manage')
      const query =
        'mutation ($input: ConnectorInput!) { endIncident(input: $input) { bank { id maintenance { kind from to } } userErrors { code path message } } }'
      return change(terminal, token, query, { input: { id: needed(id, 'a connector id') } }, 'endIncident', 'bank')
    },
  },
}

function registrationIn(text: string): { registration: { clientId: string } } {
  try {
    return JSON.parse(text) as { registration: { clientId: string } }
  } catch {
    throw new Refusal('the file holds no JSON: it must be { "standard": …, "registration": { … } }')
  }
}

/** What registering would do; nothing is stored. */
async function preview(terminal: Terminal, token: Token, input: object): Promise<unknown> {
  const query =
    'query ($input: RegisterConnectorInput!) { connectorPreview(input: $input) { bankId bankName userErrors { code path message } } }'
  const found = (await ask(terminal, token, query, 'connectorPreview', { input })) as {
    bankId: string
    bankName: string
    userErrors: { code: string; path: string[]; message: string }[]
  }
  if (found.userErrors.length > 0) throw refusalOf(found.userErrors)
  return { acceptable: true, bank: { id: found.bankId, name: found.bankName } }
}

/** Waits for the newest run to be over, and shows each check as it is done. */
async function followed(terminal: Terminal, token: Token, id: string, quiet: boolean): Promise<Report> {
  const until = Date.now() + PATIENCE_MS
  let shown = 0
  while (Date.now() < until) {
    const { certifications } = (await one(terminal, token, id, `id certifications { ${REPORT_FIELDS} }`)) as {
      certifications: Report[]
    }
    const [report] = certifications
    for (const { name, passed, reason, failureCause, tookMs } of report?.checks.slice(shown) ?? [])
      if (!quiet)
        process.stdout.write(
          `${passed ? '✓' : '✗'} ${name.padEnd(20)} ${tookMs ?? 0} ms${reason ? `  ${reason}` : ''}${failureCause ? `: ${failureCause}` : ''}\n`,
        )
    shown = report?.checks.length ?? 0
    if (report?.finishedAt) return report
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  throw new Refusal('the run is not over yet: see connectors show')
}

async function one(terminal: Terminal, token: Token, id: string, fields: string): Promise<unknown> {
  const all = (await ask(terminal, token, `{ connectors { ${fields} } }`, 'connectors')) as { id: string }[]
  const found = all.find((connector) => connector.id === id)
  if (!found) throw new Refusal('there is no such connector')
  return found
}

function step(verb: string, mutation: string, options: string, does: string, client: string): Command {
  return {
    usage: `connectors ${verb} <connector id> ${options}`.trim(),
    does,
    async run(terminal, [id], { as = client }) {
      const token = await actingAs(terminal, as, 'banks:manage', 'connectors:manage')
      const query = `mutation ($input: ConnectorInput!) { ${mutation}(input: $input) { connector { id status bank { id } } userErrors { code path message } } }`
      return change(terminal, token, query, { input: { id: needed(id, 'a connector id') } }, mutation, 'connector')
    },
  }
}
