import { subtractMs } from '../../../kernel/clock.ts'
import type { TimePosition, TimeSlice } from '../../../kernel/pagination.ts'
import type { Transaction } from '../../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../../storage/database.ts'
import { sliceByTime } from '../../../storage/time-slice.ts'
import type { CertificationCheck, CertificationLevel, CertificationRun } from '../model.ts'

type Trigger = CertificationRun['trigger']

interface RunRow {
  id: string
  connectorId: string
  level: string
  trigger: string
  createdAt: Date
  startedAt: Date | null
  status: string
  checks: unknown
  finishedAt: Date | null
  signedReport: string | null
  failureCode: string | null
}

const fields = {
  id: true,
  connectorId: true,
  level: true,
  trigger: true,
  createdAt: true,
  startedAt: true,
  status: true,
  checks: true,
  finishedAt: true,
  signedReport: true,
  failureCode: true,
} as const

const toRun = ({ level, trigger, status, checks, failureCode, ...row }: RunRow): CertificationRun => ({
  ...row,
  level: level as CertificationLevel,
  trigger: trigger as Trigger,
  status: status as CertificationRun['status'],
  checks: checks as CertificationCheck[],
  failureCode: failureCode as CertificationRun['failureCode'],
})
const checksToJson = (checks: readonly CertificationCheck[]): object[] => JSON.parse(JSON.stringify(checks)) as object[]

/** Certification runs; each is claimed with a lease. */
export const certificationStore = (database: Database) => ({
  /** Adds a run. `wasCertified` says whether its connector was CERTIFIED until now. */
  async add(
    tx: Transaction,
    run: Pick<CertificationRun, 'id' | 'connectorId' | 'level' | 'trigger' | 'createdAt'> & { wasCertified: boolean },
  ): Promise<void> {
    await tablesIn(tx).certificationRun.create({ data: { ...run, status: 'RUNNING', checks: [] } })
  },

  /** Adds a scheduled run, unless one is waiting or running, or the last one passed or failed less than `minAgeMs` ago. */
  async addScheduledIfDue(
    { connectorId, id, level }: Pick<CertificationRun, 'connectorId' | 'id' | 'level'>,
    at: Date,
    minAgeMs: { readonly passed: number; readonly failed: number },
  ): Promise<boolean> {
    const insertedCount = await database.tables.$executeRaw`
      insert into certification_run (id, connector_id, level, trigger, created_at, status, checks)
      select ${id}, ${connectorId}, ${level}, 'SCHEDULED', ${at}, 'RUNNING', '[]'::jsonb
      where not exists (
        select 1 from certification_run where connector_id = ${connectorId} and (
          finished_at is null
          or status = 'PASSED' and created_at > ${subtractMs(at, minAgeMs.passed)}
          or status = 'FAILED' and created_at > ${subtractMs(at, minAgeMs.failed)}))`
    return insertedCount === 1
  },

  /**
   * Claims the oldest queued run of a partner without a running run of the same trigger. A run whose person has not returned from the
   * bank is queued only once its sign-in has expired.
   */
  async claim(triggers: readonly Trigger[], at: Date, leaseMs: number): Promise<CertificationRun | null> {
    const [row] = await database.tables.$queryRaw<{ id: string }[]>`
      update certification_run set started_at = coalesce(started_at, ${at}),
        claimed_until = statement_timestamp() + ${leaseMs}::int * interval '1 millisecond'
      where id = (
        select run.id from certification_run run join connector on connector.id = run.connector_id
        where run.finished_at is null and coalesce(run.claimed_until <= statement_timestamp(), true)
          and run.trigger = any(${[...triggers]}) and not exists (
            select 1 from certification_run other join connector its on its.id = other.connector_id
            where other.finished_at is null and other.claimed_until > statement_timestamp() and other.trigger = run.trigger
              and its.client_id = connector.client_id)
          and not exists (
            select 1 from certification_sign_in sign_in
            where sign_in.run_id = run.id and sign_in.returned_at is null and sign_in.expires_at > ${at})
        order by run.created_at for update of run skip locked limit 1)
      returning id`
    return row
      ? toRun(await database.tables.certificationRun.findUniqueOrThrow({ where: { id: row.id }, select: fields }))
      : null
  },

  /** Saves the checks of a run so far, unless another process has ended it. */
  async saveChecks(id: string, checks: readonly CertificationCheck[]): Promise<void> {
    const where = { id, finishedAt: null }
    await database.tables.certificationRun.updateMany({ where, data: { checks: checksToJson(checks) } })
  },

  /** Gives a claimed run back, so that it waits without a process. */
  async release(tx: Transaction, id: string): Promise<void> {
    await tablesIn(tx).certificationRun.update({ where: { id }, data: { claimedUntil: null } })
  },

  /** Stores the end of a run. False if another process has ended it. */
  async finish(tx: Transaction, { id, checks, ...run }: CertificationRun): Promise<boolean> {
    const { status, finishedAt, signedReport, failureCode } = run
    const data = { status, checks: checksToJson(checks), finishedAt, signedReport, failureCode }
    return (await tablesIn(tx).certificationRun.updateMany({ where: { id, finishedAt: null }, data })).count === 1
  },

  /** Whether the connector of a run was CERTIFIED when the run was requested. */
  async wasCertified(tx: Transaction, id: string): Promise<boolean> {
    const where = { id, wasCertified: true }
    return (await tablesIn(tx).certificationRun.count({ where })) === 1
  },

  /** The newest run of each connector that certified it: one that a partner requested, and that passed above STATIC. */
  async certifyingRuns(connectorIds: readonly string[]): Promise<CertificationRun[]> {
    const rows = await database.tables.certificationRun.findMany({
      where: {
        connectorId: { in: [...connectorIds] },
        status: 'PASSED',
        trigger: 'PARTNER',
        level: { not: 'STATIC' },
      },
      orderBy: { createdAt: 'desc' },
      distinct: ['connectorId'],
      select: fields,
    })
    return rows.map(toRun)
  },

  async find(id: string): Promise<CertificationRun | null> {
    const row = await database.tables.certificationRun.findUnique({ where: { id }, select: fields })
    return row && toRun(row)
  },

  async slice(connectorId: string, slice: TimeSlice): Promise<CertificationRun[]> {
    const { where, ...order } = sliceByTime('createdAt', slice)
    const rows = await database.tables.certificationRun.findMany({
      where: { ...where, connectorId },
      ...order,
      select: fields,
    })
    return rows.map(toRun)
  },

  async position(connectorId: string, id: string): Promise<TimePosition | undefined> {
    const row = await database.tables.certificationRun.findFirst({
      where: { connectorId, id },
      select: { createdAt: true },
    })
    return row ? { id, at: row.createdAt } : undefined
  },
})
/** The store of certification runs. */
export type CertificationStore = ReturnType<typeof certificationStore>
