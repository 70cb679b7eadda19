import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  buildSchema,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isNonNullType,
  isObjectType,
  isUnionType,
} from 'graphql'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { STANDARDS } from '../../src/connectors/index.ts'
import { ERROR_CODES } from '../../src/kernel/errors.ts'
import { MODULES } from '../support/modules.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

const filesBelow = (folder: string): string[] =>
  readdirSync(join(root, folder)).flatMap((name) => {
    const path = join(folder, name)
    if (path === 'src/generated') return []
    return statSync(join(root, path)).isDirectory() ? filesBelow(path) : [path]
  })
const SOURCES = filesBelow('src').filter((path) => path.endsWith('.ts'))

/** Words whose presence would mean that there is a place for purchases. */
const PURCHASE_WORDS =
  /\b(merchants?|mcc|payees?|purchases?|transactions?|receipts?_?lines?|remittance|beneficiar(y|ies)|creditor|debtor|cart|basket|spend(ing)?)\b/i

test('every sender of outbound requests maps an OUTBOUND error to its own error', () => {
  const senders = SOURCES.filter((path) => /\bhttp\.send\(/.test(read(path)))
  expect(senders.filter((path) => !read(path).includes('OutboundError'))).toEqual([
    // It only records requests; the connector that sends them turns the error.
    'src/modules/banks/certification/check-context.ts',
    // It calls the sandbox only, whose operator sees the internal code on the console.
    'src/seed.ts',
  ])
  expect(Object.keys(ERROR_CODES).filter((code) => code.startsWith('OUTBOUND'))).toEqual([])
})

test('no file but kernel/retry.ts holds a schedule of retries or checks', () => {
  const schedule =
    /\b(?!MAX_)[A-Z_]*(RETRY|RETRIES|POLL|RECONNECT|BACKOFF|RERUN|IDLE)[A-Z_]* = [[{(]*\d|\bsleep\(\d|\* 2 \*\* |interval '\d+ minute/
  const own = /^src\/(kernel\/retry\.ts$|sandbox\/|entrypoints\/cli\/)/
  const lines = SOURCES.filter((path) => !own.test(path)).flatMap((path) =>
    read(path)
      .split('\n')
      .filter((line) => schedule.test(line))
      .map((line) => `${path}: ${line.trim()}`),
  )
  expect(lines).toEqual([])
})

describe('purchase data', () => {
  test('the schema has no type, field, argument or enum value for purchases', () => {
    const schema = buildSchema(read('schema.graphql'))
    const names: string[] = []
    for (const type of Object.values(schema.getTypeMap())) {
      if (type.name.startsWith('__')) continue
      names.push(type.name)
      if (isEnumType(type)) names.push(...type.getValues().map(({ name }) => name))
      if (isInputObjectType(type)) names.push(...Object.keys(type.getFields()))
      if (isObjectType(type))
        for (const field of Object.values(type.getFields()))
          names.push(field.name, ...field.args.map(({ name }) => name))
    }
    const inWords = names.map((name) => name.replace(/([a-z])([A-Z])/g, '$1 $2').replaceAll('_', ' '))
    expect(inWords.filter((name) => PURCHASE_WORDS.test(name))).toEqual([])
    expect(PURCHASE_WORDS.test('last transaction')).toBe(true)
  })

  test('the database has no table or column for purchases', () => {
    const lines = read('prisma/schema.prisma')
      .split('\n')
      .filter((line) => !line.trim().startsWith('//'))
    expect(
      lines.filter((line) => PURCHASE_WORDS.test(line.replace(/([a-z])([A-Z])/g, '$1 $2').replaceAll('_', ' '))),
    ).toEqual([])
  })

  test('no wire schema of a standard has a key for purchases or free text', () => {
    for (const path of SOURCES.filter((one) => one.endsWith('/wire.ts'))) {
      const keys = [...read(path).matchAll(/^\s*(\w+): /gm)].map(([, key]) => key!.replace(/([a-z])([A-Z])/g, '$1 $2'))
      expect(
        keys.filter(
          (key) =>
            PURCHASE_WORDS.test(key) ||
            /name|nick|detail|description/i.test(key.replace('SchemeName', '').replace('Scheme Name', '')),
        ),
        path,
      ).toEqual([])
    }
  })

  test('no API path of a standard leads to purchases', () => {
    for (const path of SOURCES.filter((one) => /^src\/connectors\/[^/]+\/[^/]+\.ts$/.test(one)))
      expect(
        read(path).match(
          /['`][^'`\s]*\/[^'`\s]*(transaction|statement|beneficiar|standing|direct-debit|scheduled|offer|part(y|ies))[^'`\s]*['`]/gi,
        ),
        path,
      ).toBeNull()
  })
})

describe('the GraphQL schema', () => {
  const schema = buildSchema(read('schema.graphql'))
  const types = Object.values(schema.getTypeMap()).filter(
    ({ name }) => !name.startsWith('__') && !['String', 'Int', 'Float', 'Boolean', 'ID'].includes(name),
  )

  test('every type, field and enum value has a description', () => {
    const undescribed = types.flatMap((type) => [
      ...(type.description ? [] : [type.name]),
      ...(isEnumType(type)
        ? type.getValues().flatMap(({ name, description }) => (description ? [] : [`${type.name}.${name}`]))
        : []),
      ...(isObjectType(type) || isInterfaceType(type) || isInputObjectType(type)
        ? Object.values<{ name: string; description?: string | null | undefined }>(type.getFields()).flatMap(
            ({ name, description }) => (description ? [] : [`${type.name}.${name}`]),
          )
        : []),
    ])
    expect(undescribed).toEqual([])
  })

  test('every mutation has one input object and a payload with errors', () => {
    for (const field of Object.values(schema.getMutationType()!.getFields())) {
      expect(
        field.args.map(({ name }) => name),
        field.name,
      ).toEqual(['input'])
      const payload = schema.getType(String(field.type))
      const names = isObjectType(payload) ? Object.keys(payload.getFields()) : []
      expect(names.includes('errors') || names.includes('userErrors'), field.name).toBe(true)
    }
  })

  test('the schema has every error code of the table in its order, every category and every party', () => {
    const valuesOf = (name: string): string[] => {
      const type = schema.getType(name)
      return isEnumType(type) ? type.getValues().map((value) => value.name) : []
    }
    const definitions = Object.values(ERROR_CODES)
    expect(valuesOf('ErrorCode')).toEqual(Object.keys(ERROR_CODES))
    expect(new Set(valuesOf('ErrorCategory'))).toEqual(new Set(definitions.map(({ category }) => category)))
    expect(new Set(valuesOf('Party'))).toEqual(new Set(definitions.map(({ resolvableBy }) => resolvableBy)))
  })

  test('no input type contains itself, because compiled execution would not end', () => {
    const reaches = (from: string, seen = new Set<string>()): Set<string> => {
      const type = schema.getType(from)
      if (!isInputObjectType(type)) return seen
      for (const { type: inner } of Object.values(type.getFields())) {
        const name = String(inner).replace(/[[\]!]/g, '')
        if (!seen.has(name)) reaches(name, seen.add(name))
      }
      return seen
    }
    for (const type of types.filter(isInputObjectType)) expect(reaches(type.name).has(type.name), type.name).toBe(false)
  })

  test('every field with its own rule is nullable, so that it can be null if it is denied', () => {
    for (const type of types.filter(isObjectType))
      for (const field of Object.values(type.getFields()))
        if (field.astNode?.directives?.some(({ name }) => name.value === 'requiresScopes'))
          expect(isNonNullType(field.type), `${type.name}.${field.name}`).toBe(false)
    expect(types.filter(isUnionType).length).toBeGreaterThan(0)
  })
})

describe('the source code', () => {
  test('every export has a documentation comment', () => {
    const undocumented: string[] = []
    for (const path of SOURCES.filter((one) => !one.startsWith('src/sandbox/'))) {
      const source = ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest, true)
      for (const statement of source.statements) {
        const isExported =
          ts.canHaveModifiers(statement) &&
          ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)
        if (!isExported || ts.getJSDocCommentsAndTags(statement).length > 0) continue
        const name = ts.isVariableStatement(statement)
          ? statement.declarationList.declarations[0]!.name.getText()
          : (statement as ts.FunctionDeclaration).name?.getText()
        undocumented.push(`${path}: ${name}`)
      }
    }
    expect(undocumented).toEqual([])
  })

  test('no file of src or test has more than 450 lines', () => {
    // A list of migrations grows by a line for each.
    const texts = [...SOURCES, ...filesBelow('test')].filter((path) => !path.endsWith('.txt'))
    expect(texts.filter((path) => read(path).split('\n').length > 450)).toEqual([])
  })

  test('every standard has the same five files, and others only for a concept of its own', () => {
    const folders = readdirSync(join(root, 'src/connectors'), { withFileTypes: true }).filter(
      (entry) => entry.isDirectory() && entry.name !== 'profiles',
    )
    expect(folders).toHaveLength(Object.keys(STANDARDS).length)
    for (const { name } of folders)
      expect(readdirSync(join(root, 'src/connectors', name)), name).toEqual(
        expect.arrayContaining(['events.ts', 'index.ts', 'normalise.ts', 'quirks.ts', 'wire.ts']),
      )
  })

  test('no module depends on the standard of a bank', () => {
    const named = SOURCES.filter((path) => path.startsWith('src/modules/')).filter((path) =>
      /['"`](OBIE|BERLIN_GROUP|FDX|CDR)['"`]|berlin-group|open banking|nextgenpsd2/i.test(read(path)),
    )
    expect(named).toEqual([])
  })

  test('both schemas have their sections in the order of the modules', () => {
    for (const path of ['schema.graphql', 'prisma/schema.prisma']) {
      const sections = [...read(path).matchAll(/^(?:#|\/\/) ─── ([a-z ]+) ─/gm)].map(([, name]) => name!)
      expect(
        sections.filter((name) => name !== 'authorization server'),
        path,
      ).toEqual(MODULES)
    }
  })

  test('every INVALID_INPUT error names the fields at fault and their rules', () => {
    const files = filesBelow('src').filter((path) =>
      /new GatewayError\(\s*'INVALID_INPUT'(?!,\s*\{\s*faults)/.test(read(path)),
    )
    expect(files).toEqual([])
  })

  test('every link and path in the documents leads to an existing file', () => {
    for (const path of ['README.md', ...filesBelow('docs')]) {
      for (const [, target] of read(path).matchAll(/\]\((?!https?:)([^)#]+)\)/g))
        expect(statSync(join(root, dirname(path), target!)).size, `${path} → ${target}`).toBeGreaterThan(0)
      for (const [, target] of read(path).matchAll(/`((?:src|test|docs|tools)\/[\w./-]+)`/g))
        expect(() => statSync(join(root, target!)), `${path} → ${target}`).not.toThrow()
    }
  })
})
