import {
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  type GraphQLEnumType,
  type GraphQLInputObjectType,
  type GraphQLInputType,
  type GraphQLScalarType,
} from 'graphql'
import type { InputFault } from '../../kernel/errors.ts'
import { faultAt } from '../../kernel/input-faults.ts'

/** The values that each scalar accepts. The text continues "must be". */
export const SCALAR_RULES: Readonly<Record<string, string>> = {
  Int: 'a whole number from -2147483648 to 2147483647',
  Float: 'a number',
  String: 'a string',
  Boolean: 'true or false',
  ID: 'a string or a whole number',
  DateTime: 'an instant in UTC, such as 2026-11-22T10:00:00.000Z',
  Decimal: 'a string of at most 18 digits and 5 decimals, such as "-12.50"',
  CurrencyCode: 'three capital letters (ISO 4217)',
  CountryCode: 'two capital letters (ISO 3166-1 alpha-2)',
  URL: 'an absolute URL of at most 2,000 characters',
  Cursor: 'a cursor that this list returned',
  IdempotencyKey: '8 to 64 letters, digits, underscores or hyphens',
}
/** Enums with more values are named and not listed. */
const MAX_LISTED_VALUES = 20

/**
 * Generates the faults of a value of an input type, each with its path and what is allowed there. Messages never quote the
 * value. A value can have many faults, so the caller should stop after the first few.
 */
export function* inputFaults(
  type: GraphQLInputType,
  value: unknown,
  path: readonly string[] = [],
): Generator<InputFault, void> {
  if (isNonNullType(type)) {
    if (value === null || value === undefined)
      yield variableFault(path, value === null ? 'must not be null' : 'is required')
    else yield* inputFaults(type.ofType, value, path)
    return
  }
  if (value === null || value === undefined) return
  if (isListType(type)) {
    if (!Array.isArray(value)) yield* inputFaults(type.ofType, value, path)
    else
      for (const [index, item] of value.entries())
        yield* inputFaults(type.ofType, (item as unknown) ?? null, [...path, String(index)])
  } else if (isInputObjectType(type)) yield* objectFaults(type, value, path)
  else if (!acceptsValue(type, value))
    yield variableFault(
      path,
      `must be ${isEnumType(type) ? describeValues(type) : (SCALAR_RULES[type.name] ?? `a ${type.name}`)}`,
    )
}

function* objectFaults(
  type: GraphQLInputObjectType,
  value: unknown,
  path: readonly string[],
): Generator<InputFault, void> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    yield variableFault(path, 'must be an object')
    return
  }
  const fields = type.getFields()
  const names = Object.keys(fields)
  const input = value as Readonly<Record<string, unknown>>
  if (Object.keys(input).some((name) => !Object.hasOwn(fields, name)))
    yield variableFault(path, `has unknown fields; the known ones are ${joinNames(names)}`)
  if (type.isOneOf && names.filter((name) => input[name] !== undefined && input[name] !== null).length !== 1)
    yield variableFault(path, `must have exactly one of ${joinNames(names)}`)
  for (const { name, type: fieldType, defaultValue } of Object.values(fields))
    if (Object.hasOwn(input, name) || defaultValue === undefined)
      yield* inputFaults(fieldType, input[name], [...path, name])
}

function acceptsValue(type: GraphQLScalarType | GraphQLEnumType, value: unknown): boolean {
  try {
    return type.parseValue(value) !== undefined
  } catch {
    return false
  }
}

function describeValues(type: GraphQLEnumType): string {
  const names = type.getValues().map(({ name }) => name)
  return names.length > MAX_LISTED_VALUES ? `a value of ${type.name}` : `one of ${joinNames(names)}`
}

const joinNames = (names: readonly string[]): string => names.join(', ')

/** A fault of a variable. `rule` continues the sentence after the name of the field at `path`. */
export const variableFault = (path: readonly string[], rule: string): InputFault =>
  path.length === 0 ? { path, message: `The variable ${rule}.` } : faultAt(path, rule)
