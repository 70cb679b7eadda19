import { describe, expect, test } from 'vitest'
import { STANDARDS, type BankBalance, type StandardId } from '../../src/connectors/index.ts'
import { GatewayError } from '../../src/kernel/errors.ts'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import { connect } from '../support/standards.ts'

/**
 * The seed of the mutations and the number of them per standard and payload. GUICHET_MUTATION_SEED and GUICHET_MUTATION_CASES
 * set others; a failure names the seed of its case.
 */
const SEED = Number(process.env['GUICHET_MUTATION_SEED'] ?? 1)
const CASES = Number(process.env['GUICHET_MUTATION_CASES'] ?? 400)

/** A small generator (mulberry32), so that a case depends on its seed alone. */
function createRandom(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

type Node = Record<string, unknown> | unknown[]
/** Every object and list within a value. */
const nodesIn = (value: unknown): Node[] =>
  typeof value === 'object' && value !== null
    ? [value as Node, ...Object.values(value).flatMap((part) => nodesIn(part))]
    : []

const WRONG = [true, false, {}, [], [null], { a: 1 }, '', 'x'.repeat(5_000), '\u0000', 'NaN', 'constructor', 1e21]
const wrongValue = (random: (below: number) => number): unknown => structuredClone(WRONG[random(WRONG.length)])
/** Each changes one place of a payload, and says what it did. */
const MUTATIONS: Readonly<Record<string, (node: Node, key: string, random: (below: number) => number) => void>> = {
  null: (node, key) => void Object.assign(node, { [key]: null }),
  'a wrong type': (node, key, random) => void Object.assign(node, { [key]: wrongValue(random) }),
  'an extra member': (node, _key, random) =>
    Array.isArray(node)
      ? void node.push(wrongValue(random))
      : void Object.assign(node, { merchant: wrongValue(random) }),
  'a missing member': (node, key) =>
    Array.isArray(node) ? void node.splice(Number(key), 1) : void Reflect.deleteProperty(node, key),
  'another order': (node) => {
    if (Array.isArray(node)) return void node.reverse()
    const entries = Object.entries(node).reverse()
    for (const [name] of entries) Reflect.deleteProperty(node, name)
    Object.assign(node, Object.fromEntries(entries))
  },
  'a doubled entry': (node, key) => {
    if (Array.isArray(node)) node.push(structuredClone(node[Number(key)]))
    else Object.assign(node, { [key]: [node[key], structuredClone(node[key])] })
  },
}

const COUNT = 5
const IDS = Array.from({ length: COUNT }, (_, index) => `a${index}`)
/** A different amount for each account and type, so that an amount shows where it comes from. */
const amount = (index: number, type: number): string => `${index + 1}${type}.${index}${type}`

/** Payloads with five accounts, of which each has two balances: one booked, one available. */
const PAYLOADS: Readonly<Record<StandardId, { readonly accounts: () => unknown; readonly balances: () => unknown }>> = {
  OBIE: {
    accounts: () => ({
      Data: {
        Account: IDS.map((AccountId) => ({
          AccountId,
          Currency: 'GBP',
          AccountTypeCode: 'CACC',
          AccountCategory: 'Personal',
          Status: 'Enabled',
          Account: [{ SchemeName: 'UK.OBIE.SortCodeAccountNumber', Identification: '20000012345678' }],
        })),
      },
      Links: { Self: 'https://x' },
      Meta: { TotalPages: 1 },
    }),
    balances: () => ({
      Data: {
        Balance: IDS.flatMap((AccountId, index) =>
          ['ITBD', 'ITAV'].map((Type, type) => ({
            AccountId,
            CreditDebitIndicator: 'Credit',
            Type,
            DateTime: '2026-01-01T00:00:00Z',
            Amount: { Amount: amount(index, type), Currency: 'GBP' },
          })),
        ),
      },
      Links: { Self: 'https://x' },
    }),
  },
  BERLIN_GROUP: {
    accounts: () => ({
      accounts: IDS.map((resourceId) => ({
        resourceId,
        iban: 'DE89370400440532013000',
        currency: 'GBP',
        cashAccountType: 'CACC',
        status: 'enabled',
        _links: { balances: { href: `/v1/accounts/${resourceId}/balances` } },
      })),
    }),
    balances: () => ({
      account: { iban: 'DE89370400440532013000' },
      balances: ['interimBooked', 'interimAvailable'].map((balanceType, type) => ({
        balanceType,
        balanceAmount: { amount: amount(0, type), currency: 'GBP' },
        creditLimitIncluded: false,
        referenceDate: '2026-01-01',
      })),
    }),
  },
  FDX: {
    accounts: () => PAYLOADS.FDX.balances(),
    balances: () => ({
      page: { totalElements: COUNT },
      accounts: IDS.map((accountId, index) => ({
        accountId,
        accountCategory: 'DEPOSIT_ACCOUNT',
        accountType: 'CHECKING',
        status: 'OPEN',
        currency: { currencyCode: 'GBP' },
        balanceType: 'ASSET',
        currentBalance: amount(index, 0),
        availableBalance: amount(index, 1),
      })),
    }),
  },
  CDR: {
    accounts: () => ({
      data: { accounts: IDS.map((accountId) => ({ accountId, productCategory: 'LEASES', openStatus: 'OPEN' })) },
      links: { self: 'https://x' },
    }),
    balances: () => ({
      data: {
        balances: IDS.map((accountId, index) => ({
          accountId,
          currentBalance: amount(index, 0),
          availableBalance: amount(index, 1),
          currency: 'GBP',
          purses: [],
        })),
      },
      links: { self: 'https://x' },
    }),
  },
}

/** Whether a member is the list of entries, or contains it. */
const leadsToList = (node: Node, key: string): boolean =>
  !Array.isArray(node) && /^(data|balances?|accounts?)$/i.test(key) && typeof node[key] === 'object'

/** The payload with one to three mutations, and whether one was at a list or at what contains it. */
function mutate(payload: unknown, seed: number) {
  const random = createRandom(seed)
  const names = Object.keys(MUTATIONS)
  const steps: string[] = []
  let isListAffected = false
  for (let count = 1 + random(3); count > 0; count--) {
    const nodes = nodesIn(payload)
    const node = nodes[random(nodes.length)]!
    const keys = Object.keys(node)
    if (keys.length === 0) continue
    const key = keys[random(keys.length)]!
    const name = names[random(names.length)]!
    isListAffected ||= leadsToList(node, key) && !['another order', 'an extra member'].includes(name)
    MUTATIONS[name]!(node, key, random)
    steps.push(`${name} at ${key}`)
  }
  return { payload, steps: steps.join(', '), isListAffected }
}

const TYPES = ['INTERIM_BOOKED', 'INTERIM_AVAILABLE']
/** Whether a balance is one that the bank stated of the account. */
const isStated = (index: number, { type, amount: found, currency }: BankBalance): boolean =>
  found === amount(index, TYPES.indexOf(type)) && ['GBP', 'AUD'].includes(currency)

describe.each(Object.keys(STANDARDS) as StandardId[])('mutations of valid payloads: %s', (id) => {
  const seeds = Array.from({ length: CASES }, (_, index) => SEED * 1_000_003 + index)

  test('no mutation of a list of balances leads to a wrong amount or loses another account', async () => {
    for (const seed of seeds) {
      const { payload, steps, isListAffected } = mutate(PAYLOADS[id].balances(), seed)
      const { bank, problems } = connect(id, () => ok(payload))
      const label = `GUICHET_MUTATION_SEED case ${seed}: ${steps}`
      const read = bank.bulkBalances
        ? bank.bulkBalances(ACCESS, IDS, null)
        : bank.balances(ACCESS, IDS[0]!, null).then((balances) => new Map([[IDS[0]!, balances]]))
      const result = await read.catch((error: unknown) => {
        expect(error, label).toMatchObject({ name: 'GatewayError', code: 'BANK_RESPONSE_INVALID' })
        expect(isListAffected, label).toBe(true)
        return new Map()
      })
      let complete = 0
      for (const [ref, balances] of result) {
        if (balances instanceof GatewayError) continue
        const index = IDS.indexOf(ref as string)
        for (const balance of (balances as { balances: BankBalance[] }).balances)
          expect(isStated(index, balance), `${label}: ${JSON.stringify(balance)}`).toBe(true)
        if ((balances as { balances: BankBalance[] }).balances.length === 2) complete++
      }
      // What is missing, null, or said of another account is no fault that could be reported.
      const isLossReported = problems.length > 0 || isListAffected || /null|missing|extra|accountId/i.test(steps)
      if (id !== 'BERLIN_GROUP' && !isListAffected) expect(complete, label).toBeGreaterThanOrEqual(COUNT - 3)
      if (complete < result.size) expect(isLossReported, label).toBe(true)
    }
  })

  test('no mutation of one account loses another account of the list', async () => {
    for (const seed of seeds) {
      const { payload, steps, isListAffected } = mutate(PAYLOADS[id].accounts(), seed)
      const { bank } = connect(id, () => ok(payload))
      const label = `GUICHET_MUTATION_SEED case ${seed}: ${steps}`
      const accounts = await bank.accounts(ACCESS, null).catch((error: unknown) => {
        expect(error, label).toMatchObject({ name: 'GatewayError', code: 'BANK_RESPONSE_INVALID' })
        expect(isListAffected, label).toBe(true)
        return []
      })
      const refs = accounts.map(({ ref }) => ref)
      expect(new Set(refs).size, label).toBe(refs.length)
      if (!isListAffected)
        expect(IDS.filter((ref) => refs.includes(ref)).length, label).toBeGreaterThanOrEqual(COUNT - 3)
    }
  })
})
