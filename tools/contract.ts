// The contract's changelog. `--check` fails where schema.graphql differs from what docs/CHANGELOG.md was last written from,
// or breaks what clients rely on without having been announced; `publish` writes the differences down.
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
  readonly what: string
}

/** A breaking change that clients were told of: when, and from when on it may be made. */
export interface Announcement {
  readonly what: string
  /** YYYY-MM-DD. */
  readonly announced: string
  readonly from: string
}

/** Clients have so long to follow. */
const NOTICE_DAYS = 90

/** Every difference, the breaking ones first. */
export function changesBetween(before: GraphQLSchema, after: GraphQLSchema): Change[] {
  return [
    ...findBreakingChanges(before, after)
      // A scalar that nothing uses any more is no change of its own.
      .filter(({ description }) => !description.startsWith('Standard scalar'))
      .map(({ description }): Change => ({ kind: 'BREAKING', what: description })),
    ...findDangerousChanges(before, after).map(({ description }): Change => ({ kind: 'DANGEROUS', what: description })),
    ...[...placesOf(after)]
      .filter(([place]) => !placesOf(before).has(place))
      .map(([place]): Change => ({ kind: 'NEW', what: `${place} was added.` })),
    ...[...placesOf(after)]
      .filter(([place, deprecated]) => deprecated && placesOf(before).get(place) === undefined)
      .map(([place, deprecated]): Change => ({ kind: 'DEPRECATED', what: `${place}: ${deprecated!}` })),
  ]
}

/** Types, fields, arguments and values by their path, each with its deprecation. */
function placesOf(schema: GraphQLSchema): Map<string, string | undefined> {
  const places = new Map<string, string | undefined>()
  for (const type of Object.values(schema.getTypeMap())) {
    if (type.name.startsWith('__')) continue
    places.set(type.name, undefined)
    if (isEnumType(type))
      for (const { name, deprecationReason } of type.getValues())
        places.set(`${type.name}.${name}`, deprecationReason ?? undefined)
    if (isObjectType(type) || isInterfaceType(type) || isInputObjectType(type))
      for (const field of Object.values<GraphQLField<unknown, unknown> | GraphQLInputField>(type.getFields())) {
        places.set(`${type.name}.${field.name}`, field.deprecationReason ?? undefined)
        if ('args' in field)
          for (const { name } of field.args) places.set(`${type.name}.${field.name}(${name}:)`, undefined)
      }
  }
  return places
}

/** What keeps a set of changes from being published today; nothing where they may be. */
export function objectionsTo(changes: readonly Change[], announced: readonly Announcement[], today: string): string[] {
  const days = (from: string, to: string): number => (Date.parse(to) - Date.parse(from)) / 86_400_000
  return changes.flatMap(({ kind, what }) => {
    if (kind === 'DEPRECATED')
      return /\d{4}-\d{2}-\d{2}/.test(what) ? [] : [`a deprecation needs the day of its end: ${what}`]
    if (kind !== 'BREAKING') return []
    const notice = announced.find((one) => one.what === what)
    if (!notice) return [`breaks clients and was not announced: ${what}`]
    if (days(notice.announced, notice.from) < NOTICE_DAYS)
      return [`announced less than ${NOTICE_DAYS} days ahead: ${what}`]
    return days(notice.from, today) < 0 ? [`not before ${notice.from}: ${what}`] : []
  })
}

const root = join(import.meta.dirname, '..')
const PUBLISHED = join(root, 'docs/contract/published.graphql')
const ANNOUNCED = join(root, 'docs/contract/announced.json')
const CHANGELOG = join(root, 'docs/CHANGELOG.md')
const TITLES = { BREAKING: 'Breaking', DANGEROUS: 'To be looked at', DEPRECATED: 'Deprecated', NEW: 'New' } as const

function main(): void {
  const text = readFileSync(join(root, 'schema.graphql'), 'utf8')
  const published = existsSync(PUBLISHED) ? readFileSync(PUBLISHED, 'utf8') : undefined
  const changes = published === undefined ? [] : changesBetween(buildSchema(published), buildSchema(text))
  const announced = JSON.parse(readFileSync(ANNOUNCED, 'utf8')) as Announcement[]
  const today = new Date().toISOString().slice(0, 10)
  const objections = objectionsTo(changes, announced, today)
  if (objections.length > 0) fail(objections)
  if (process.argv.includes('publish')) {
    const sections = Object.entries(TITLES).flatMap(([kind, title]) => {
      const lines = changes.filter((change) => change.kind === kind).map(({ what }) => `- ${what}`)
      return lines.length > 0 ? [`### ${title}\n\n${lines.join('\n')}\n`] : []
    })
    const [head = '', ...rest] = readFileSync(CHANGELOG, 'utf8').split(/^(?=## )/m)
    if (sections.length > 0)
      writeFileSync(CHANGELOG, [head, `## ${today}\n\n${sections.join('\n')}\n`, ...rest].join(''))
    writeFileSync(PUBLISHED, text)
  } else if (published !== text) fail(['schema.graphql is not what was published last: npm run contract -- publish'])
}

function fail(lines: readonly string[]): never {
  process.stderr.write(`${lines.join('\n')}\n`)
  process.exit(1)
}

if (process.argv[1] === import.meta.filename) main()
