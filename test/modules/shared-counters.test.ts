import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { healthStore } from '../../src/modules/banks/health-store.ts'
import { usageStore } from '../../src/modules/clients/store.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

const ROUNDS = 12
const minutes = Array.from({ length: 60 }, (_, index) => new Date(Date.UTC(2027, 2, 1, 10, index)))

let gateway: TestGateway
let processes: Database[]
let connectorIds: string[]
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  processes = [openDatabase(gateway.database.url, 2), openDatabase(gateway.database.url, 2)]
  connectorIds = (await gateway.database.query<{ id: string }>('select id from connector')).map(({ id }) => id)
})
afterAll(async () => {
  await Promise.all(processes.map((one) => one.close()))
  await gateway.close()
})

/** Two processes that have counted the same, each in another order, write it at the same moment, again and again. */
async function bothWrite<Row>(rows: readonly Row[], write: (process: Database, rows: readonly Row[]) => Promise<void>) {
  for (let round = 0; round < ROUNDS; round++)
    await Promise.all([write(processes[0]!, rows), write(processes[1]!, [...rows].reverse())])
}
const sumOf = async (sql: string): Promise<number> => (await gateway.database.query<{ sum: number }>(sql))[0]!.sum

describe('sums that several processes add to', () => {
  test('usage counts stay complete if two processes write the same clients in different orders', async () => {
    const rows = Array.from({ length: 20 }, (_, client) =>
      minutes.map((hour) => ({ clientId: `client-${client}`, hour, requests: 1, points: 1, errors: 0 })),
    ).flat()
    await bothWrite(rows, (process, counts) => usageStore(process).add(counts))
    expect(await sumOf("select sum(request_count)::int sum from client_usage where client_id like 'client-%'")).toBe(
      2 * ROUNDS * rows.length,
    )
  })

  test('bank call counts stay complete if two processes write the same banks', async () => {
    const keys = connectorIds.flatMap((connectorId) => minutes.map((minute) => ({ connectorId, minute })))
    const calls = keys.map((key) => ({
      ...key,
      operation: 'BALANCES' as const,
      callCount: 1,
      failureCount: 0,
      totalDurationMs: 1,
    }))
    await bothWrite(calls, (process, counts) => healthStore(process).addCalls(counts))
    const failures = keys.map((key) => ({
      ...key,
      operation: 'BALANCES' as const,
      cause: 'DNS_NOT_FOUND' as const,
      count: 1,
    }))
    await bothWrite(failures, (process, counts) => healthStore(process).addFailures(counts))
    const at = "minute between '2027-03-01T10:00Z' and '2027-03-01T11:00Z'"
    for (const [column, table] of [
      ['call_count', 'bank_call_count'],
      ['count', 'bank_failure_count'],
    ] as const)
      expect(await sumOf(`select sum(${column})::int sum from ${table} where ${at}`)).toBe(2 * ROUNDS * keys.length)
  })
})
