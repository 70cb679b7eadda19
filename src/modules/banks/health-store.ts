import type { ResponseIssue } from '../../connectors/index.ts'
import type { FailureCause } from '../../kernel/failure-causes.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import type { Database } from '../../storage/database.ts'
import type { CallCount, FailureCount, ResponseIssueCount } from './model.ts'
import type { BankOperation } from './operations.ts'

/** Counts of calls and failures by minute, and of response issues by day. */
export const healthStore = (database: Database) => ({
  async addCalls(counts: readonly CallCount[]): Promise<void> {
    await database.tables.$executeRaw`
      insert into bank_call_count as known (connector_id, operation, minute, call_count, failure_count, total_duration_ms)
      select "connectorId", operation, minute, "callCount", "failureCount", "totalDurationMs"
      from jsonb_to_recordset(${JSON.stringify(counts)}::jsonb) as counted (
        "connectorId" text, operation text, minute timestamptz, "callCount" int, "failureCount" int, "totalDurationMs" int)
      order by "connectorId", operation, minute
      on conflict (connector_id, operation, minute) do update set call_count = known.call_count + excluded.call_count,
        failure_count = known.failure_count + excluded.failure_count,
        total_duration_ms = known.total_duration_ms + excluded.total_duration_ms`
  },

  /** The sums for each connector and operation since this time. */
  async calls(connectorIds: readonly string[], since: Date): Promise<Omit<CallCount, 'minute'>[]> {
    const rows = await database.tables.bankCallCount.groupBy({
      by: ['connectorId', 'operation'],
      where: { connectorId: { in: [...connectorIds] }, minute: { gt: since } },
      _sum: { callCount: true, failureCount: true, totalDurationMs: true },
      orderBy: [{ connectorId: 'asc' }, { operation: 'asc' }],
    })
    return rows.map(({ connectorId, operation, _sum }) => ({
      connectorId,
      operation: operation as BankOperation,
      callCount: _sum.callCount ?? 0,
      failureCount: _sum.failureCount ?? 0,
      totalDurationMs: _sum.totalDurationMs ?? 0,
    }))
  },

  async addFailures(counts: readonly FailureCount[]): Promise<void> {
    await database.tables.$executeRaw`
      insert into bank_failure_count as known (connector_id, operation, cause, minute, count)
      select "connectorId", operation, cause, minute, count
      from jsonb_to_recordset(${JSON.stringify(counts)}::jsonb) as counted (
        "connectorId" text, operation text, cause text, minute timestamptz, count int)
      order by "connectorId", operation, cause, minute
      on conflict (connector_id, operation, cause, minute) do update set count = known.count + excluded.count`
  },

  /** The most frequent first. */
  async failures(
    connectorId: string,
    since: Date,
  ): Promise<readonly Pick<FailureCount, 'operation' | 'cause' | 'count'>[]> {
    const rows = await database.tables.bankFailureCount.groupBy({
      by: ['operation', 'cause'],
      where: { connectorId, minute: { gt: since } },
      _sum: { count: true },
      orderBy: [{ _sum: { count: 'desc' } }, { cause: 'asc' }],
    })
    return rows.map(({ operation, cause, _sum }) => ({
      operation: operation as BankOperation,
      cause: cause as FailureCause,
      count: _sum.count ?? 0,
    }))
  },

  async sweepFailures(before: Date): Promise<number> {
    return deleteInBatches(database, {
      table: 'bank_failure_count',
      where: 'minute < $1',
      orderBy: 'minute',
      values: [before],
    })
  },

  async addResponseIssues(
    counts: readonly (ResponseIssueCount & { readonly connectorId: string })[],
    at: Date,
  ): Promise<void> {
    await database.tables.$executeRaw`
      insert into response_issue as known (connector_id, code, day, count)
      select "connectorId", code, ${at}::date, count
      from jsonb_to_recordset(${JSON.stringify(counts)}::jsonb) as one ("connectorId" text, code text, count int)
      order by "connectorId", code
      on conflict (connector_id, code, day) do update set count = known.count + excluded.count`
  },

  /** The most frequent first. */
  async responseIssues(connectorId: string, since: Date): Promise<ResponseIssueCount[]> {
    const rows = await database.tables.responseIssue.groupBy({
      by: ['code'],
      where: { connectorId, day: { gte: new Date(since.toISOString().slice(0, 10)) } },
      _sum: { count: true },
      orderBy: [{ _sum: { count: 'desc' } }, { code: 'asc' }],
    })
    return rows.map(({ code, _sum }) => ({ code: code as ResponseIssue, count: _sum.count ?? 0 }))
  },

  async sweepResponseIssues(before: Date): Promise<number> {
    return deleteInBatches(database, { table: 'response_issue', where: 'day < $1', orderBy: 'day', values: [before] })
  },

  async sweepCalls(before: Date): Promise<number> {
    return deleteInBatches(database, {
      table: 'bank_call_count',
      where: 'minute < $1',
      orderBy: 'minute',
      values: [before],
    })
  },
})
/** The store of health data. */
export type HealthStore = ReturnType<typeof healthStore>
