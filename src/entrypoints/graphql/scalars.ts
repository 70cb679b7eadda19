import { GraphQLError, GraphQLScalarType, Kind, type ValueNode } from 'graphql'

/** A scalar of strings that match `pattern`; a value that does not is refused without being repeated. */
function stringScalar(
  name: string,
  pattern: RegExp,
  isValid: (value: string) => boolean = () => true,
): GraphQLScalarType<string, string> {
  const parse = (value: unknown): string => {
    if (typeof value !== 'string' || !pattern.test(value) || !isValid(value)) throw new GraphQLError(`not a ${name}`)
    return value
  }
  return new GraphQLScalarType({
    name,
    serialize: parse,
    parseValue: parse,
    parseLiteral: (node) => parse(node.kind === Kind.STRING ? node.value : undefined),
  })
}

/** A scalar that takes any JSON; what it may hold is checked by the module that it is for. */
function jsonScalar(name: string): GraphQLScalarType<unknown, unknown> {
  return new GraphQLScalarType({
    name,
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
  DateTime: stringScalar(
    'DateTime',
    // PostgreSQL has no year 0.
    /^(?!0000)\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/,
    // Another text for the same instant, such as 24:00, may name one that cannot be written back.
    (value) => !Number.isNaN(Date.parse(value)) && new Date(value).toISOString() === value,
  ),
  Decimal: stringScalar('Decimal', /^-?\d{1,18}(\.\d{1,5})?$/),
  CurrencyCode: stringScalar('CurrencyCode', /^[A-Z]{3}$/),
  CountryCode: stringScalar('CountryCode', /^[A-Z]{2}$/),
  URL: stringScalar('URL', /^[a-z][a-z0-9+.-]*:\S{1,2000}$/i),
  Cursor: stringScalar('Cursor', /^[\w.-]{1,200}$/),
  IdempotencyKey: stringScalar('IdempotencyKey', /^[\w-]{8,64}$/),
  JsonWebKeySet: jsonScalar('JsonWebKeySet'),
  ConnectorRegistration: jsonScalar('ConnectorRegistration'),
}
