import type { z } from 'zod'
import { GatewayError, type ErrorCode, type InputFault } from './errors.ts'
import { closestMatch } from './closest-match.ts'

/** Formats a path for people, such as `redirectUris[0]`. */
export const formatPath = (path: readonly PropertyKey[]): string =>
  path
    .map((part, index) => (/^\d+$/.test(String(part)) ? `[${String(part)}]` : `${index > 0 ? '.' : ''}${String(part)}`))
    .join('')

/** A fault at a field. The message is the field's path followed by `rule`. */
export const faultAt = (path: readonly string[], rule: string, code?: ErrorCode): InputFault => ({
  path,
  message: `\`${formatPath(path)}\` ${rule}${rule.endsWith('?') ? '' : '.'}`,
  ...(code && { code }),
})

/** The error for an input with these faults. Its code is that of the first fault, or `INVALID_INPUT`. */
export const invalidInputError = (faults: readonly InputFault[]): GatewayError =>
  new GatewayError(faults[0]?.code ?? 'INVALID_INPUT', { faults })

/** Throws `INVALID_INPUT` with one fault. */
export function throwInvalidInput(path: readonly string[], rule: string): never {
  throw invalidInputError([faultAt(path, rule)])
}

/** Runs every parser and returns the values by name. Throws one error with the faults of all parsers. */
export function parseAll<T extends Record<string, unknown>>(parsers: { readonly [K in keyof T]: () => T[K] }): T {
  const faults: InputFault[] = []
  const values = Object.entries(parsers).map(([name, parse]) => {
    try {
      return [name, (parse as () => unknown)()] as const
    } catch (error) {
      if (!(error instanceof GatewayError) || error.definition.category !== 'INPUT') throw error
      const { code, path = [], message } = error
      faults.push(...(error.faults.length > 0 ? error.faults : [{ code, path, message }]))
      return [name, undefined] as const
    }
  })
  if (faults.length > 0) throw invalidInputError(faults)
  return Object.fromEntries(values) as T
}

/** Parses `input` by a schema. Throws one error with every fault, each at its path below `basePath`; no message quotes a value. */
export function parseWithSchema<T extends z.ZodType>(
  schema: T,
  input: unknown,
  basePath: readonly string[],
): z.output<T> {
  const parsed = schema.safeParse(input)
  if (parsed.success) return parsed.data
  const faults: InputFault[] = []
  for (const issue of parsed.error.issues)
    if (faults.length < MAX_FAULTS) faults.push(...toFaults(issue, schema, input, basePath))
  throw invalidInputError(faults.slice(0, MAX_FAULTS))
}

/** Bounds the size of the error, since an input can have any number of faults. */
const MAX_FAULTS = 50
/** Unknown keys are quoted in a message only if they look like field names. */
const FIELD_NAME = /^[A-Za-z][\w-]{0,39}$/

function toFaults(
  issue: z.core.$ZodIssue,
  schema: z.ZodType,
  input: unknown,
  basePath: readonly string[],
): InputFault[] {
  const path = [...basePath, ...issue.path.map(String)]
  if (issue.code !== 'unrecognized_keys')
    return [faultAt(path, describeRule(issue, valueAt(input, issue.path)), errorCodeOf(issue))]
  const allowedKeys = allowedKeysAt(schema, issue.path)
  return issue.keys.slice(0, MAX_FAULTS).map((key) => {
    const nearest = closestMatch(key, allowedKeys)
    const hint = nearest === undefined ? `allowed are ${allowedKeys.join(', ')}` : `did you mean \`${nearest}\`?`
    return FIELD_NAME.test(key)
      ? { path: [...path, key], message: `\`${formatPath([...path, key])}\` is not a known field: ${hint}` }
      : { path, message: `\`${formatPath(path)}\` has an unknown field: ${hint}` }
  })
}

function describeRule(issue: z.core.$ZodIssue, value: unknown): string {
  switch (issue.code) {
    case 'invalid_type':
      return value === undefined ? `is missing: a ${issue.expected}` : `must be a ${issue.expected}`
    case 'invalid_value': {
      const allowed = issue.values.map(String)
      const nearest = typeof value === 'string' ? closestMatch(value, allowed) : undefined
      const must = value === undefined ? 'is missing: one of' : 'must be one of'
      return `${must} ${allowed.join(', ')}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
    }
    case 'too_big':
      return `must ${describeSize(issue.origin, `at most ${issue.maximum}`)}`
    case 'too_small':
      return `must ${describeSize(issue.origin, `at least ${issue.minimum}`)}`
    case 'custom':
      return issue.message
    case 'invalid_format':
      return `must have the form: ${issue.message}`
    // Other messages of the parser could quote the input.
    default:
      return 'has an invalid value'
  }
}

const describeSize = (origin: string, limit: string): string =>
  origin === 'string' ? `have ${limit} characters` : origin === 'array' ? `have ${limit} items` : `be ${limit}`

const errorCodeOf = (issue: z.core.$ZodIssue): ErrorCode | undefined =>
  issue.code === 'custom' ? (issue.params?.['code'] as ErrorCode | undefined) : undefined

const valueAt = (input: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((value, part) => (value as Record<PropertyKey, unknown> | null | undefined)?.[part], input)

/** The field names that the schema allows at this path. */
function allowedKeysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let node = schema.def as unknown as SchemaDef
  for (const part of [...path, undefined]) {
    while (node.innerType) node = node.innerType.def
    if (part !== undefined) node = (node.element ?? node.shape?.[String(part)])?.def ?? {}
  }
  return Object.keys(node.shape ?? {})
}
interface SchemaDef {
  readonly innerType?: { readonly def: SchemaDef }
  readonly element?: { readonly def: SchemaDef }
  readonly shape?: Readonly<Record<string, { readonly def: SchemaDef }>>
}
