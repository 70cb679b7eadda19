// Runs the tests, or with `--prove` the purchase-data proof, and ends with the line `N passed, N failed`. `--cases=N` sets how
// many random cases a property test runs, `--rounds=N` how often a test of races or faults repeats them. `--on-database` leaves
// out the files that do not use the run's PostgreSQL, which pass on any server or start one of their own. Other arguments are
// file filters.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { startVitest } from 'vitest/node'

/** What opens or creates a database on the server that DATABASE_URL names. */
const USES_DATABASE = /\b(createTestDatabase|startGateway|startProduction|serverUrl)\b/

const args = process.argv.slice(2)
if (args.includes('--prove')) process.env['GUICHET_PROVE'] = 'yes'
const cases = args.find((argument) => argument.startsWith('--cases='))
if (cases) process.env['GUICHET_CASES'] = cases.slice('--cases='.length)
const rounds = args.find((argument) => argument.startsWith('--rounds='))
if (rounds) process.env['GUICHET_ROUNDS'] = rounds.slice('--rounds='.length)
const filters = args.filter((argument) => !argument.startsWith('--'))
if (args.includes('--on-database')) filters.push(...findDatabaseTests(join(import.meta.dirname, '../test')))
const vitest = await startVitest(filters, { watch: false, run: true })
const tests = vitest.state.getFiles().flatMap((file) => collectStates(file))
const passed = tests.filter((state) => state === 'pass').length
const failedFiles = vitest.state
  .getFiles()
  .filter((file) => file.result?.state === 'fail' && collectStates(file).every((state) => state !== 'fail')).length
const failed = tests.filter((state) => state === 'fail').length + failedFiles + vitest.state.getUnhandledErrors().length
await vitest.close()
process.stdout.write(`\n${passed} passed, ${failed} failed\n`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)

interface Task {
  type: string
  result?: { state?: string } | undefined
  tasks?: Task[]
}

function collectStates(task: Task): string[] {
  return task.tasks ? task.tasks.flatMap(collectStates) : [task.result?.state ?? 'skip']
}

function findDatabaseTests(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => path.endsWith('.test.ts') && USES_DATABASE.test(readFileSync(path, 'utf8')))
}
