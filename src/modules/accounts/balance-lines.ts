import type { BalanceLineDirection } from '../../kernel/alert-vocabulary.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import { faultAt, invalidInputError, throwInvalidInput } from '../../kernel/input-faults.ts'
import { parseCurrency, parseDecimal, toScaledUnits, type Money } from '../../kernel/money.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request-context.ts'
import { sharesBands, type Grant, type SharedAccount } from '../consents/index.ts'
import { edgesAround, nextCheckAt, sideOf, type BalanceLine, type LineSide } from './balance-line.ts'
import type { BalanceLineStore } from './balance-line-store.ts'
import { bandKeyOf, bandOffsetOf, isCurrent } from './bands.ts'
import type { AccountsDependencies } from './dependencies.ts'
import type { DisclosureStore } from './disclosure-store.ts'
import type { AuthorizedAccount } from './model.ts'
import type { Snapshots } from './snapshots.ts'

/** The dependencies of the lines. */
export interface BalanceLinesDependencies extends Pick<AccountsDependencies, 'database' | 'world' | 'seal' | 'ledger'> {
  readonly lines: BalanceLineStore
  readonly disclosures: Pick<DisclosureStore, 'reserveLineChange' | 'recordLineChange'>
  readonly snapshots: Pick<Snapshots, 'find'>
}

/** A line as the caller wrote it. */
export interface LineInput {
  readonly type: BalanceType
  readonly line: { readonly amount: string; readonly currency: string }
  readonly direction: BalanceLineDirection
}

/** Draws and deletes the lines of accounts. */
export type BalanceLines = ReturnType<typeof createBalanceLines>

/** Creates the functions that draw, find and delete lines. */
export function createBalanceLines(dependencies: BalanceLinesDependencies) {
  const { database, world, ledger, lines, disclosures } = dependencies

  return {
    /** The lines of accounts that were drawn for a client, oldest first. */
    find: (clientId: string, accountIds: readonly string[]): Promise<readonly BalanceLine[]> =>
      lines.find(clientId, accountIds),

    /**
     * Draws a line for the caller's client, or returns the equal line that it has. Throws `CUSTOMER_PRESENCE_REQUIRED` or
     * `INVALID_PRESENCE_STATEMENT` unless the customer is present, `NOT_CONSENTED` if no consent of the client shares alerts and
     * bands of the account, `INVALID_INPUT` or `CURRENCY_NOT_SUPPORTED` for an amount that is no edge of a band, and
     * `BALANCE_LINE_LIMIT_REACHED`, which does not tell which of the two limits is reached, or by whom.
     */
    async create(row: AuthorizedAccount, input: LineInput, { caller, presence }: RequestContext): Promise<BalanceLine> {
      const { account } = row
      const { clientId } = caller as CustomerCaller
      const now = world.clock.now()
      if (presence !== 'PRESENT') throw new GatewayError(presence)
      const grant = row.grants.find((one) => sharesBands(one) && one.open('alerts:read', account.id, now))
      if (!grant) throw new GatewayError('NOT_CONSENTED')
      const line = parseLine(input, account, bandOffsetOf(dependencies.seal, account))
      const existing = (await lines.find(clientId, [account.id])).find((one) => isEqual(one, { ...input, line }))
      if (existing) return existing
      const { id: accountId, disclosureKey, customerId, bankId } = account
      const drawn = {
        id: newId('line', world.randomness),
        clientId,
        accountId,
        type: input.type,
        line,
        direction: input.direction,
        side: await lastSide(account, grant, { type: input.type, line }, now),
      }
      await database.transaction(async (tx) => {
        const isReserved = await disclosures.reserveLineChange(tx, disclosureKey, now)
        if (!isReserved) throw new GatewayError('BALANCE_LINE_LIMIT_REACHED')
        const checkDueAt = nextCheckAt(now, world.randomness)
        const outcome = await lines.add(tx, { ...drawn, disclosureKey, createdAt: now, checkDueAt })
        if (outcome === 'NOT_CONSENTED') throw new GatewayError('NOT_CONSENTED')
        if (outcome === 'LIMIT_REACHED') throw new GatewayError('BALANCE_LINE_LIMIT_REACHED')
        const { consentId, purposes } = grant
        const parties = { clientId, customerId, consentId, purposes, accountIds: [accountId] }
        await ledger.record(tx, { action: 'BALANCE_LINE_CREATED', ...parties, subjectId: drawn.id })
      })
      return { ...drawn, customerId, bankId, alertedAt: null }
    },

    /**
     * Deletes a line of the caller's client and customer. It is never refused, because it discloses nothing, but it counts as the
     * change of the day, so that a line cannot be moved by deletion. Returns false if the caller has no such line.
     */
    async delete({ clientId, customerId }: CustomerCaller, line: BalanceLine): Promise<boolean> {
      const now = world.clock.now()
      return database.transaction(async (tx) => {
        const disclosureKey = await lines.delete(tx, clientId, line.id)
        if (disclosureKey === undefined) return false
        await disclosures.recordLineChange(tx, disclosureKey, now)
        const parties = { clientId, customerId, accountIds: [line.accountId] }
        await ledger.record(tx, { action: 'BALANCE_LINE_DELETED', ...parties, subjectId: line.id })
        return true
      })
    },
  }

  /**
   * The side of the saved band, so that the first check can find a crossing. Null if the client could not read this band under its
   * grant: a crossing since then would disclose an earlier balance. Nothing is fetched.
   */
  async function lastSide(
    account: SharedAccount,
    { grantedAt }: Grant,
    { type, line }: Pick<BalanceLine, 'type' | 'line'>,
    now: Date,
  ): Promise<LineSide | null> {
    const saved = await dependencies.snapshots.find(account)
    const band = saved?.bands[bandKeyOf({ type, currency: line.currency })]
    if (!band || !isCurrent(band.asOf, now) || new Date(band.asOf) < grantedAt) return null
    return sideOf(band, line) ?? null
  }
}

function parseLine({ line }: LineInput, { currencies }: SharedAccount, offset: number): Money {
  const amount = parseDecimal(line.amount)
  const currency = parseCurrency(line.currency)
  if (!currency) throw invalidInputError([faultAt(['line', 'currency'], 'is not supported', 'CURRENCY_NOT_SUPPORTED')])
  if (currencies.length > 0 && !currencies.includes(currency))
    throwInvalidInput(['line', 'currency'], 'must be a currency of the account')
  if (amount === undefined) throwInvalidInput(['line', 'amount'], 'must be a decimal number')
  const [edge, next] = edgesAround({ amount, currency }, offset)
  if (toScaledUnits(edge.amount) !== toScaledUnits(amount))
    throwInvalidInput(['line', 'amount'], `must be a bound of a band, such as ${edge.amount} or ${next.amount}`)
  return edge
}

const isEqual = (one: BalanceLine, { type, line, direction }: LineInput): boolean =>
  one.type === type &&
  one.direction === direction &&
  one.line.currency === line.currency &&
  one.line.amount === line.amount
