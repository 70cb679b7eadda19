import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const SOURCES = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .map((path) => `src/${path}`)
  .filter((path) => path.endsWith('.ts') && !path.startsWith('src/generated/'))
  .sort()

/** Files that write to tables which other files write to as well, each with its reason. */
const SECOND_WRITERS: Readonly<Record<string, string>> = {
  'src/storage/replaced-migrations.ts': 'Migrations may change every table.',
}
/** Tables that several files of one module write to, each with its reason. */
const SHARED_TABLES: Readonly<Record<string, { writers: readonly string[]; reason: string }>> = {
  bank: {
    writers: ['src/modules/banks/platform-access-store.ts', 'src/modules/banks/store.ts'],
    reason:
      'Which platforms a bank serves is part of its row, and has a file because one store would exceed the limit.',
  },
  consent: {
    writers: [
      'src/modules/consents/consent-store.ts',
      'src/modules/consents/reminder-store.ts',
      'src/modules/consents/suspension-store.ts',
    ],
    reason:
      'What was said of suspensions, and when the next reminder is due, is part of the row of a consent. Each is written by a job of its own.',
  },
  delivery: {
    writers: [
      'src/modules/deliveries/claim-store.ts',
      'src/modules/deliveries/planning-store.ts',
      'src/modules/deliveries/replay-store.ts',
      'src/modules/deliveries/settlement-store.ts',
      'src/modules/deliveries/store.ts',
    ],
    reason:
      'Planning, claiming, settling and replaying deliveries have a file each, because one file would exceed the limit.',
  },
  delivery_attempt: {
    writers: ['src/modules/deliveries/attempt-store.ts', 'src/modules/deliveries/settlement-store.ts'],
    reason: 'Attempts are added by the statement that settles their deliveries, and deleted by themselves.',
  },
  oauth_artifact: {
    writers: [
      'src/entrypoints/oauth/artifact-store.ts',
      'src/entrypoints/oauth/session-store.ts',
      'src/entrypoints/oauth/store.ts',
    ],
    reason: 'The library has one kind of storage for tokens, browser sessions and interactions; each has a file.',
  },
}
/** Files that write to tables whose names are values, each with its reason. */
const GENERIC_WRITERS: Readonly<Record<string, string>> = {
  'src/storage/batch-delete.ts': 'Deletes from the table that a store names. The test counts that store as the writer.',
  'src/storage/reseal.ts': 'Seals values again with the newest key, in every table that has sealed values.',
}

