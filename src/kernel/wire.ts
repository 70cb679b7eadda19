import type { z } from 'zod'
import { GatewayError } from './errors.ts'

const MAX_DEPTH = 12

/** Where a standard has amounts as JSON numbers, they are read as they were written and never become a float. */
export type NumbersAs = 'NUMBERS' | 'TEXT'

/** The value of a JSON text, or `undefined`. The parser's own error is dropped: V8 writes input into its message. */
export function parseJson(text: string, numbers: NumbersAs = 'NUMBERS'): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return numbers === 'TEXT' ? JSON.parse(numbersQuoted(text)) : value
  } catch {
    return undefined
  }
}

const [QUOTE, BACKSLASH, MINUS, ZERO, NINE] = [0x22, 0x5c, 0x2d, 0x30, 0x39]
const AFTER_NUMBER = /[^\d.eE+-]/g

/**
 * The same JSON with its numbers as strings. The text must be known to be JSON: then a number is whatever begins like one
 * outside of strings. A third of what a reviver with access to the source text takes.
 */
function numbersQuoted(text: string): string {
  let quoted = ''
  let from = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      do at = text.indexOf('"', at + 1)
      while (isEscaped(text, at))
    } else if (code === MINUS || (code >= ZERO && code <= NINE)) {
      AFTER_NUMBER.lastIndex = at
      const end = AFTER_NUMBER.exec(text)?.index ?? text.length
      quoted += `${text.slice(from, at)}"${text.slice(at, end)}"`
      from = end
      at = end - 1
    }
  }
  return quoted + text.slice(from)
}

/** Whether an odd number of backslashes stands before it. */
function isEscaped(text: string, at: number): boolean {
  let before = at
  while (text.charCodeAt(before - 1) === BACKSLASH) before--
  return (at - before) % 2 === 1
}

/**
 * Reads an answer of a bank: a NEW object that holds only what `schema` names, and the source is let go. Unknown keys
 * are dropped without being counted by name. Throws `BANK_ANSWER_INVALID` with the place and kind of the fault, never
 * an excerpt.
 */
export function parseWire<T extends z.ZodType>(schema: T, text: string, numbers?: NumbersAs): z.output<T> {
  const value = parseJson(text, numbers)
  if (value === undefined) throw new GatewayError('BANK_ANSWER_INVALID', { internal: 'not JSON' })
  if (deeperThan(value, MAX_DEPTH)) throw new GatewayError('BANK_ANSWER_INVALID', { internal: 'nested too deeply' })
  const result = schema.safeParse(value)
  if (!result.success) {
    const first = result.error.issues[0]
    throw new GatewayError('BANK_ANSWER_INVALID', { internal: `schema: ${first?.code ?? 'unknown'}` })
  }
  return result.data
}

function deeperThan(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (depth === 0) return true
  for (const key in value) if (deeperThan((value as Record<string, unknown>)[key], depth - 1)) return true
  return false
}
