import { GraphQLError, Kind, type GraphQLScalarType, type GraphQLScalarTypeConfig, type ValueNode } from 'graphql'

/** How values of a scalar are read and written. What the schema says of the scalar itself, such as `@specifiedBy`, stays. */
const scalarFunctions = (
  config: Pick<GraphQLScalarTypeConfig<unknown, unknown>, 'serialize' | 'parseValue' | 'parseLiteral'>,
): GraphQLScalarType => config as GraphQLScalarType

/** A scalar of strings. `read` returns the value as the gateway uses it, or undefined to refuse it. Errors quote no value. */
function stringScalar(name: string, read: (value: string) => string | undefined): GraphQLScalarType {
  const parse = (value: unknown): string => {
    const parsed = typeof value === 'string' ? read(value) : undefined
    if (parsed === undefined) throw new GraphQLError(`not a ${name}`)
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
/** The instant with milliseconds. Another spelling of the same instant, such as hour 24, is refused. */
function readInstant(value: string): string | undefined {
  const [, seconds, milliseconds = '.000'] = INSTANT.exec(value) ?? []
  const instant = `${seconds}${milliseconds}Z`
  return seconds && !Number.isNaN(Date.parse(instant)) && new Date(instant).toISOString() === instant
    ? instant
    : undefined
}

/** A scalar for any JSON, which the module that uses it checks. */
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

/** The custom scalars of schema.graphql, with their exact rules. */
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
