import { GraphQLError, Kind, type GraphQLScalarType, type GraphQLScalarTypeConfig, type ValueNode } from 'graphql'

/** The functions that parse and serialize a scalar. They are merged into the scalar of the schema, which has `@specifiedBy`. */
const scalarFunctions = (
  config: Pick<GraphQLScalarTypeConfig<unknown, unknown>, 'serialize' | 'parseValue' | 'parseLiteral'>,
): GraphQLScalarType => config as GraphQLScalarType

/** A scalar of strings. `read` returns the normalised value, or undefined if it is invalid. Errors never quote the value. */
function stringScalar(name: string, read: (value: string) => string | undefined): GraphQLScalarType {
  const parse = (value: unknown): string => {
    const parsed = typeof value === 'string' ? read(value) : undefined
    if (parsed === undefined) throw new GraphQLError(`invalid ${name}`)
    return parsed
  }
  return scalarFunctions({
    serialize: parse,
    parseValue: parse,
    parseLiteral: (node) => parse(node.kind === Kind.STRING ? node.value : undefined),
  })
}

const patternScalar = (name: string, pattern: RegExp): GraphQLScalarType =>
  stringScalar(name, (value) => (pattern.test(value) ? value : undefined))

// PostgreSQL has no year 0.
const INSTANT = /^((?!0000)\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{3})?Z$/
/** Normalises an instant to milliseconds. Rejects other notations of an instant, such as hour 24. */
function readInstant(value: string): string | undefined {
  const [, seconds, milliseconds = '.000'] = INSTANT.exec(value) ?? []
  const instant = `${seconds}${milliseconds}Z`
  return seconds && !Number.isNaN(Date.parse(instant)) && new Date(instant).toISOString() === instant
    ? instant
    : undefined
}

/** A scalar of any JSON. The module that uses it validates the value. */
function jsonScalar(): GraphQLScalarType {
  return scalarFunctions({
    serialize: (value) => value,
    parseValue: (value) => value,
    parseLiteral: (node, variables) => literalValue(node, variables ?? {}),
  })
}

function literalValue(node: ValueNode, variables: Record<string, unknown>): unknown {
  switch (node.kind) {
    case Kind.VARIABLE:
      return variables[node.name.value]
    case Kind.OBJECT:
      return Object.fromEntries(node.fields.map((field) => [field.name.value, literalValue(field.value, variables)]))
    case Kind.LIST:
      return node.values.map((value) => literalValue(value, variables))
    case Kind.NULL:
      return null
    case Kind.INT:
    case Kind.FLOAT:
      return Number(node.value)
    default:
      return node.value
  }
}

/** The custom scalars of schema.graphql. */
export const scalars = {
  DateTime: stringScalar('DateTime', readInstant),
  Decimal: patternScalar('Decimal', /^-?\d{1,18}(\.\d{1,5})?$/),
  CurrencyCode: patternScalar('CurrencyCode', /^[A-Z]{3}$/),
  CountryCode: patternScalar('CountryCode', /^[A-Z]{2}$/),
  URL: patternScalar('URL', /^[a-z][a-z0-9+.-]*:\S{1,2000}$/i),
  Cursor: patternScalar('Cursor', /^[\w.-]{1,200}$/),
  IdempotencyKey: patternScalar('IdempotencyKey', /^[\w-]{8,64}$/),
  JsonWebKeySet: jsonScalar(),
  ConnectorRegistration: jsonScalar(),
}
