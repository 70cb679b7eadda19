// Runs all checks that a change must pass, roughly in order of cost. Stops at the first failure.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const bin = (name: string): string => join(root, 'node_modules/.bin', name)

const CHECKS: readonly (readonly [name: string, command: string, ...args: string[]])[] = [
  ['generated code', process.execPath, 'tools/generate.ts'],
  ['formatting', bin('prettier'), '--check', '--log-level', 'warn', '.'],
  ['types', bin('tsc'), '-p', '.'],
  ['lint', bin('eslint'), '.'],
  ['import rules', bin('depcruise'), '--config', '.dependency-cruiser.mjs', '--output-type', 'err', 'src'],
  ['dead code', bin('knip')],
  ['language', process.execPath, 'tools/language.ts'],
  ['generated documents', process.execPath, 'tools/documents.ts', '--check'],
  ['contract', process.execPath, 'tools/contract.ts', '--check'],
  ['migrations', process.execPath, 'tools/migration.ts', 'drift'],
  ['tests', process.execPath, 'tools/test.ts'],
]

for (const [checkName, command, ...args] of CHECKS) {
  if (checkName === 'tests' && process.argv.includes('--without-tests')) continue
  process.stdout.write(`\n── ${checkName}\n`)
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (status !== 0) {
    process.stdout.write(`\n${checkName}: failed\n`)
    process.exit(1)
  }
}
