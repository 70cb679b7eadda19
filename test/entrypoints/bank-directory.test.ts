import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

interface Page {
  nodes: { id: string; availability?: string; status?: string }[]
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; endCursor: string | null }
  totalCount?: number
}
const idsOf = ({ nodes }: Page): string[] => nodes.map(({ id }) => id)
const connectorId = async (bankId: string): Promise<string> =>
  (await gateway.database.query<{ id: string }>('select id from connector where bank_id = $1', [bankId]))[0]!.id

describe('banks', () => {
  const banks = async (args = ''): Promise<Page> =>
    (
      await gateway.ask(
        undefined,
        `{ banks${args} { nodes { id availability } totalCount pageInfo { hasNextPage hasPreviousPage endCursor } } }`,
      )
    ).data!['banks'] as Page

  test('banks are listed by name to every caller, in pages', async () => {
    const all = await banks()
    expect(idsOf(all)).toEqual(['northbank', 'rheinbank', 'southbank', 'westbank'])
    expect(all.totalCount).toBe(4)
    const first = await banks('(first: 3)')
    expect(first.pageInfo).toMatchObject({ hasNextPage: true })
    expect(idsOf(await banks(`(first: 3, after: "${first.pageInfo.endCursor!}")`))).toEqual(['westbank'])
    expect(idsOf(await banks('(last: 1)'))).toEqual(['westbank'])
  })

  test('banks are filtered by country, by a part of the name, and by availability', async () => {
    expect(idsOf(await banks('(filter: { countries: ["GB"] })'))).toEqual(['northbank'])
    expect(idsOf(await banks('(filter: { search: "th BA" })'))).toEqual(['northbank', 'southbank'])
    expect(idsOf(await banks('(filter: { search: "nowhere" })'))).toEqual([])
    expect(idsOf(await banks('(filter: { availability: [UNAVAILABLE, OUTAGE, NOT_OFFERED] })'))).toEqual([])
    const tooLong = await gateway.ask(undefined, `{ banks(filter: { search: "${'x'.repeat(101)}" }) { totalCount } }`)
    expect(tooLong.errors![0]!.extensions!.code).toBe('INVALID_INPUT')
  })

  test('banks are UNAVAILABLE while most sign-ins fail, but not because of a single failed call', async () => {
    const fail = async (failureCount: number): Promise<unknown> =>
      gateway.database.query(
        `insert into bank_call_count (connector_id, operation, minute, call_count, failure_count, total_duration_ms)
         values ($1, 'SIGN_IN', date_trunc('minute', now()) + interval '1 minute', $2, $2, 10)
         on conflict (connector_id, operation, minute) do update set call_count = $2, failure_count = $2`,
        [await connectorId('westbank'), failureCount],
      )
    await fail(1)
    expect(idsOf(await banks('(filter: { availability: [UNAVAILABLE] })'))).toEqual([])
    await fail(50)
    expect(idsOf(await banks('(filter: { availability: [UNAVAILABLE] })'))).toEqual(['westbank'])
    await fail(0)
  })

  test('banks that take no new consents are still listed, as UNAVAILABLE', async () => {
    const id = await connectorId('southbank')
    await gateway.database.query('update connector set accepts_new_consents = false where id = $1', [id])
    expect((await banks()).nodes).toContainEqual({ id: 'southbank', availability: 'UNAVAILABLE' })
    await gateway.database.query('update connector set accepts_new_consents = true where id = $1', [id])
  })

  test('banks without an active connector are not found, neither by ID nor in the list', async () => {
    const QUERY =
      '{ bank(id: "southbank") { id country } node(id: "southbank") { id } nobody: bank(id: "nobody") { id } }'
    expect((await gateway.ask(undefined, QUERY)).data).toMatchObject({ bank: { id: 'southbank' }, nobody: null })
    const id = await connectorId('southbank')
    await gateway.app.services.banks.suspend('admin', id)
    expect((await gateway.ask(undefined, QUERY)).data).toEqual({ bank: null, node: null, nobody: null })
    expect(idsOf(await banks())).not.toContain('southbank')
    await gateway.app.services.banks.activate('admin', id)
    expect(idsOf(await banks())).toContain('southbank')
  })
})

