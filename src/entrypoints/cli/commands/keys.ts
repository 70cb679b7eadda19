import { randomBytes } from 'node:crypto'
import { defineCommand } from '../command.ts'
import { CommandError } from '../errors.ts'
import { text } from '../inputs.ts'
import { record } from '../view.ts'

const ROTATION_STEPS = [
  'Set GUICHET_SEALING_KEY to this key, and put the old key into GUICHET_PREVIOUS_SEALING_KEYS.',
  'Restart the processes one after the other. Each unseals values of either key.',
  'The worker reseals all values. Wait until npx guichet keys status shows 0 columns.',
  'Remove the old key from GUICHET_PREVIOUS_SEALING_KEYS.',
]

/** The key that seals secrets and balances in the database. */
export const KEY_COMMANDS = [
  defineCommand({
    name: 'keys rotate',
    description: 'Print a new sealing key and the steps to use it. Nothing is changed.',
    examples: ['guichet keys rotate'],
    json: '{ key steps }',
    view: (rotation, terminal) => `${record({ KEY: 'key' })(rotation, terminal)}\n\n${formatSteps(rotation)}`,
    run: () => Promise.resolve({ key: randomBytes(32).toString('base64url'), steps: ROTATION_STEPS }),
  }),
  defineCommand({
    name: 'keys status',
    description: 'Show how many columns may still hold values sealed with an older key, by the metrics of the gateway.',
    options: { metrics: text('--metrics <url>', "the gateway's metrics, as its start prints them") },
    examples: ['guichet keys status', 'guichet keys status --metrics http://127.0.0.1:9464/metrics'],
    json: '{ sealedBefore }',
    view: record({ 'COLUMNS WITH OLDER KEYS': 'sealedBefore' }),
    async run({ issuer, metricsUrl }) {
      const metrics = await fetchMetrics(metricsUrl)
      const metricsIssuer = /^guichet_info\{issuer="([^"]*)"\} 1$/m.exec(metrics)?.[1]
      const count = /^guichet_reseal_pending_columns (\d+)$/m.exec(metrics)?.[1]
      if (metricsIssuer === undefined || count === undefined)
        throw new CommandError(`${metricsUrl} is not the metrics of a gateway of this version`)
      // The count of another gateway could be 0, and a key that is still needed would be removed.
      if (metricsIssuer !== issuer)
        throw new CommandError(
          `${metricsUrl} is the metrics of ${metricsIssuer}: name those of ${issuer} with --metrics or METRICS_PORT, as it printed them at its start`,
        )
      return { sealedBefore: Number(count) }
    },
  }),
]

const formatSteps: (rotation: unknown) => string = (rotation) =>
  (rotation as { steps: readonly string[] }).steps.map((step, index) => `${index + 1}. ${step}`).join('\n')

async function fetchMetrics(url: string): Promise<string> {
  try {
    return await (await fetch(url)).text()
  } catch {
    throw new CommandError(
      `no metrics at ${url}: name the URL that the gateway printed at its start, with --metrics or METRICS_PORT`,
    )
  }
}
