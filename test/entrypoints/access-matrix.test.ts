import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  buildSchema,
  getNamedType,
  getNullableType,
  isEnumType,
  isInterfaceType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  isUnionType,
  Kind,
  type ConstDirectiveNode,
  isRequiredArgument,
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLObjectType,
} from 'graphql'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

const schema = buildSchema(readFileSync(join(import.meta.dirname, '../../schema.graphql'), 'utf8'))

/** What the contract's own text asks for: nothing, any token, one of the client itself, or one of these lists of scopes. */
type Needs = 'NOTHING' | 'TOKEN' | 'CLIENT' | string[][]

/** Read from the directives here, and not by the code that is tested. */
function needsOf(directives: readonly ConstDirectiveNode[] | undefined): Needs {
  for (const { name, arguments: given } of directives ?? []) {
    if (name.value === 'authenticated') return 'TOKEN'
    if (name.value === 'policy') return 'CLIENT'
    const value = given?.[0]?.value
    if (name.value === 'requiresScopes' && value?.kind === Kind.LIST)
      return value.values.map((list) =>
        list.kind === Kind.LIST ? list.values.map((one) => (one.kind === Kind.STRING ? one.value : '')) : [],
      )
  }
  return 'NOTHING'
}

interface Place {
  /** Such as `customer.accounts.balances.amount`. */
  readonly path: string[]
  readonly query: string
  readonly needs: Needs[]
  /** Whether the field is one of a member of a union, of which there may be no object for this caller. */
  readonly isInUnion: boolean
}

/** Every field that a query can reach, each once by its shortest way, with all that stands in that way. */
function places(): Place[] {
  const found: Place[] = []
  const seen = new Set<string>()
  const walk = (
    type: GraphQLObjectType,
    path: string[],
    open: string,
    close: string,
    needs: Needs[],
    isInUnion = false,
  ): void => {
    for (const field of Object.values(type.getFields())) {
      const key = `${type.name}.${field.name}`
      if (seen.has(key) || path.length > 7) continue
      seen.add(key)
      const named = getNamedType(field.type)
      const here = [
        ...needs,
        needsOf(type.astNode?.directives),
        needsOf(field.astNode?.directives),
        isObjectType(named) ? needsOf(named.astNode?.directives) : 'NOTHING',
      ]
      const call = `${field.name}${argumentsOf(field)}`
      const several = isUnionType(named) || isInterfaceType(named)
      const leaf = isObjectType(named) || several ? ' { __typename }' : ''
      found.push({ path: [...path, field.name], query: `${open} ${call}${leaf}${close}`, needs: here, isInUnion })
      if (isObjectType(named)) walk(named, [...path, field.name], `${open} ${call} {`, ` }${close}`, here, isInUnion)
      // What `node` finds is of types that have a way of their own; the tests of ids take it.
      if (isUnionType(named))
        for (const member of named.getTypes())
          walk(member, [...path, field.name], `${open} ${call} { ... on ${member.name} {`, ` } }${close}`, here, true)
    }
  }
  walk(schema.getQueryType()!, [], '{', ' }', [])
  return found
}

/** Something for each argument that must be given, by its name or by its type. */
const ARGUMENTS: Readonly<Record<string, string>> = {
  ids: '["x"]',
  MoneyInput: '{ amount: "100", currency: "EUR" }',
  ExplainAccessTarget: '{ path: "customer" }',
  RegisterConnectorInput: '{ standard: FDX, registration: {} }',
  TimeRangeInput: '{}',
  UsageInterval: 'DAY',
}
function argumentsOf({ args }: GraphQLField<unknown, unknown>): string {
  const given = args
    .filter(isRequiredArgument)
    .map(({ name, type }) => `${name}: ${ARGUMENTS[name] ?? ARGUMENTS[getNamedType(type).name] ?? '"x"'}`)
  return given.length > 0 ? `(${given.join(', ')})` : ''
}

/** Some value that the type takes; what it says does not matter, since nobody here may send it. */
function anyValue(type: GraphQLInputType): unknown {
  const plain = getNullableType(type)
  if (isListType(plain)) return []
  if (isEnumType(plain)) return plain.getValues()[0]!.name
  if (isInputObjectType(plain))
    return Object.fromEntries(
      Object.values(plain.getFields())
        .filter((field, index) => (plain.isOneOf ? index === 0 : isNonNullType(field.type)))
        .map((field) => [field.name, anyValue(field.type)]),
    )
  if (plain.name === 'Boolean') return true
  if (plain.name === 'Int') return 1
  if (plain.name === 'IdempotencyKey') return 'a-new-key'
  if (plain.name === 'Decimal') return '1'
  if (plain.name === 'CurrencyCode') return 'EUR'
  if (plain.name === 'DateTime') return '2026-11-22T10:00:00.000Z'
  return plain.name === 'URL' ? 'https://x.example/' : /Set|Registration/.test(plain.name) ? {} : 'x'
}

interface Caller {
  readonly name: string
  readonly scopes: readonly string[]
  readonly token: Token | undefined
}

