import { randomBytes } from 'node:crypto'
import { ADMIN_COMMANDS } from './admin.ts'
import { CLIENT_COMMANDS } from './clients.ts'
import { ask, needed, own, type Command } from './command.ts'
import { CONNECTOR_COMMANDS } from './connectors.ts'
import { LEDGER_COMMANDS } from './ledger.ts'
import { graphql } from './oauth-client.ts'
import { PLATFORM_COMMANDS } from './platforms.ts'
import { Refusal } from './refusal.ts'
import { SANDBOX_COMMANDS, withdraw } from './sandbox-commands.ts'
import { openSandbox, presenceOf, tokenOf } from './sandbox.ts'

/** Every command, by noun and verb. */
export const COMMANDS: Readonly<Record<string, Command>> = {
  query: {
    usage: `query '<graphql>' --customer <persona>`,
    does: 'a signed query in the sandbox, with an opt-in before it where there was none',
    async run(terminal, [query], { customer }) {
      const sandbox = openSandbox(terminal.issuer, terminal.dataDir)
      const token = await tokenOf(sandbox, needed(customer, '--customer'))
      // Whoever types the persona's question is there as the persona.
      const statement = await presenceOf(sandbox, token)
      return graphql(terminal.issuer, token, needed(query, 'a query'), {}, statement)
    },
  },

  'banks list': {
    usage: 'banks list',
    does: 'the banks that a customer can connect now',
    run: (terminal) => ask(terminal, undefined, '{ banks { id name country } }', 'banks'),
  },

  ...ADMIN_COMMANDS,
  ...CONNECTOR_COMMANDS,

  ...PLATFORM_COMMANDS,
  ...CLIENT_COMMANDS,
  ...LEDGER_COMMANDS,

  'consents list': {
    usage: 'consents list --customer <persona>',
    does: 'what the persona agreed to share',
    async run(terminal, _words, { customer }) {
      const token = await tokenOf(openSandbox(terminal.issuer, terminal.dataDir), needed(customer, '--customer'))
      const answer = (await ask(
        terminal,
        token,
        '{ customer { consents { id status scopes purposes expiresAt bank { id } } } }',
        'customer',
      )) as { consents: unknown }
      return answer.consents
    },
  },
  'consents withdraw': {
    usage: 'consents withdraw [<consent id>…] --customer <persona>',
    does: 'ends these consents, or all of the persona with the platform as STOP SHARING in the chat would',
    async run(terminal, consentIds, { customer }) {
      const token = await tokenOf(openSandbox(terminal.issuer, terminal.dataDir), needed(customer, '--customer'))
      return withdraw(terminal, token, consentIds.length > 0 ? { consentIds } : { all: true })
    },
  },

  'alerts list': {
    usage: 'alerts list --customer <persona>',
    does: 'the newest alerts of the persona',
    async run(terminal, _words, { customer }) {
      const token = await tokenOf(openSandbox(terminal.issuer, terminal.dataDir), needed(customer, '--customer'))
      return (
        (await ask(
          terminal,
          token,
          '{ customer { alerts { nodes { id type severity ask occurredAt bank { id } } } } }',
          'customer',
        )) as { alerts: { nodes: unknown } }
      ).alerts.nodes
    },
  },
  'alerts deliveries': {
    usage: 'alerts deliveries [--client <id>]',
    does: "what was delivered to the client's webhooks, newest first",
    run: async (terminal, _words, { client = 'chatterbox' }) => {
      const token = await own(terminal, client, 'deliveries:read')
      return (
        (await ask(
          terminal,
          token,
          '{ client { deliveries { nodes { id status createdAt attempts { number at status outcome failureCause } } } } }',
          'client',
        )) as { deliveries: { nodes: unknown } }
      ).deliveries.nodes
    },
  },

  'keys rotate': {
    usage: 'keys rotate',
    does: 'a new sealing key, and what to do with it; nothing is changed by this command',
    run: () =>
      Promise.resolve({
        key: randomBytes(32).toString('base64url'),
        steps: [
          'set GUICHET_SEALING_KEY to this key, and put the one before into GUICHET_SEALING_KEYS_BEFORE',
          'restart the processes one after the other; each opens what either key sealed',
          'the worker seals everything anew; npx guichet keys status tells how much is left',
          'at 0, take the older key out of GUICHET_SEALING_KEYS_BEFORE',
        ],
      }),
  },
  'keys status': {
    usage: 'keys status [--metrics <url>]',
    does: 'in how many columns values may still be sealed with an older key, by the metrics of the gateway',
    async run({ issuer, metricsUrl }) {
      const text = await readMetrics(metricsUrl)
      const found = /^guichet_info\{issuer="([^"]*)"\} 1$/m.exec(text)?.[1]
      const count = /^guichet_sealed_before (\d+)$/m.exec(text)?.[1]
      if (found === undefined || count === undefined)
        throw new Refusal(`${metricsUrl} is not the metrics of a gateway of this version`)
      // Of another gateway the count would be 0, and a key be taken away that is needed.
      if (found !== issuer)
        throw new Refusal(
          `${metricsUrl} is the metrics of ${found}: name those of ${issuer} by --metrics or METRICS_PORT, as its start shows them`,
        )
      return { sealedBefore: Number(count) }
    },
  },

  ...SANDBOX_COMMANDS,
}

async function readMetrics(url: string): Promise<string> {
  try {
    return await (await fetch(url)).text()
  } catch {
    throw new Refusal(
      `no metrics answer at ${url}: name the address that the gateway's start shows by --metrics or METRICS_PORT`,
    )
  }
}
