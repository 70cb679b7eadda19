// Runs the tests, or with `--prove` the purchase-data proof, and prints `N passed, N failed` as the last line. Other
// arguments are file filters.
import { startVitest } from 'vitest/node'

const args = process.argv.slice(2)
if (args.includes('--prove')) process.env['GUICHET_PROVE'] = 'yes'
const vitest = await startVitest(
  args.filter((arg) => arg !== '--prove'),
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
