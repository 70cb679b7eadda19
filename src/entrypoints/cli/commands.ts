import { randomBytes } from 'node:crypto'
import { ADMIN_COMMANDS } from './admin.ts'
import { CLIENT_COMMANDS } from './clients.ts'
import { queryAllNodes, queryField, requireOption, requestClientToken, type Command } from './command.ts'
import { CONNECTOR_COMMANDS } from './connectors.ts'
import { LEDGER_COMMANDS } from './ledger.ts'
import { executeGraphql } from './oauth-client.ts'
import { ORGANIZATION_COMMANDS } from './organizations.ts'
import { CommandError } from './errors.ts'
import { SANDBOX_COMMANDS, withdrawConsents } from './sandbox-commands.ts'
import { openSandbox, signPresenceStatement, getOrCreateToken } from './sandbox.ts'

/** Every command, by noun and verb. */
export const COMMANDS: Readonly<Record<string, Command>> = {
  query: {
    usage: `query '<graphql>' --customer <persona>`,
    description: 'a signed query in the sandbox, with an opt-in before it where there was none',
    async run(context, [query], { customer }) {
      const sandbox = openSandbox(context.issuer, context.dataDir)
      const token = await getOrCreateToken(sandbox, requireOption(customer, '--customer'))
      // Whoever types the persona's question is there as the persona.
      const statement = await signPresenceStatement(sandbox, token)
      return executeGraphql(context.issuer, token, requireOption(query, 'a query'), {}, statement)
    },
  },

  'banks list': {
    usage: 'banks list',
    description: 'the banks that take part, and whether a customer can connect each now',
    run: (context) => queryAllNodes(context, undefined, 'banks', 'id name country availability'),
  },

  ...ADMIN_COMMANDS,
  ...CONNECTOR_COMMANDS,

  ...ORGANIZATION_COMMANDS,
  ...CLIENT_COMMANDS,
  ...LEDGER_COMMANDS,

  'consents list': {
    usage: 'consents list --customer <persona>',
    description: 'the newest 100 consents of the persona',
    async run(context, _args, { customer }) {
      const token = await getOrCreateToken(
        openSandbox(context.issuer, context.dataDir),
        requireOption(customer, '--customer'),
      )
      const answer = (await queryField(
        context,
        token,
        '{ customer { consents(first: 100) { nodes { id status scopes purposes expiresAt endedBy bank { id } } } } }',
        'customer',
      )) as { consents: { nodes: unknown } }
      return answer.consents.nodes
    },
  },
  'consents withdraw': {
    usage: 'consents withdraw [<consent id>…] --customer <persona>',
    description: 'ends these consents, or all of the persona with the platform as STOP SHARING in the chat would',
    async run(context, consentIds, { customer }) {
      const token = await getOrCreateToken(
        openSandbox(context.issuer, context.dataDir),
        requireOption(customer, '--customer'),
      )
      return withdrawConsents(context, token, consentIds.length > 0 ? { consentIds } : { all: true })
    },
  },

  'alerts list': {
    usage: 'alerts list --customer <persona>',
    description: 'the newest alerts of the persona',
    async run(context, _args, { customer }) {
      const token = await getOrCreateToken(
        openSandbox(context.issuer, context.dataDir),
        requireOption(customer, '--customer'),
      )
      return (
        (await queryField(
          context,
          token,
          '{ customer { alerts { nodes { id type severity requestedAction occurredAt bank { id } } } } }',
          'customer',
        )) as { alerts: { nodes: unknown } }
      ).alerts.nodes
    },
  },
  'alerts deliveries': {
    usage: 'alerts deliveries [--client <id>]',
    description: "what was delivered to the client's webhooks, newest first",
    run: async (context, _args, { client = 'chatterbox' }) => {
      const token = await requestClientToken(context, client, 'deliveries:read')
      return (
        (await queryField(
          context,
          token,
          '{ client { deliveries { nodes { id status eventType createdAt attempts { number attemptedAt httpStatus outcome failureCause } } } } }',
          'client',
        )) as { deliveries: { nodes: unknown } }
      ).deliveries.nodes
    },
  },

  'keys rotate': {
    usage: 'keys rotate',
    description: 'a new sealing key, and what to do with it; nothing is changed by this command',
    run: () =>
      Promise.resolve({
        key: randomBytes(32).toString('base64url'),
        steps: [
          'set GUICHET_SEALING_KEY to this key, and put the one before into GUICHET_PREVIOUS_SEALING_KEYS',
          'restart the processes one after the other; each opens what either key sealed',
          'the worker seals everything anew; npx guichet keys status tells how much is left',
          'at 0, take the older key out of GUICHET_PREVIOUS_SEALING_KEYS',
        ],
      }),
  },
  'keys status': {
    usage: 'keys status [--metrics <url>]',
    description: 'in how many columns values may still be sealed with an older key, by the metrics of the gateway',
    async run({ issuer, metricsUrl }) {
      const text = await fetchMetrics(metricsUrl)
      const metricsIssuer = /^guichet_info\{issuer="([^"]*)"\} 1$/m.exec(text)?.[1]
      const count = /^guichet_reseal_pending_columns (\d+)$/m.exec(text)?.[1]
      if (metricsIssuer === undefined || count === undefined)
        throw new CommandError(`${metricsUrl} is not the metrics of a gateway of this version`)
      // Of another gateway the count would be 0, and a key be taken away that is needed.
      if (metricsIssuer !== issuer)
        throw new CommandError(
          `${metricsUrl} is the metrics of ${metricsIssuer}: name those of ${issuer} by --metrics or METRICS_PORT, as its start shows them`,
        )
      return { sealedBefore: Number(count) }
    },
  },

  ...SANDBOX_COMMANDS,
}

async function fetchMetrics(url: string): Promise<string> {
  try {
    return await (await fetch(url)).text()
  } catch {
    throw new CommandError(
      `no metrics answer at ${url}: name the address that the gateway's start shows by --metrics or METRICS_PORT`,
    )
  }
}