describe('connectors', () => {
  const admin = (): Promise<Token> => gateway.own('admin', 'banks:manage')
  const connectors = async (token: Token, args = ''): Promise<Page> =>
    (
      await gateway.ask(
        token,
        `{ connectors${args} { nodes { id status } pageInfo { hasNextPage hasPreviousPage endCursor } } }`,
      )
    ).data!['connectors'] as Page

  test('connectors are paged newest first, and filtered by status, standard and bank', async () => {
    const token = await admin()
    const all = await connectors(token)
    const newestFirst = await gateway.database.query<{ id: string }>(
      'select id from connector order by created_at desc, id desc',
    )
    expect(idsOf(all)).toEqual(newestFirst.map(({ id }) => id))
    const first = await connectors(token, '(first: 3)')
    const rest = await connectors(token, `(first: 3, after: "${first.pageInfo.endCursor!}")`)
    expect([...idsOf(first), ...idsOf(rest)]).toEqual(idsOf(all))
    expect(rest.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true })
    const last = await connectors(token, `(last: 2, before: "${first.pageInfo.endCursor!}")`)
    expect(idsOf(last)).toEqual(idsOf(all).slice(0, 2))
    expect(idsOf(await connectors(token, '(filter: { standards: [FDX] })'))).toEqual([await connectorId('westbank')])
    expect(idsOf(await connectors(token, '(filter: { bankIds: ["westbank"], statuses: [DRAFT] })'))).toEqual([])
    expect(idsOf(await connectors(token, '(filter: { bankIds: ["westbank"], statuses: [ACTIVE] })'))).toHaveLength(1)
  })

  test('connectors of another partner get the same response as connectors that do not exist', async () => {
    const owner = await gateway.own('northbank-partner', 'connectors:read')
    const other = await gateway.own('rheinbank-partner', 'connectors:read')
    const id = await connectorId('northbank')
    const QUERY =
      'query ($id: ID!) { connector(id: $id) { history { nodes { id action changes { field after } } } certificationRuns { nodes { id status } } } }'
    const { data } = await gateway.ask(owner, QUERY, { id })
    const connector = data!['connector'] as {
      history: { nodes: { id: string; action: string; changes: object[] }[] }
      certificationRuns: { nodes: { id: string; status: string }[] }
    }
    const [newest] = connector.history.nodes
    expect(newest).toMatchObject({
      action: 'CONNECTOR_ACTIVATED',
      changes: [{ field: 'status', after: ['ACTIVE'] }],
    })
    const [run] = connector.certificationRuns.nodes
    expect(run).toMatchObject({ status: 'PASSED' })
    expect((await gateway.ask(other, QUERY, { id })).data).toEqual({ connector: null })

    const NODES = 'query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }'
    const ids = [id, run!.id, newest!.id]
    expect((await gateway.ask(owner, NODES, { ids })).data!['nodes']).toEqual([
      { __typename: 'Connector', id },
      { __typename: 'CertificationRun', id: run!.id },
      { __typename: 'AuditLogEntry', id: newest!.id },
    ])
    expect((await gateway.ask(other, NODES, { ids })).data!['nodes']).toEqual([null, null, null])
    const foreignPage = await gateway.ask(other, `{ connectors(after: "${id}") { nodes { id } } }`)
    expect(foreignPage.errors![0]!.extensions!.code).toBe('INVALID_INPUT')
  })

  test('the history of a connector is visible to its readers without the scope of the audit log', async () => {
    const token = await gateway.own('northbank-partner', 'connectors:read')
    const id = await connectorId('northbank')
    const page = async (args: string) =>
      (
        (
          await gateway.ask(
            token,
            `query ($id: ID!) { connector(id: $id) { history${args} { nodes { action } pageInfo { endCursor hasNextPage } } } }`,
            { id },
          )
        ).data!['connector'] as {
          history: { nodes: { action: string }[]; pageInfo: { endCursor: string; hasNextPage: boolean } }
        }
      ).history
    const all = await page('(first: 100)')
    const first = await page('(first: 2)')
    const rest = await page(`(first: 100, after: "${first.pageInfo.endCursor}")`)
    expect(first.pageInfo.hasNextPage).toBe(true)
    expect([...first.nodes, ...rest.nodes]).toEqual(all.nodes)
    const denied = await gateway.ask(token, '{ auditLog { nodes { id } } }')
    expect(denied.errors![0]!.extensions!.code).toBe('UNAUTHORIZED_FIELD_OR_TYPE')
  })
})
