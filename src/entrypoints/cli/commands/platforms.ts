import { defineCommand } from '../command.ts'
import { UsageError } from '../errors.ts'
import { mutate, requestClientToken, requestTokenAs } from '../graph.ts'
import { argument, AS_ADMIN_OR_PARTNER, flag, list } from '../inputs.ts'
import { record, sections, table } from '../view.ts'
import { findConnector } from './connectors.ts'

const FIELDS = 'id bank { id name } platformAccess { mode organizations { id name } }'

/** The platforms that a bank serves. */
export const PLATFORM_COMMANDS = [
  defineCommand({
    name: 'connectors platforms',
    description:
      'Show which platforms the bank of a connector serves, or as its partner set them. Consents with a platform that it no longer serves are suspended at once.',
    arguments: { connectorId: argument('<connector-id>', 'ID of a connector of the bank') },
    options: {
      as: AS_ADMIN_OR_PARTNER,
      all: flag('--all', 'serve all platforms'),
      only: list('--only <organization-ids>', 'serve only these platforms'),
      allExcept: list('--all-except <organization-ids>', 'serve all platforms except these'),
    },
    examples: [
      'guichet connectors platforms <connector id>',
      'guichet connectors platforms <connector id> --as northbank-partner --all-except <organization id>',
      'guichet connectors platforms <connector id> --as northbank-partner --all',
    ],
    json: `{ ${FIELDS} }`,
    view: sections([
      { path: '', view: record({ ID: 'id', BANK: 'bank.id', NAME: 'bank.name', PLATFORMS: 'platformAccess.mode' }) },
      { heading: 'Listed platforms', path: 'platformAccess.organizations', view: table({ ID: 'id', NAME: 'name' }) },
    ]),
    async run(context, { connectorId, as, all, only, allExcept }) {
      const choices = [...(all ? [{ all }] : []), ...(only ? [{ only }] : []), ...(allExcept ? [{ allExcept }] : [])]
      if (choices.length > 1) throw new UsageError('name one of --all, --only and --all-except')
      const [access] = choices
      if (!access) {
        const scopes = { adminScope: 'banks:manage', partnerScope: 'connectors:read' }
        return findConnector(context, await requestTokenAs(context, as, scopes), connectorId, FIELDS)
      }
      const token = await requestClientToken(context, as, 'connectors:manage')
      return mutate(context, token, 'setPlatformAccess', { connectorId, access }, `connector { ${FIELDS} }`)
    },
  }),
]
