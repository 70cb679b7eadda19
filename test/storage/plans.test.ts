import { Session } from 'node:inspector/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { DAY_MS, HOUR_MS } from '../../src/kernel/clock.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { startPlanServer, type PlanNode, type PlanServer } from '../support/plan-server.ts'
import { recordStatements, type Statements } from '../support/statements.ts'
import { runStores } from '../support/store-calls.ts'

/** Statements that may read a whole large table, each with its reason. */
const ALLOWED: readonly (readonly [part: string, reason: string])[] = [
  [
    '"consent"."client_id" = $1 AND "public"."consent"."status" = $2) ORDER BY',
    'a client is retired once; a batch ends at 100 rows, which the planner does not know',
  ],
  ['(select min(sequence) from ledger_entry)', 'reads one row: the first of the index'],
  ['delete from disclosure returning disclosure_key', 'the reset of a sandbox, which has a few customers'],
]
/** In the planner's units: more than any statement costs, and less than reading a large table. */
const MAX_COST = 20_000
/** The rows of an index that may be read as a whole, such as one of pending work. */
const MAX_QUEUE_ROWS = 20_000

let server: PlanServer
let gateway: TestGateway
let statements: Statements
const coverage = new Session()
let neverRun: string[]

beforeAll(async () => {
  coverage.connect()
  await coverage.post('Profiler.enable')
  await coverage.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false })
  statements = recordStatements()
  gateway = await startGateway({ keepsEvents: true })
  await runJourney(gateway)
  await runStores(gateway)
  neverRun = await functionsThatNeverRan()
  await gateway.close()
  statements.stop()
  server = await startPlanServer()
})
afterAll(async () => {
  coverage.disconnect()
  await server.stop()
})

/** Everything that customers, platforms, banks and the worker do, once. */
async function runJourney({ ask, own, customer, alert, renew, received, app, forward }: TestGateway): Promise<void> {
  const ada = await customer('ada', ['northbank', 'rheinbank'], { browser: createBrowser() })
  await ask(ada, EVERYTHING)
  await alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })
  await alert('northbank', { customer: 'ada', type: 'NEW_SIGN_IN', deliveryMode: 'QUEUED' })
  await eventually('the webhooks', async () => (await received()).length >= 2)
  forward(HOUR_MS)
  await ask(await renew(ada), EVERYTHING)
  const machine = await own('chatterbox', 'deliveries:read webhooks:manage')
  const page = '(first: 2, filter: { statuses: [DELIVERED, FAILED] })'
  await ask(
    machine,
    `{ client { deliveries${page} { nodes { id status attempts { outcome } webhookEndpoint { url } } } } }`,
  )
  await ask(
    await own('admin', 'clients:manage organizations:manage banks:manage'),
    '{ organizations { nodes { name } } clients { nodes { name scopes organization { name } } } connectors { nodes { id jwks bank { name availability outages { kind } } responseIssues { code } notices { nodes { kind } } history { nodes { action } } certificationRuns { nodes { status } } } } }',
  )
  await fetch(app.metricsUrl()!)
  await ask(
    await renew(ada),
    'mutation { withdrawConsents(input: { all: true }) { consents { id } userErrors { code } } }',
  )
  forward(DAY_MS)
}

const EVERYTHING = `{ customer { id consents { nodes { id status bank { name } } } alerts { nodes { id type } }
  accounts { nodes { id bank { name } balances { ... on ExactBalance { value { amount } } } bands: balances(detail: BAND) { ... on BalanceBand { lowerBound { amount } } } } } } }`

/** Named functions of the stores that never ran in this test. */
async function functionsThatNeverRan(): Promise<string[]> {
  const { result } = await coverage.post('Profiler.takePreciseCoverage')
  return result.flatMap(({ url, functions }) => {
    const file =
      /src\/((modules\/.*store|storage\/(reseal|idempotency|batch-delete|shared-secrets)|entrypoints\/oauth\/store)\.ts)/.exec(
        url,
      )
    const unused = functions.filter(({ functionName, ranges }) => functionName !== '' && ranges[0]!.count === 0)
    return file ? unused.map(({ functionName }) => `${file[1]}: ${functionName}`) : []
  })
}

/** Every step of a plan. */
const stepsOf = (plan: PlanNode): PlanNode[] => [plan, ...(plan.Plans ?? []).flatMap(stepsOf)]

/** Which large table a plan reads as a whole, or `undefined`. */
function wholeReadOf(plan: PlanNode): string | undefined {
  for (const step of stepsOf(plan)) {
    const table = step['Relation Name']
    if (table !== undefined && server.largeTables.has(table) && step['Node Type'] === 'Seq Scan')
      return `reads all of ${table}`
    const index = step['Index Name']
    if (index !== undefined && step['Index Cond'] === undefined && server.rowsOf(index) > MAX_QUEUE_ROWS)
      return `reads all of ${index}`
  }
  return undefined
}

/** The fault of a plan, or `undefined` if it reads each large table by an index, and little of it. */
const faultOf = (plan: PlanNode): string | undefined =>
  wholeReadOf(plan) ?? (plan['Total Cost'] > MAX_COST ? `costs ${Math.round(plan['Total Cost'])}` : undefined)

async function faults(): Promise<string[]> {
  const found: string[] = []
  for (const text of statements.texts) {
    if (ALLOWED.some(([part]) => text.includes(part))) continue
    const fault = faultOf(await server.planOf(text))
    if (fault) found.push(`${fault}: ${text.replaceAll(/\s+/g, ' ').trim()}`)
  }
  return found
}

describe('statements with the statistics of a million consents', () => {
  // Call a new function in the journey above or in test/support/store-calls.ts.
  test('the test sends the statements of every store function', () => {
    expect(neverRun).toEqual([])
  })

  test('every statement reads each large table by an index', async () => {
    expect(statements.texts.size).toBeGreaterThan(150)
    expect(await faults()).toEqual([])
  })

  test('a statement that is planned once reads each large table by an index even if it was small then', async () => {
    expect(statements.plannedOnce.size).toBeGreaterThan(25)
    const found: string[] = []
    for (const text of statements.plannedOnce) {
      const fault = wholeReadOf(await server.planWhenNewOf(text))
      if (fault) found.push(`${fault}: ${text.replaceAll(/\s+/g, ' ').trim()}`)
    }
    expect(found).toEqual([])
  })

  test('a statement whose index is missing is found', async () => {
    await server.query('begin')
    await server.query('drop index consent_expires_at_id_idx')
    const found = await faults()
    await server.query('rollback')
    expect(found.some((fault) => fault.startsWith('reads all of consent'))).toBe(true)
  })

  test('a foreign key to a table with deletions has an index', async () => {
    const deleted = new Set(
      [...statements.texts].flatMap((text) =>
        [...text.matchAll(/delete from (?:"public"\.)?"?(\w+)/gi)].map(([, table]) => table!),
      ),
    )
    const references = await server.query(`
      select c.conrelid::regclass::text as referring, c.confrelid::regclass::text as referred, a.attname as column,
        exists (select 1 from pg_index i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1] and i.indpred is null) as indexed
      from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1] where c.contype = 'f'`)
    const missing = references.filter(
      ({ referring, referred, indexed }) =>
        deleted.has(referred as string) && server.largeTables.has(referring as string) && !indexed,
    )
    expect(deleted).toContain('customer')
    expect(missing).toEqual([])
  })
})
