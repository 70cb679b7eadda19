import type { z } from 'zod'
import { GatewayError } from './errors.ts'

const MAX_DEPTH = 12

/** Where a standard has amounts as JSON numbers, they are read as they were written and never become a float. */
export type NumbersAs = 'NUMBERS' | 'TEXT'

/** The value of a JSON text, or `undefined`. The parser's own error is dropped: V8 writes input into its message. */
export function parseJson(text: string, numbers: NumbersAs = 'NUMBERS'): unknown {
  try {
    return JSON.parse(text, numbers === 'TEXT' ? asWritten : undefined)
  } catch {
    return undefined
  }
}

/** The third argument (ECMA-262, JSON.parse source text access) is not in the compiler's library yet. */
const asWritten = ((_key: string, value: unknown, { source }: { source: string }): unknown =>
  typeof value === 'number' ? source : value) as (key: string, value: unknown) => unknown

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
  return Object.values(value).some((child) => deeperThan(child, depth - 1))
}
