import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const src = join(root, 'src')
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.startsWith('generated'))
  .map((file) => [file, readFileSync(join(src, file), 'utf8')] as const)

/** The columns of claims, which are compared with the clock of the database. */
const CLAIMS = ['claimed_until', 'refresh_claimed_until', 'events_polled_at', 'completed_at', 'check_at']
/** The table of applied migrations belongs to Prisma, and the monitor compares the two clocks. */
const OTHERS = ['storage/migrate.ts', 'storage/clock-monitor.ts']
/** Columns that rows are only ordered by or shown with, and that no code compares with its own time. */
const FILLED_BY_DEFAULT = [
  'Account.createdAt',
  'Bank.createdAt',
  'Client.createdAt',
  'Connection.createdAt',
  'Connector.createdAt',
  'Consent.createdAt',
  'Customer.createdAt',
  'Delivery.createdAt',
  'Delivery.scheduleStartedAt',
  'Organization.createdAt',
  'Outage.createdAt',
  'OutboxMessage.createdAt',
  'RegisteredOperation.registeredAt',
  'SharedSecret.createdAt',
  'WebhookEndpoint.createdAt',
]

test('SQL uses the clock of the database for claims only', () => {
  const found = files
    .filter(([file]) => /store\.ts$|^storage\//.test(file) && !OTHERS.includes(file))
    .flatMap(([file, text]) =>
      [
        ...text.matchAll(
          /(?<![.\w])(now|clock_timestamp|statement_timestamp|transaction_timestamp)\(\)|current_timestamp/gi,
        ),
      ].map(({ index }) => ({ file, near: text.slice(Math.max(0, index - 240), index + 60) })),
    )
  expect(found.length).toBeGreaterThan(10)
  expect(found.filter(({ near }) => !CLAIMS.some((column) => near.includes(column)))).toEqual([])
})

test('no claim is compared with, or set to, the time of a process', () => {
  const column = `(?:${CLAIMS.join('|')})`
  const wrong = new RegExp(`${column}\\s*(?:<=?|>=?)\\s*\\$|${column} = \\$\\{(?:addMs|subtractMs|now|until)`)
  expect(files.filter(([, text]) => wrong.test(text)).map(([file]) => file)).toEqual([])
  const byPrisma =
    /(?:claimedUntil|refreshClaimedUntil|eventsPolledAt|cleanAt): (?:\{ (?:lte?|gte?)|(?:addMs|subtractMs)\()/
  expect(files.filter(([, text]) => byPrisma.test(text)).map(([file]) => file)).toEqual([])
})

test('a time that the code compares with its own has no default in the database', () => {
  const schema = readFileSync(join(root, 'prisma/schema.prisma'), 'utf8')
  const filled = [...schema.matchAll(/^model (\w+) \{([\s\S]*?)^\}/gm)].flatMap(([, model, body]) =>
    [...body!.matchAll(/^ {2}(\w+) .*@default\(now\(\)\)/gm)].map(([, field]) => `${model!}.${field!}`),
  )
  expect(filled.sort()).toEqual(FILLED_BY_DEFAULT)
})

/** The clock itself, and a comparison of two ways that are timed alternately. */
const MEASURES_REAL_TIME = ['support/patient-time.ts', 'entrypoints/contract.test.ts']

test('a test measures durations on a clock that stops while other programs run', () => {
  const tests = join(root, 'test')
  const found = readdirSync(tests, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !MEASURES_REAL_TIME.includes(file))
    .flatMap((file) =>
      [
        ...readFileSync(join(tests, file), 'utf8').matchAll(/performance\.now\(\)|Date\.now\(\) - (began|start)\w*/gi),
      ].map(([text]) => `${file}: ${text}: use patientTimers.monotonicMs()`),
    )
  expect(found.filter((line) => !line.startsWith('architecture/clocks'))).toEqual([])
})