let gateway: TestGateway
let callers: Caller[]
beforeAll(async () => {
  gateway = await startGateway()
  const customer = async (...scopes: string[]): Promise<Caller> => ({
    name: `customer ${scopes.join(' ')}`,
    scopes,
    token: await gateway.customer('ada', ['northbank'], { scopes }),
  })
  const own = async (id: string, ...scopes: string[]): Promise<Caller> => ({
    name: `${id} ${scopes.join(' ')}`,
    scopes,
    token: await gateway.own(id, scopes.join(' ')),
  })
  callers = [
    { name: 'nobody', scopes: [], token: undefined },
    await customer('accounts:read'),
    await customer('accounts:read', 'balances:band'),
    await customer('accounts:read', 'balances:exact', 'alerts:read'),
    await customer('accounts:read', 'balances:threshold'),
    await own('chatterbox', 'webhooks:manage'),
    await own('chatterbox', 'deliveries:read'),
    await own('northbank-partner', 'connectors:read'),
    await own('northbank-partner', 'connectors:manage'),
    await own('admin', 'clients:manage'),
    await own('admin', 'organizations:manage'),
    await own('admin', 'banks:manage'),
    await own('admin', 'ledger:read'),
  ]
})
afterAll(() => gateway.close())

const opens = (needs: readonly Needs[], { token, scopes }: Caller): boolean =>
  needs.every(
    (need) =>
      need === 'NOTHING' ||
      (token !== undefined &&
        (need === 'TOKEN' ||
          (need === 'CLIENT' ? !token.idToken : need.some((list) => list.every((scope) => scopes.includes(scope)))))),
  )

const refusals = (answer: Awaited<ReturnType<TestGateway['ask']>>): string[] =>
  (answer.errors ?? [])
    .filter(({ extensions }) => /^(UNAUTHORIZED_FIELD_OR_TYPE|UNAUTHENTICATED)$/.test(extensions?.code ?? ''))
    .map(({ path }) => path!.join('.'))

describe('the access matrix', () => {
  const all = places()

  test('the access matrix covers every field of every type that a query can return', () => {
    const reachable = new Set(all.map(({ path }) => path.at(-1)))
    for (const name of [
      'amount',
      'lowerBound',
      'creditLimit',
      'disclosureBudgets',
      'reason',
      'severity',
      'attempts',
      'jwks',
      'tokenBinding',
      'purposes',
      'retryAt',
      'changes',
      'requestCount',
    ])
      expect(reachable).toContain(name)
    expect(all.length).toBeGreaterThan(150)
  })

  test('each field is authorized or denied for each kind of caller as its rule states', async () => {
    const wrong: string[] = []
    let open = 0
    for (const caller of callers)
      for (const { path, query, needs, isInUnion } of all) {
        const answer = await gateway.askUnattended(caller.token, query)
        const refused = refusals(answer)
        const expected = opens(needs, caller)
        if (expected) open++
        // Closed somewhere on the way is closed.
        const isRefused = refused.some((at) => path.join('.').startsWith(at))
        // What a union has no object for is not there, and needs no error.
        const isAbsent = isInUnion && !JSON.stringify(answer.data).includes(`"${path.at(-1)!}":`)
        if (expected ? isRefused : !isRefused && !isAbsent)
          wrong.push(`${caller.name}: ${path.join('.')} should be ${expected ? 'open' : 'closed'}`)
      }
    expect(wrong).toEqual([])
    expect(open).toBeGreaterThan(100)
  }, 240_000)

  test('each mutation that is denied to a kind of caller has no effect', async () => {
    const before = await counts()
    const wrong: string[] = []
    for (const caller of callers)
      for (const field of Object.values(schema.getMutationType()!.getFields())) {
        const needs = [needsOf(field.astNode?.directives)]
        if (opens(needs, caller)) continue
        const [input] = field.args
        const query = `mutation ($input: ${String(input!.type)}) { ${field.name}(input: $input) { __typename } }`
        const answer = await gateway.ask(caller.token, query, { input: anyValue(input!.type) })
        if (!refusals(answer).includes(field.name) || answer.data?.[field.name] !== null)
          wrong.push(`${caller.name}: ${field.name}`)
      }
    expect(wrong).toEqual([])
    expect(await counts()).toEqual(before)
  })

  test('the private fields of another client are FORBIDDEN to an admin, even with every required scope', async () => {
    const { clients } = gateway.app.services
    const { scopes } = (await clients.find('admin'))!
    await clients.update('admin', 'admin', { scopes: [...scopes, 'webhooks:manage', 'deliveries:read'] })
    const token = await gateway.own('admin', 'clients:manage webhooks:manage deliveries:read')
    const OWN_ONLY = ['webhookEndpoints', 'deliveries', 'consents', 'registeredOperations', 'failedDeliveryCount']
    for (const id of ['admin', 'chatterbox'])
      for (const field of OWN_ONLY) {
        const query = `query ($id: ID) { client(id: $id) { id name jwks ${field} ${field.endsWith('Count') ? '' : '{ __typename }'} } }`
        const { data, errors } = await gateway.ask(token, query, { id })
        expect(data!['client'], field).toMatchObject({ id, ...(id !== 'admin' && { [field]: null }) })
        expect(errors?.map(({ path, extensions }) => [path?.join('.'), extensions?.code])).toEqual(
          id === 'admin' ? undefined : [[`client.${field}`, 'FORBIDDEN']],
        )
      }
    await clients.update('admin', 'admin', { scopes })
  })

  const counts = () =>
    gateway.database.query(
      'select (select count(*) from client) c, (select count(*) from organization) p, (select count(*) from connector) n, (select count(*) from webhook_endpoint) w',
    )
})
