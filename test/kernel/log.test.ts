import { DatabaseError } from 'pg'
import { describe, expect, test } from 'vitest'
import { GatewayError } from '../../src/kernel/errors.ts'
import { createLog, errorTrace } from '../../src/kernel/log.ts'
import { Prisma } from '../../src/generated/prisma/client.ts'

/** What a message may hold and no log line may: a payee, an amount, a card number, a token. */
const MARKERS = ['COFFEE-HOUSE', '4.50 EUR', '4111111111111111', 'eyJhbGciOi.secret', 'payee(Ann)'] as const

/** Messages as V8, drivers and people make them, with what was being worked on in them. */
const MESSAGES: readonly ((marker: string) => string)[] = [
  (marker) => marker,
  (marker) => `Unexpected token 'C', "${marker}" is not valid JSON`,
  (marker) => `first line\nsecond line ${marker}\n\nlast`,
  (marker) => `\nInvalid \`tables.account.create()\` invocation in\n\n  at ${marker}\n`,
  (marker) => `    at ${marker}`,
  (marker) => `x\n    at ${marker} (file:///srv/${marker}.js:1:1)`,
  (marker) => `x\n    at file:///srv/${marker}.js:1:1\n    at async ${marker} (node:internal/x:2:3)`,
  (marker) => `x\n    at ${marker} (${import.meta.dirname}/${marker}.ts:1:1)`,
  (marker) => `x\r\n    at ${marker}\u2028    at ${marker}`,
  (marker) => `duplicate key value violates unique constraint, Key (name)=(${marker}) already exists.`,
]

class Renamed extends Error {
  override name = 'Renamed'
}

const ERRORS: readonly ((message: string, marker: string) => unknown)[] = [
  (message) => new Error(message),
  (message) => new TypeError(message),
  (message) => new Renamed(message),
  (message) => new DOMException(message, 'AbortError'),
  (message) => new DatabaseError(message, message.length, 'error'),
  (message) => Object.assign(new DatabaseError(message, 1, 'error'), { code: '23505', detail: message }),
  (message) => new Prisma.PrismaClientKnownRequestError(message, { code: 'P2002', clientVersion: '1' }),
  (message) => new Prisma.PrismaClientUnknownRequestError(message, { clientVersion: '1' }),
  (message, marker) => Object.assign(new Error(message), { name: `${marker} at`, code: marker }),
  (message) => new GatewayError('INTERNAL', { internalMessage: message, cause: new Error(message) }),
  (message) => new Error('outer', { cause: new Error('middle', { cause: new SyntaxError(message) }) }),
  (message) => new AggregateError([new Error(message), new AggregateError([new Error(message)], message)], message),
  (message) => new Error('outer', { cause: message }),
  (message) => message,
  (message) => ({ message, stack: `Error: ${message}\n    at ${message}` }),
  // The stack says what the message was when it was first read.
  (message) => {
    const error = new Error(message)
    void error.stack
    error.message = message.split('\n')[0]!
    return error
  },
  (message) => Object.assign(new Error('short'), { stack: `Error: short ${message}\n    at ${message}` }),
  (message) => {
    const error = new Error('a circle')
    return Object.assign(error, { cause: new Error(message, { cause: error }) })
  },
  (message) => {
    try {
      return JSON.parse(message) as unknown
    } catch (error) {
      return error
    }
  },
  (message) => {
    throw Object.defineProperty(new Error(message), 'code', {
      get: () => {
        throw new Error(message)
      },
    })
  },
]

describe('an error in the log', () => {
  test.each(MARKERS)('no part of an error message with %s is logged, for any class of error', (marker) => {
    for (const message of MESSAGES)
      for (const make of ERRORS) {
        const lines: string[] = []
        const log = createLog(
          'trace',
          () => new Date(0),
          (line) => lines.push(line),
        )
        let error: unknown
        try {
          error = make(message(marker), marker)
        } catch (thrown) {
          error = thrown
        }
        log.error('resolver.failed', { trace: errorTrace(error) })
        expect(lines[0]).not.toContain(marker)
        expect(lines[0]).not.toContain('srv')
      }
  })

  test('a trace has the error classes, the codes of Node and PostgreSQL, and the locations in project files', () => {
    const refused = Object.assign(new Error('connect 10.0.0.1'), { code: 'ECONNREFUSED' })
    const unique = Object.assign(new DatabaseError('Key (name)=(Ann)', 1, 'error'), { code: '23505' })
    const both = new AggregateError([refused, unique], 'x\ny')
    const trace = errorTrace(new GatewayError('INTERNAL', { cause: both }))
    expect(trace).toMatch(
      /^GatewayError\(INTERNAL\) < AggregateError \[Error\(ECONNREFUSED\); \w+\(23505\)\] test\/kernel\/log\.test\.ts:\d+:\d+/,
    )
  })

  test('an error with a message of several lines is logged with its stack locations', () => {
    expect(errorTrace(new Error('one\n    at two (file:///three.js:1:1)'))).toMatch(
      /^Error test\/kernel\/log\.test\.ts:\d+:\d+/,
    )
  })
})
