import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { MODULES } from '../support/modules.ts'

const root = join(import.meta.dirname, '../..')

test('the import rules hold, and each one finds a violation', async () => {
  const copy = mkdtempSync(join(tmpdir(), 'guichet-rules-'))
  for (const name of ['src', 'tsconfig.json', '.dependency-cruiser.mjs', 'package.json'])
    cpSync(join(root, name), join(copy, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  const cruise = (): string =>
    spawnSync(
      process.execPath,
      [
        join(root, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs'),
        '--config',
        '.dependency-cruiser.mjs',
        '--output-type',
        'err',
        'src',
      ],
      { cwd: copy, encoding: 'utf8' },
    ).stdout
  expect(cruise()).toContain('no dependency violations found')
  const violations: Record<string, [file: string, importing: string]> = {
    'kernel-imports-nothing': ['src/kernel/wrong.ts', '../storage/seal.ts'],
    'storage-imports-kernel-only': ['src/storage/wrong.ts', '../modules/ledger/index.ts'],
    'connectors-import-kernel-only': ['src/connectors/wrong.ts', '../modules/banks/index.ts'],
    'standards-are-isolated': ['src/connectors/obie/wrong.ts', '../berlin-group/wire.ts'],
    'modules-import-no-entrypoint': ['src/modules/banks/wrong.ts', '../../config.ts'],
    'modules-import-index-only': ['src/modules/accounts/wrong.ts', '../consents/grant.ts'],
    'entrypoints-import-index-only': ['src/entrypoints/oauth/wrong.ts', '../../modules/consents/grant.ts'],
    'entrypoints-import-no-connector': ['src/entrypoints/console/wrong.ts', '../../connectors/index.ts'],
    'entrypoints-are-isolated': ['src/entrypoints/graphql/wrong.ts', '../oauth/index.ts'],
    'only-stores-query': ['src/modules/ledger/wrong.ts', '../../storage/database.ts'],
    'only-resolvers-import-graphql': ['src/modules/ledger/other.ts', 'graphql'],
    'only-batch-imports-dataloader': ['src/kernel/loader.ts', 'dataloader'],
    'only-metrics-imports-prom-client': ['src/kernel/meter.ts', 'prom-client'],
    'sandbox-imports-nothing': ['src/sandbox/wrong.ts', '../connectors/obie/index.ts'],
    'nothing-imports-the-sandbox': ['src/entrypoints/wrong.ts', '../sandbox/bank.ts'],
    'cli-imports-nothing': ['src/entrypoints/cli/wrong.ts', '../../kernel/ids.ts'],
    'no-test-code': ['src/wrong.ts', '../tools/wrong.ts'],
    ...Object.fromEntries(
      MODULES.slice(1).map((name, index): [string, [string, string]] => [
        `${name}-imports-later-modules-only`,
        [`src/modules/${name}/late.ts`, `../${MODULES[index]!}/index.ts`],
      ]),
    ),
  }
  const { default: config } = (await import(pathToFileURL(join(root, '.dependency-cruiser.mjs')).href)) as {
    default: { forbidden: { name: string }[] }
  }
  expect([...Object.keys(violations), 'no-cycles'].sort()).toEqual(config.forbidden.map(({ name }) => name).sort())
  mkdirSync(join(copy, 'tools'))
  writeFileSync(join(copy, 'tools/wrong.ts'), 'export {}\n')
  // Cycles of types only: each file imports a type of the next.
  const cycle = ['first', 'second', 'third'].map((name) => `src/modules/ledger/${name}.ts`)
  for (const [index, file] of cycle.entries()) {
    const next = `./${basename(cycle[(index + 1) % cycle.length]!)}`
    writeFileSync(join(copy, file), `import type { T as Next } from '${next}'\nexport type T = { next?: Next }\n`)
  }
  for (const [file, importing] of Object.values(violations)) {
    mkdirSync(dirname(join(copy, file)), { recursive: true })
    writeFileSync(join(copy, file), `import * as wrong from '${importing}'\nexport const used = wrong\n`)
  }
  const output = cruise()
  for (const rule of Object.keys(violations)) expect(output).toContain(`error ${rule}`)
  expect(output).toContain('error no-cycles: src/modules/ledger/first.ts')
  rmSync(copy, { recursive: true, force: true })
})
