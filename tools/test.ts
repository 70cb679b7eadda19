// Runs the tests, or with `--prove` the purchase-data proof, and ends with the line `N passed, N failed`. `--cases=N` sets how
// many random cases a property test runs. Other arguments are file filters.
import { startVitest } from 'vitest/node'

const args = process.argv.slice(2)
if (args.includes('--prove')) process.env['GUICHET_PROVE'] = 'yes'
const cases = args.find((argument) => argument.startsWith('--cases='))
if (cases) process.env['GUICHET_CASES'] = cases.slice('--cases='.length)
const vitest = await startVitest(
  args.filter((argument) => !argument.startsWith('--')),
  { watch: false, run: true },
)
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
