import { defineCommand, type CommandContext } from '../command.ts'
import { CommandError } from '../errors.ts'
import { mutate, requestClientToken } from '../graph.ts'
import { argument, AS_PARTNER, flag, requiredTime } from '../inputs.ts'
import type { Token } from '../oauth-client.ts'
import { record, table } from '../view.ts'
import { findConnector } from './connectors.ts'

const FIELDS = 'id bank { id } kind startsAt endsAt'
const COLUMNS = { ID: 'id', BANK: 'bank.id', KIND: 'kind', STARTS: 'startsAt', ENDS: 'endsAt' }
const CONNECTOR_ID = argument('<connector-id>', 'ID of the connector')

/** Outages that a bank partner announces. */
export const OUTAGE_COMMANDS = [
  defineCommand({
    name: 'connectors announce',
    description: 'Announce an outage of at most 48 hours. It is shown beside the balances of the bank.',
    arguments: { connectorId: CONNECTOR_ID },
    options: {
      as: AS_PARTNER,
      from: requiredTime('--from <time>', 'start: now, +4h, or 2026-12-31T08:00:00Z'),
      to: requiredTime('--to <time>', 'end'),
      incident: flag('--incident', 'an incident, not maintenance'),
    },
    examples: ['guichet connectors announce <connector id> --as eastbank-partner --from now --to +4h --incident'],
    json: `{ ${FIELDS} }`,
    view: record(COLUMNS),
    async run(context, { connectorId, as, from, to, incident }) {
      const token = await requestClientToken(context, as, 'connectors:manage')
      const input = { connectorId, startsAt: from, endsAt: to, kind: incident ? 'INCIDENT' : 'MAINTENANCE' }
      return mutate(context, token, 'announceOutage', input, `outage { ${FIELDS} }`)
    },
  }),
  defineCommand({
    name: 'connectors end-outage',
    description: 'End an outage now, or take back one that has not begun.',
    arguments: { outageId: argument('<outage-id>', 'ID of the outage') },
    options: { as: AS_PARTNER },
    examples: ['guichet connectors end-outage <outage id> --as eastbank-partner'],
    json: `{ ${FIELDS} }`,
    view: record(COLUMNS),
    run: async (context, { outageId, as }) =>
      endOutage(context, await requestClientToken(context, as, 'connectors:manage'), outageId),
  }),
  defineCommand({
    name: 'connectors end-incident',
    description: 'End all incidents of the bank.',
    arguments: { connectorId: CONNECTOR_ID },
    options: { as: AS_PARTNER },
    examples: ['guichet connectors end-incident <connector id> --as eastbank-partner'],
    json: `[{ ${FIELDS} }]`,
    view: table(COLUMNS),
    async run(context, { connectorId, as }) {
      const token = await requestClientToken(context, as, 'connectors:manage')
      const { bank } = await findConnector(context, token, connectorId, 'id bank { outages { id kind } }')
      const { outages } = bank as { outages: readonly { id: string; kind: string }[] }
      const incidents = outages.filter(({ kind }) => kind === 'INCIDENT')
      if (incidents.length === 0) throw new CommandError('the bank has announced no incident')
      return Promise.all(incidents.map(({ id }) => endOutage(context, token, id)))
    },
  }),
]

const endOutage = (context: CommandContext, token: Token, outageId: string): Promise<unknown> =>
  mutate(context, token, 'endOutage', { outageId }, `outage { ${FIELDS} }`)
