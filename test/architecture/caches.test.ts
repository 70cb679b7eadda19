import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const src = join(import.meta.dirname, '../../src')
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.startsWith('generated'))
  .map((file) => [file, readFileSync(join(src, file), 'utf8')] as const)

test('no cache is made by hand: what displaces its eldest entry is the kernel’s, which is bounded in bytes', () => {
  expect(files.filter(([, text]) => text.includes('.keys().next()')).map(([file]) => file)).toEqual([])
  expect(files.filter(([, text]) => text.includes("from 'lru-cache'")).map(([file]) => file)).toEqual([
    'kernel/cache.ts',
  ])
})

test('a document is parsed and validated by one reader alone', () => {
  const readers = files.filter(([, text]) => /import \{[^}]*\b(parse|validate)\b[^}]*\} from 'graphql'/s.test(text))
  expect(readers.map(([file]) => file)).toEqual(['entrypoints/graphql/read-document.ts'])
})
