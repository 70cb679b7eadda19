import type { z } from 'zod'
import { GatewayError } from './errors.ts'

const MAX_DEPTH = 12

/** The value of a JSON text, or `undefined`. The parser's own error is dropped: V8 writes input into its message. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * Reads an answer of a bank: a NEW object that holds only what `schema` names, and the source is let go. Unknown keys
 * are dropped without being counted by name. Throws `BANK_ANSWER_INVALID` with the place and kind of the fault, never
 * an excerpt.
 */
export function parseWire<T extends z.ZodType>(schema: T, text: string): z.output<T> {
  const value = parseJson(text)
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
