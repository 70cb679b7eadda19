import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const src = join(import.meta.dirname, '../../src')
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.startsWith('generated'))
  .map((file) => [file, readFileSync(join(src, file), 'utf8')] as const)

test('every cache with eviction is the one of the kernel, which is bounded in bytes', () => {
  expect(files.filter(([, text]) => text.includes('.keys().next()')).map(([file]) => file)).toEqual([])
  expect(files.filter(([, text]) => text.includes("from 'lru-cache'")).map(([file]) => file)).toEqual([
    'kernel/cache.ts',
  ])
})

test('only one file parses and validates documents', () => {
  const readers = files.filter(([, text]) => /import \{[^}]*\b(parse|validate)\b[^}]*\} from 'graphql'/s.test(text))
  expect(readers.map(([file]) => file)).toEqual(['entrypoints/graphql/read-document.ts'])
})
