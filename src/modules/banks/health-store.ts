import type { Problem } from '../../connectors/index.ts'
import type { FailureCause } from '../../kernel/failure-causes.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import type { Database } from '../../storage/database.ts'
import type { BankOperation, CallCount, FailureCount, ProblemCount } from './model.ts'

/** How calls to banks went: counts by minute, and by day for what could not be used. */
export const healthStore = (database: Database) => ({
  async addCalls(counts: readonly CallCount[]): Promise<void> {
    await database.tables.$executeRaw`
      insert into bank_calls as known (connector_id, operation, minute, calls, failures, total_ms)
      select "connectorId", operation, minute, calls, failures, "totalMs"
      from jsonb_to_recordset(${JSON.stringify(counts)}::jsonb) as counted (
        "connectorId" text, operation text, minute timestamptz, calls int, failures int, "totalMs" int)
      order by "connectorId", operation, minute
      on conflict (connector_id, operation, minute) do update set calls = known.calls + excluded.calls,
        failures = known.failures + excluded.failures, total_ms = known.total_ms + excluded.total_ms`
  },

  async calls(connectorId: string, since: Date): Promise<Omit<CallCount, 'connectorId' | 'minute'>[]> {
    const rows = await database.tables.bankCalls.groupBy({
      by: ['operation'],
      where: { connectorId, minute: { gt: since } },
      _sum: { calls: true, failures: true, totalMs: true },
      orderBy: { operation: 'asc' },
    })
    return rows.map(({ operation, _sum }) => ({
      operation: operation as BankOperation,
      calls: _sum.calls ?? 0,
      failures: _sum.failures ?? 0,
      totalMs: _sum.totalMs ?? 0,
    }))
  },

  async addFailures(counts: readonly FailureCount[]): Promise<void> {
    await database.tables.$executeRaw`
      insert into bank_failure as known (connector_id, operation, cause, minute, count)
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
    const rows = await database.tables.bankFailure.groupBy({
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
      table: 'bank_failure',
      where: 'minute < $1',
      orderBy: 'minute',
      values: [before],
    })
  },

  async addProblems(counts: readonly (ProblemCount & { readonly connectorId: string })[], at: Date): Promise<void> {
    await database.tables.$executeRaw`
      insert into bank_problem as known (connector_id, problem, day, count)
      select "connectorId", problem, ${at}::date, count
      from jsonb_to_recordset(${JSON.stringify(counts)}::jsonb) as one ("connectorId" text, problem text, count int)
      order by "connectorId", problem
      on conflict (connector_id, problem, day) do update set count = known.count + excluded.count`
  },

  async problems(connectorId: string, since: Date): Promise<ProblemCount[]> {
    const rows = await database.tables.bankProblem.groupBy({
      by: ['problem'],
      where: { connectorId, day: { gte: new Date(since.toISOString().slice(0, 10)) } },
      _sum: { count: true },
      orderBy: { _sum: { count: 'desc' } },
    })
    return rows.map(({ problem, _sum }) => ({ problem: problem as Problem, count: _sum.count ?? 0 }))
  },

  async sweepProblems(before: Date): Promise<number> {
    return deleteInBatches(database, { table: 'bank_problem', where: 'day < $1', orderBy: 'day', values: [before] })
  },

  async sweepCalls(before: Date): Promise<number> {
    return deleteInBatches(database, { table: 'bank_calls', where: 'minute < $1', orderBy: 'minute', values: [before] })
  },
})
/** The store as `health.ts` takes it. */
export type HealthStore = ReturnType<typeof healthStore>
