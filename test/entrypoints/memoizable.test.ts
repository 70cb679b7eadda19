import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isObjectType, type GraphQLField, type GraphQLResolveInfo } from 'graphql'
import { describe, expect, test } from 'vitest'
import { readMemoizableFields } from '../../src/entrypoints/graphql/execution/memoizable.ts'
import { buildSchema } from '../../src/entrypoints/graphql/schema.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import type { RequestContext } from '../../src/kernel/request-context.ts'
import { createFakeServices } from '../support/fake-services.ts'

/** The only calls that a memoizable field may make: what they return depends on their argument alone. */
const services = createFakeServices({
  'banks.requireBank': () => ({}),
  'accounts.thresholdStepOf': () => '50',
})
const typeDefs = readFileSync(join(import.meta.dirname, '../../schema.graphql'), 'utf8')
const { schema } = buildSchema(typeDefs, services, 'https://gateway.example', systemClock)
const memoizable = readMemoizableFields(schema)

const fields = Object.values(schema.getTypeMap())
  .filter(isObjectType)
  .flatMap((type) => Object.values(type.getFields()).map((field) => ({ place: `${type.name}.${field.name}`, field })))

/** Throws whatever is read of it. */
function createTrap<T extends object>(name: string): T {
  const refuse = (): never => {
    throw new Error(`the field reads its ${name}`)
  }
  return new Proxy({}, { get: refuse, has: refuse, ownKeys: refuse, getOwnPropertyDescriptor: refuse }) as T
}

/** An object with every property, each of which is such an object. As a list it is empty; it has no other method. */
const createSource = (): object =>
  new Proxy(
    {},
    {
      get: (_target, key) =>
        key === Symbol.toPrimitive
          ? () => 'text'
          : key === 'then' || key === Symbol.iterator
            ? undefined
            : key in Array.prototype && key !== 'length'
              ? () => []
              : createSource(),
    },
  )

/** Resolves the field of an object without a request. Rejects if the field depends on more than the object. */
async function resolveWithoutRequest({ resolve }: GraphQLField<unknown, unknown>): Promise<void> {
  if (!resolve) return
  await resolve(
    createSource(),
    createTrap('arguments'),
    createTrap<RequestContext>('request'),
    createTrap<GraphQLResolveInfo>('info'),
  )
}

describe('a field that is written once for each object', () => {
  test.each(fields.filter(({ field }) => memoizable.has(field)))(
    'a memoizable field depends only on its object: $place',
    async ({ field }) => {
      expect(field.args).toEqual([])
      await resolveWithoutRequest(field)
    },
  )

  test('every memoizable field is marked with @memoizable in the schema, on the field or on its type', () => {
    const places = fields.filter(({ field }) => memoizable.has(field)).map(({ place }) => place)
    expect(places).toEqual(expect.arrayContaining(['Account.id', 'Alert.severity', 'PageInfo.hasNextPage']))
    expect(places).not.toContain('Account.balances')
  })
})

test.each(['Account.balances', 'Account.alerts', 'Bank.outages', 'ExactBalance.budget', 'Customer.accounts'])(
  'the check notices a field that depends on the request: %s',
  async (place) => {
    const { field } = fields.find((one) => one.place === place)!
    await expect(resolveWithoutRequest(field)).rejects.toThrow(/the field (reads its|calls)/)
  },
)
