import { GraphQLError, GraphQLScalarType, Kind, type ValueNode } from 'graphql'

/** A scalar of strings that match `pattern`; a value that does not is refused without being repeated. */
function text(
  name: string,
  pattern: RegExp,
  means: (value: string) => boolean = () => true,
): GraphQLScalarType<string, string> {
  const read = (value: unknown): string => {
    if (typeof value !== 'string' || !pattern.test(value) || !means(value)) throw new GraphQLError(`not a ${name}`)
    return value
  }
  return new GraphQLScalarType({
    name,
    serialize: read,
    parseValue: read,
    parseLiteral: (node) => read(node.kind === Kind.STRING ? node.value : undefined),
  })
}

/** A scalar that takes any JSON; what it may hold is checked by the module that it is for. */
function json(name: string): GraphQLScalarType<unknown, unknown> {
  return new GraphQLScalarType({
    name,
    serialize: (value) => value,
    parseValue: (value) => value,
    parseLiteral: (node, variables) => literal(node, variables ?? {}),
  })
}

function literal(node: ValueNode, variables: Record<string, unknown>): unknown {
  switch (node.kind) {
    case Kind.VARIABLE:
      return variables[node.name.value]
    case Kind.OBJECT:
      return Object.fromEntries(node.fields.map((field) => [field.name.value, literal(field.value, variables)]))
    case Kind.LIST:
      return node.values.map((value) => literal(value, variables))
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
  DateTime: text(
    'DateTime',
    // PostgreSQL has no year 0.
    /^(?!0000)\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/,
    // Another text for the same instant, such as 24:00, may name one that cannot be written back.
    (value) => !Number.isNaN(Date.parse(value)) && new Date(value).toISOString() === value,
  ),
  Decimal: text('Decimal', /^-?\d{1,18}(\.\d{1,5})?$/),
  CurrencyCode: text('CurrencyCode', /^[A-Z]{3}$/),
  URL: text('URL', /^[a-z][a-z0-9+.-]*:\S{1,2000}$/i),
  Cursor: text('Cursor', /^[\w.-]{1,200}$/),
  IdempotencyKey: text('IdempotencyKey', /^[\w-]{8,64}$/),
  JsonWebKeySet: json('JsonWebKeySet'),
  ConnectorRegistration: json('ConnectorRegistration'),
}