/** Prisma's methods that write. */
const WRITING_METHODS = /^(create|update|upsert|delete)(Many|ManyAndReturn)?$/
/** Statements that write, up to the name of the table. */
const WRITING_STATEMENT =
  /(?:\binsert\s+into|(?<!\b(?:for|do|for\s+no\s+key)\s+)\bupdate(?:\s+only)?|\bdelete\s+from(?:\s+only)?|\bmerge\s+into|\btruncate(?:\s+table)?|\bcopy)\s+(\$\{|[\w".]+)/gi

/** The tables of schema.prisma, also by the property of Prisma's client and by the relation fields that lead to each. */
function readSchema() {
  const tableByModel = new Map(
    [...read('prisma/schema.prisma').matchAll(/^model (\w+) \{(.*?)^\}/gms)].map(([, model, body]) => [
      model!,
      /@@map\("(\w+)"\)/.exec(body!)![1]!,
    ]),
  )
  const tableByAccessor = new Map(
    [...tableByModel].map(([model, table]) => [model[0]!.toLowerCase() + model.slice(1), table]),
  )
  const tableByRelation = new Map(
    [...read('prisma/schema.prisma').matchAll(/^ {2}(\w+) +(\w+)(?:\[\]|\?)?/gm)].flatMap(([, field, type]) =>
      tableByModel.has(type!) ? [[field!, tableByModel.get(type!)!] as const] : [],
    ),
  )
  return { tables: new Set(tableByModel.values()), tableByAccessor, tableByRelation }
}

const { tables, tableByAccessor, tableByRelation } = readSchema()

/** Stands for a table whose name is a value. */
const ANY_TABLE = '*'

/** The tables that a source writes to. */
function findWrites(path: string, text: string): Set<string> {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true)
  const writes = new Set<string>()
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node) || ts.isTemplateExpression(node))
      for (const [, name] of node.getText(source).matchAll(WRITING_STATEMENT)) {
        const table = name === '${' ? ANY_TABLE : name!.replaceAll('"', '').replace(/^public\./, '')
        if (table === ANY_TABLE || tables.has(table)) writes.add(table)
      }
    else if (ts.isPropertyAccessExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
      const table = tableByAccessor.get(node.expression.name.text)
      if (table !== undefined && WRITING_METHODS.test(node.name.text)) writes.add(table)
    } else if (ts.isPropertyAssignment(node)) {
      const { initializer } = node
      const name = node.name.getText(source)
      if (name === 'table' && ts.isStringLiteralLike(initializer)) writes.add(initializer.text)
      // Prisma writes to related tables by an object in place of the relation.
      if (tableByRelation.has(name) && ts.isObjectLiteralExpression(initializer))
        for (const property of initializer.properties)
          if (/^(connectOrCreate|(create|update|upsert|delete)(Many)?)$/.test(property.name?.getText(source) ?? ''))
            writes.add(tableByRelation.get(name)!)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return writes
}

/** The files that write to each table of the schema. */
function findWriters(sources: ReadonlyMap<string, string>): Map<string, string[]> {
  const writers = new Map([...tables].map((table): [string, string[]] => [table, []]))
  for (const [path, text] of sources)
    for (const table of findWrites(path, text)) if (table !== ANY_TABLE) writers.get(table)!.push(path)
  return writers
}

describe('the tables', () => {
  const sources = new Map(SOURCES.map((path) => [path, read(path)]))

  test('every table has exactly one file that writes to it, or the files that are listed for it', () => {
    const stores = new Map([...sources].filter(([path]) => !(path in SECOND_WRITERS)))
    const faults = [...findWriters(stores)].filter(([table, paths]) =>
      table in SHARED_TABLES ? paths.join() !== SHARED_TABLES[table]!.writers.join() : paths.length !== 1,
    )
    expect(tables.size).toBeGreaterThan(30)
    expect(Object.fromEntries(faults)).toEqual({})
  })

  test('the files that are listed for a table belong to one module', () => {
    for (const [table, { writers }] of Object.entries(SHARED_TABLES))
      expect(new Set(writers.map((path) => dirname(path))).size, table).toBe(1)
  })

  test('only a listed file writes to a table whose name is a value', () => {
    const generic = [...sources].filter(([, text]) => findWrites('source.ts', text).has(ANY_TABLE))
    expect(generic.map(([path]) => path)).toEqual(Object.keys(GENERIC_WRITERS))
  })

  test('every listed second writer writes to a table', () => {
    const writers = Object.keys(SECOND_WRITERS).filter((path) => findWrites(path, sources.get(path)!).size > 0)
    expect(writers).toEqual(Object.keys(SECOND_WRITERS))
  })

  test.each([
    ['a method of Prisma', 'tablesIn(tx).consent.updateMany({ where })', ['consent']],
    ['a method of Prisma on a variable', 'tables.bankSignIn.create({ data })', ['bank_sign_in']],
    ['a related table in a method of Prisma', 'x.find({ data: { receipts: { create: [] } } })', ['receipt']],
    ['an insert', '`insert into "snapshot" as known (sealed) values (${sealed})`', ['snapshot']],
    ['an update within a longer statement', '`with a as (select 1) update connection set a = ${b}`', ['connection']],
    ['a delete', "'delete from public.disclosure where true'", ['disclosure']],
    ['a truncation', "'truncate table outage'", ['outage']],
    ['a table that is deleted from in batches', "deleteInBatches(database, { table: 'alert' })", ['alert']],
    ['a table whose name is a value', '`update ${table} set a = 1`', [ANY_TABLE]],
  ])('%s is found', (_what, text, written) => {
    expect([...findWrites('example.ts', text)]).toEqual(written)
  })

  test.each([
    ['a read', 'tablesIn(tx).consent.findMany({ where })'],
    ['a lock', "'select 1 from consent where true for update of consent'"],
    ['the update of an upsert', "'on conflict (id) do update set a = 1'"],
    ['a comment', '// delete from snapshot where true'],
  ])('%s is not taken for a write', (_what, text) => {
    expect([...findWrites('example.ts', text)]).toEqual([])
  })
})
