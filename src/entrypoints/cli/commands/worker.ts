import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { defineProcess } from '../command.ts'
import { positiveInteger } from '../inputs.ts'

const MAX_PORT = 65_535

/** The background work of an installation, as a process of its own. */
export const WORKER_COMMANDS = [
  defineProcess({
    name: 'worker',
    description:
      'Run a worker of this installation in the foreground: outbox messages, webhook deliveries, polls of banks, certification runs and scheduled jobs. It has the settings of the gateways (.env.example), DATABASE_URL and GUICHET_SEALING_KEY above all; any number of workers can run on one database. Ctrl-C or SIGTERM stops it after its work in progress.',
    options: {
      port: positiveInteger(
        '--port <number>',
        'where /livez and /readyz are served (default: PORT, or 4000)',
        MAX_PORT,
      ),
      metricsPort: positiveInteger(
        '--metrics-port <number>',
        'where /metrics is served (default: METRICS_PORT, or 9464)',
        MAX_PORT,
      ),
    },
    examples: [
      'DATABASE_URL=postgresql://… GUICHET_SEALING_KEY=… ISSUER=https://gateway.example guichet worker',
      'guichet worker --port 4001 --metrics-port 9465',
    ],
    async start({ port, metricsPort }) {
      process.env['GUICHET_ROLE'] = 'worker'
      if (port !== undefined) process.env['PORT'] = String(port)
      if (metricsPort !== undefined) process.env['METRICS_PORT'] = String(metricsPort)
      // In this process, so that signals, their sender's process group and the exit code need no forwarding.
      await import(pathToFileURL(join(import.meta.dirname, '../../../main.ts')).href)
    },
  }),
]
