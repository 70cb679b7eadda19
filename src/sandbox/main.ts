import { runSandbox, type SandboxOptions } from './run.ts'

// The gateway passes the options as a JSON argument; a container sets them in the environment.
const optionsArgument = process.argv[2]
const options: SandboxOptions = optionsArgument
  ? (JSON.parse(optionsArgument) as SandboxOptions)
  : {
      host: process.env['HOST'] ?? '127.0.0.1',
      port: Number(process.env['GUICHET_SANDBOX_PORT'] ?? 4_101),
      publicHost: process.env['GUICHET_SANDBOX_URL'],
      stateDir: process.env['GUICHET_DATA_DIR'] ?? '.guichet/sandbox',
      seed: 'guichet',
      canary: undefined,
    }

// A closed output stream must not end the process.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

const { addresses, stop } = await runSandbox(options).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
})

const shutDown = (): void => void stop().then(() => process.exit(0))
if (process.send) {
  // Ctrl-C reaches the whole process group. A child ignores it and stops when its parent disconnects or sends SIGTERM.
  process.on('SIGINT', () => undefined)
  process.on('disconnect', shutDown)
  process.send(addresses)
} else {
  process.on('SIGINT', shutDown)
  process.stdout.write(`${JSON.stringify(addresses)}\n`)
}
process.on('SIGTERM', shutDown)
