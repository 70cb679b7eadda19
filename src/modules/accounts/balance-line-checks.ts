import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { Alerts } from '../alerts/index.ts'
import type { Grant } from '../consents/index.ts'
import { isReported, nextCheckAt, sideOf } from './balance-line.ts'
import type { BalanceLineStore, StoredLine } from './balance-line-store.ts'
import type { Bands } from './bands.ts'
import type { AccountsDependencies } from './dependencies.ts'

/** The dependencies of the checks. */
export interface LineChecksDependencies extends Pick<
  AccountsDependencies,
  'database' | 'world' | 'banks' | 'consents' | 'ledger'
> {
  readonly lines: BalanceLineStore
  readonly bands: Bands
  readonly alerts: Pick<Alerts, 'reportLineCrossed'>
}

/** Lines that are checked at once. */
const BATCH_SIZE = 20

/**
 * Creates the function that checks the lines that are due, until none is or `shouldContinue` returns false. Each is compared with
 * the band of its account as every reader sees it: the saved one while it is recent, otherwise one from a fetch that all readers
 * share. A check that the bank fails is not repeated before the next one is due. Throws the first other error, after the batch.
 */
export function createLineChecks(dependencies: LineChecksDependencies) {
  const { database, world, banks, consents, ledger, lines, bands, alerts } = dependencies

  return async (shouldContinue: () => boolean): Promise<void> => {
    while (shouldContinue()) {
      const due = await lines.takeDue(world.clock.now(), BATCH_SIZE, () =>
        nextCheckAt(world.clock.now(), world.randomness),
      )
      if (due.length === 0) return
      const grants = await consents.findGrantsForAlerts(database.delivery, due)
      const outcomes = await Promise.allSettled(due.map((line, index) => checkIfShared(line, grants[index]!)))
      const failed = outcomes.find(({ status }) => status === 'rejected')
      if (failed?.status === 'rejected') throw failed.reason
    }
  }

  async function checkIfShared(line: StoredLine, grants: readonly Grant[]): Promise<void> {
    const [grant] = grants
    if (!grant || !(await banks.isActive(line.bankId))) return
    try {
      await check(line, grant)
    } catch (error) {
      if (!(error instanceof GatewayError) || error.definition.category !== 'BANK') throw error
    }
  }

  async function check(line: StoredLine, grant: Grant): Promise<void> {
    const { accountId, clientId, customerId, type } = line
    const now = world.clock.now()
    const access = grant.open('balances:band', accountId, now) ?? grant.open('balances:exact', accountId, now)
    const account = (await consents.findShared({ clientId, customerId })).accounts.find(({ id }) => id === accountId)
    if (!access || !account) return
    const context = createContext(newId('req', world.randomness))
    ledger.addRead(context, { action: 'BALANCE_LINE_CHECKED', access, detail: type, subjectId: line.id })
    await ledger.commitReads(context)
    const row = { publicId: '', account, grants: [grant] }
    const [result] = await bands.read({ row, type, currencies: [line.line.currency] }, access, context, null)
    if (result?.kind !== 'BAND' || result.freshness === 'STALE') return
    const side = sideOf(result.band, line.line)
    if (side === undefined || side === line.side) return
    await database.delivery.transaction(async (tx) => {
      const isCrossed = isReported(line, side, now)
      // A line that was deleted meanwhile, such as by the end of its consent, leads to no alert.
      if (!(await lines.setSide(tx, line, side, isCrossed ? now : null)) || !isCrossed) return
      const { id, direction } = line
      await alerts.reportLineCrossed(tx, { ...line, accountId, clientId, balanceLine: { id, direction } })
    })
  }
}

/** The context of a check, in which no client is involved and the customer is not present. */
const createContext = (requestId: string): RequestContext => ({
  caller: { kind: 'ANONYMOUS', address: '', scopes: new Set() },
  requestId,
  presence: 'CUSTOMER_PRESENCE_REQUIRED',
  customer: null,
})
