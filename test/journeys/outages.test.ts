import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const partnerOf = (bank: string) => gateway.own(`${bank}-partner`, 'connectors:manage connectors:read')

describe('an outage', () => {
  const ANNOUNCE =
    'mutation ($input: AnnounceOutageInput!) { announceOutage(input: $input) { outage { id kind endsAt } userErrors { code } } }'
  const END =
    'mutation ($input: EndOutageInput!) { endOutage(input: $input) { outage { startsAt endsAt } userErrors { code path } } }'
  const inHours = (hours: number): string => new Date(Date.now() + hours * 3_600_000).toISOString()
  async function announce(input: object): Promise<string> {
    const partner = await partnerOf('westbank')
    const { connectors } = (await gateway.ask(partner, '{ connectors { nodes { id } } }')).data! as {
      connectors: { nodes: { id: string }[] }
    }
    const { data } = await gateway.ask(partner, ANNOUNCE, {
      input: { connectorId: connectors.nodes[0]!.id, ...input },
    })
    return (data!['announceOutage'] as { outage: { id: string } }).outage.id
  }
  async function end(outageId: string, bank = 'westbank') {
    const { data } = await gateway.ask(await partnerOf(bank), END, { input: { outageId } })
    return data!['endOutage'] as { outage: { startsAt: string; endsAt: string } | null; userErrors: { code: string }[] }
  }
  async function shown() {
    const { data } = await gateway.ask(undefined, '{ bank(id: "westbank") { availability outages { id kind } } }')
    return data!['bank'] as { availability: string; outages: { id: string; kind: string }[] }
  }

  test('balances and availability show an outage while it lasts, and an incident until it is ended', async () => {
    const query =
      '{ customer { accounts { nodes { balances(detail: BAND) { ... on BalanceBand { outage { kind endsAt } } } } } } }'
    const token = await gateway.customer('fay', ['westbank'], { scopes: ['accounts:read', 'balances:band'] })
    const ask = async () =>
      (
        (await gateway.ask(token, query)).data!['customer'] as {
          accounts: { nodes: { balances: { outage: { kind: string } | null }[] }[] }
        }
      ).accounts.nodes[0]!.balances[0]!.outage
    expect(await ask()).toBeNull()
    const endsAt = inHours(1)
    const outageId = await announce({ startsAt: inHours(-0.1), endsAt, kind: 'INCIDENT' })
    expect(await ask()).toEqual({ kind: 'INCIDENT', endsAt })
    expect(await shown()).toEqual({ availability: 'OUTAGE', outages: [{ id: outageId, kind: 'INCIDENT' }] })
    expect((await end(outageId)).userErrors).toEqual([])
    expect(await ask()).toBeNull()
    expect(await shown()).toEqual({ availability: 'AVAILABLE', outages: [] })
    expect(await end(outageId)).toEqual({ outage: null, userErrors: [{ code: 'STATE_CONFLICT', path: ['outageId'] }] })
  })

  test('an outage that has not begun can be cancelled and is still found by its ID', async () => {
    const outageId = await announce({ startsAt: inHours(1), endsAt: inHours(2) })
    expect(await shown()).toEqual({ availability: 'AVAILABLE', outages: [{ id: outageId, kind: 'MAINTENANCE' }] })
    const { outage } = await end(outageId)
    expect(outage!.endsAt).toBe(outage!.startsAt)
    expect((await shown()).outages).toEqual([])
    const node = 'query ($id: ID!) { node(id: $id) { ... on Outage { bank { id } endsAt } } }'
    expect((await gateway.ask(undefined, node, { id: outageId })).data).toEqual({
      node: { bank: { id: 'westbank' }, endsAt: outage!.endsAt },
    })
  })

  test('an outage of another partner cannot be ended and gets the response of an unknown one', async () => {
    const outageId = await announce({ startsAt: inHours(1), endsAt: inHours(2) })
    const refused = { outage: null, userErrors: [{ code: 'NOT_FOUND', path: ['outageId'] }] }
    expect(await end(outageId, 'northbank')).toEqual(refused)
    expect(await end('outg_AAAAAAAAAAAAAAAAAAAAAA', 'northbank')).toEqual(refused)
    await end(outageId)
  })
})
