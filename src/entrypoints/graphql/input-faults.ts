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

/** What each scalar takes, as it reads on from "must be". */
export const EXPECTED: Readonly<Record<string, string>> = {
  Int: 'a whole number from -2147483648 to 2147483647',
  Float: 'a number',
  String: 'a string',
  Boolean: 'true or false',
  ID: 'a string or a whole number',
  DateTime: 'an instant in UTC with milliseconds, such as 2026-11-22T10:00:00.000Z',
  Decimal: 'a string of at most 18 digits and 5 decimals, such as "-12.50"',
  Currency: 'three capital letters (ISO 4217)',
  Url: 'an absolute URL of at most 2,000 characters',
  Cursor: 'a cursor that this list gave',
  IdempotencyKey: '8 to 64 letters, digits, underscores or hyphens',
}
/** More values than this are not listed. */
const MAX_LISTED = 20

/** Everything that is wrong with a value for an input type: the place, and what is allowed there. Quotes no value. */
export function inputFaults(type: GraphQLInputType, value: unknown, path: readonly string[] = []): InputFault[] {
  if (isNonNullType(type))
    return value === null || value === undefined
      ? [faultAt(path, value === null ? 'must not be null' : 'is required')]
      : inputFaults(type.ofType, value, path)
  if (value === null || value === undefined) return []
  if (isListType(type))
    return Array.isArray(value)
      ? value.flatMap((item: unknown, index) => inputFaults(type.ofType, item ?? null, [...path, String(index)]))
      : inputFaults(type.ofType, value, path)
  if (isInputObjectType(type)) return objectFaults(type, value, path)
  if (takes(type, value)) return []
  return [faultAt(path, `must be ${isEnumType(type) ? valuesOf(type) : (EXPECTED[type.name] ?? `a ${type.name}`)}`)]
}

function objectFaults(type: GraphQLInputObjectType, value: unknown, path: readonly string[]): InputFault[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [faultAt(path, 'must be an object')]
  const fields = type.getFields()
  const given = value as Readonly<Record<string, unknown>>
  const names = Object.keys(fields)
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(fields, name))
  const faults = unknown.length > 0 ? [faultAt(path, `has fields that do not exist; there are ${listed(names)}`)] : []
  if (type.isOneOf && names.filter((name) => given[name] !== undefined && given[name] !== null).length !== 1)
    faults.push(faultAt(path, `must have exactly one of ${listed(names)}`))
  for (const { name, type: fieldType, defaultValue } of Object.values(fields))
    if (Object.hasOwn(given, name) || defaultValue === undefined)
      faults.push(...inputFaults(fieldType, given[name], [...path, name]))
  return faults
}

function takes(type: GraphQLScalarType | GraphQLEnumType, value: unknown): boolean {
  try {
    return type.parseValue(value) !== undefined
  } catch {
    return false
  }
}

function valuesOf(type: GraphQLEnumType): string {
  const names = type.getValues().map(({ name }) => name)
  return names.length > MAX_LISTED ? `a value of ${type.name}` : `one of ${listed(names)}`
}

const listed = (names: readonly string[]): string => names.join(', ')

/** `registration.keys[0]`, as in the languages that clients are written in. */
const written = (path: readonly string[]): string =>
  path.map((key, index) => (/^\d+$/.test(key) ? `[${key}]` : index === 0 ? key : `.${key}`)).join('')

const faultAt = (path: readonly string[], says: string): InputFault => ({
  path,
  message: path.length === 0 ? `The variable ${says}.` : `\`${written(path)}\` ${says}.`,
})
