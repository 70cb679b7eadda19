import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import { connectionFromArray, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import type { Clock } from '../../kernel/clock.ts'
import type { BankHealth } from './health.ts'
import { normalizeBankName, type Bank, type BankAvailability, type BankFilter } from './model.ts'
import type { OutageStore } from './outage-store.ts'
import type { BankStore } from './store.ts'

/** Dependencies of the directory. */
export interface DirectoryDependencies {
  readonly store: BankStore
  readonly outages: OutageStore
  readonly health: BankHealth
  readonly clock: Clock
}

const MAX_SEARCH_LENGTH = 100

/** Creates the public directory of banks with an active connector. */
export function createDirectory({ store, outages, health, clock }: DirectoryDependencies) {
  /** The availability of these banks for new consents now, by bank ID. */
  async function availabilityOf(bankIds: readonly string[]): Promise<ReadonlyMap<string, BankAvailability>> {
    const now = clock.now()
    const connectorIds = await store.connectableConnectorIds(bankIds)
    const current = (await outages.notOver(bankIds, now)).filter(({ startsAt }) => startsAt <= now)
    const bankIdsInOutage = new Set(current.map(({ bankId }) => bankId))
    const down = await health.findDown([...connectorIds.values()])
    return new Map(
      bankIds.map((bankId) => {
        const connectorId = connectorIds.get(bankId)
        if (connectorId === undefined) return [bankId, 'UNAVAILABLE']
        if (bankIdsInOutage.has(bankId)) return [bankId, 'OUTAGE']
        return [bankId, down.has(connectorId) ? 'UNAVAILABLE' : 'AVAILABLE']
      }),
    )
  }

  return {
    availabilityOf,

    /** The bank with this ID; null without an active connector. */
    findActiveBank: (id: string): Promise<Bank | null> => store.activeBank(id),

    /** All banks with an active connector, by name. */
    activeBanks: (): Promise<Bank[]> => store.activeBanks(),

    /** The banks that accept new consents, by name. */
    connectableBanks: (): Promise<Bank[]> => store.activeBanks({ acceptsNewConsents: true }),

    /** A page of the active banks that match the filter, by name. Throws `INVALID_INPUT` with every fault. */
    async pageOfActiveBanks(
      { countries, availability, search }: BankFilter,
      page: PageArguments,
    ): Promise<Connection<Bank>> {
      if (search && search.length > MAX_SEARCH_LENGTH)
        throw invalidInputError([faultAt(['filter', 'search'], `must have at most ${MAX_SEARCH_LENGTH} characters`)])
      const wantedName = normalizeBankName(search ?? '')
      let banks = (await store.activeBanks()).filter(
        ({ name, country }) =>
          (!countries || countries.includes(country)) && normalizeBankName(name).includes(wantedName),
      )
      if (availability) {
        const byBankId = await availabilityOf(banks.map(({ id }) => id))
        banks = banks.filter(({ id }) => availability.includes(byBankId.get(id)!))
      }
      return connectionFromArray(banks, page, ({ id }) => id)
    },
  }
}
