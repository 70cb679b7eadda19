// Maintains docs/CHANGELOG.md. `--check` fails if schema.graphql differs from the published schema or has a breaking change
// that was not announced. `publish` adds the differences to the changelog.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  buildSchema,
  findBreakingChanges,
  findDangerousChanges,
  isEnumType,
  isInputObjectType,
  isObjectType,
  isInterfaceType,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLSchema,
} from 'graphql'

/** One difference between two contracts. */
export interface Change {
  readonly kind: 'BREAKING' | 'DANGEROUS' | 'NEW' | 'DEPRECATED'
  readonly description: string
}

/** A breaking change that was announced to clients: when, and from which day it may be published. */
export interface Announcement {
  readonly description: string
  /** YYYY-MM-DD. */
  readonly announcedOn: string
  readonly effectiveFrom: string
}

/** The minimum time between an announcement and its breaking change. */
const NOTICE_DAYS = 90

/** All differences between two schemas, breaking changes first. */
export function diffSchemas(before: GraphQLSchema, after: GraphQLSchema): Change[] {
  return [
    ...findBreakingChanges(before, after)
      // A standard scalar that is no longer used is not a change for clients.
      .filter(({ description }) => !description.startsWith('Standard scalar'))
      .map(({ description }): Change => ({ kind: 'BREAKING', description })),
    ...findDangerousChanges(before, after).map(({ description }): Change => ({
      kind: 'DANGEROUS',
      description,
    })),
    ...[...schemaCoordinatesOf(after)]
      .filter(([coordinate]) => !schemaCoordinatesOf(before).has(coordinate))
      .map(([coordinate]): Change => ({ kind: 'NEW', description: `${coordinate} was added.` })),
    ...[...schemaCoordinatesOf(after)]
      .filter(
        ([coordinate, deprecationReason]) =>
          deprecationReason && schemaCoordinatesOf(before).get(coordinate) === undefined,
      )
      .map(([coordinate, deprecationReason]): Change => ({
        kind: 'DEPRECATED',
        description: `${coordinate}: ${deprecationReason!}`,
      })),
  ]
}

/** Deprecation reasons by schema coordinate: types, fields, arguments and enum values. */
function schemaCoordinatesOf(schema: GraphQLSchema): Map<string, string | undefined> {
  const coordinates = new Map<string, string | undefined>()
  for (const type of Object.values(schema.getTypeMap())) {
    if (type.name.startsWith('__')) continue
    coordinates.set(type.name, undefined)
    if (isEnumType(type))
      for (const { name, deprecationReason } of type.getValues())
        coordinates.set(`${type.name}.${name}`, deprecationReason ?? undefined)
    if (isObjectType(type) || isInterfaceType(type) || isInputObjectType(type))
      for (const field of Object.values<GraphQLField<unknown, unknown> | GraphQLInputField>(type.getFields())) {
        coordinates.set(`${type.name}.${field.name}`, field.deprecationReason ?? undefined)
        if ('args' in field)
          for (const { name } of field.args) coordinates.set(`${type.name}.${field.name}(${name}:)`, undefined)
      }
  }
  return coordinates
}

/** Why the changes may not be published today; empty if they may. `today` is YYYY-MM-DD. */
export function findViolations(
  changes: readonly Change[],
  announcements: readonly Announcement[],
  today: string,
): string[] {
  const days = (from: string, to: string): number => (Date.parse(to) - Date.parse(from)) / 86_400_000
  return changes.flatMap(({ kind, description }) => {
    if (kind === 'DEPRECATED')
      return /\d{4}-\d{2}-\d{2}/.test(description)
        ? []
        : [`a deprecation reason must name the removal date (YYYY-MM-DD): ${description}`]
    if (kind !== 'BREAKING') return []
    const announcement = announcements.find((candidate) => candidate.description === description)
    if (!announcement) return [`breaking change without announcement: ${description}`]
    if (days(announcement.announcedOn, announcement.effectiveFrom) < NOTICE_DAYS)
      return [`announced less than ${NOTICE_DAYS} days before it takes effect: ${description}`]
    return days(announcement.effectiveFrom, today) < 0
      ? [`must not be published before ${announcement.effectiveFrom}: ${description}`]
      : []
  })
}

const root = join(import.meta.dirname, '..')
const PUBLISHED_SCHEMA_FILE = join(root, 'docs/contract/published.graphql')
const ANNOUNCEMENTS_FILE = join(root, 'docs/contract/announced.json')
const CHANGELOG_FILE = join(root, 'docs/CHANGELOG.md')
const TITLES = { BREAKING: 'Breaking', DANGEROUS: 'Possibly breaking', DEPRECATED: 'Deprecated', NEW: 'New' } as const

function main(): void {
  const text = readFileSync(join(root, 'schema.graphql'), 'utf8')
  const published = existsSync(PUBLISHED_SCHEMA_FILE) ? readFileSync(PUBLISHED_SCHEMA_FILE, 'utf8') : undefined
  const changes = published === undefined ? [] : diffSchemas(buildSchema(published), buildSchema(text))
  const announcements = JSON.parse(readFileSync(ANNOUNCEMENTS_FILE, 'utf8')) as Announcement[]
  const today = new Date().toISOString().slice(0, 10)
  const violations = findViolations(changes, announcements, today)
  if (violations.length > 0) fail(violations)
  if (process.argv.includes('publish')) {
    const sections = Object.entries(TITLES).flatMap(([kind, title]) => {
      const lines = changes.filter((change) => change.kind === kind).map(({ description }) => `- ${description}`)
      return lines.length > 0 ? [`### ${title}\n\n${lines.join('\n')}\n`] : []
    })
    const [head = '', ...rest] = readFileSync(CHANGELOG_FILE, 'utf8').split(/^(?=## )/m)
    if (sections.length > 0)
      writeFileSync(CHANGELOG_FILE, [head, `## ${today}\n\n${sections.join('\n')}\n`, ...rest].join(''))
    writeFileSync(PUBLISHED_SCHEMA_FILE, text)
  } else if (published !== text)
    fail(['schema.graphql differs from the published schema; run: npm run contract -- publish'])
}

function fail(lines: readonly string[]): never {
  process.stderr.write(`${lines.join('\n')}\n`)
  process.exit(1)
}

if (process.argv[1] === import.meta.filename) main()
