import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import { connectionFromArray, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import type { Clock } from '../../kernel/clock.ts'
import type { BankHealth } from './health.ts'
import {
  normalizeBankName,
  type Bank,
  type BankAvailability,
  type BankCertification,
  type BankFilter,
  type ConnectableBank,
} from './model.ts'
import type { OutageStore } from './outage-store.ts'
import type { BankStore } from './store.ts'

/** Dependencies of the directory. */
export interface DirectoryDependencies {
  readonly store: BankStore
  readonly outages: OutageStore
  readonly health: BankHealth
  readonly clock: Clock
  /** The IDs of the banks that do not serve the client's organization. */
  readonly bankIdsNotServing: (clientId: string) => Promise<readonly string[]>
  /** How each of these connectors was certified last. */
  readonly certificationsOf: (connectorIds: readonly string[]) => Promise<ReadonlyMap<string, BankCertification>>
}

const MAX_SEARCH_LENGTH = 100

/** Creates the public directory of banks with an active connector. */
export function createDirectory(dependencies: DirectoryDependencies) {
  const { store, outages, health, clock, bankIdsNotServing, certificationsOf } = dependencies

  /**
   * The availability of these banks for new consents now, by bank ID. Without a client, no bank is NOT_OFFERED: a caller
   * learns only whether a bank serves the caller's own organization.
   */
  async function availabilityOf(
    bankIds: readonly string[],
    clientId: string | undefined,
  ): Promise<ReadonlyMap<string, BankAvailability>> {
    const now = clock.now()
    const notOffered = new Set(clientId === undefined ? [] : await bankIdsNotServing(clientId))
    const connectorIds = await store.connectableConnectorIds(bankIds)
    const current = (await outages.notOver(bankIds, now)).filter(({ startsAt }) => startsAt <= now)
    const bankIdsInOutage = new Set(current.map(({ bankId }) => bankId))
    const down = await health.findDown([...connectorIds.values()])
    return new Map(
      bankIds.map((bankId) => {
        const connectorId = connectorIds.get(bankId)
        if (notOffered.has(bankId)) return [bankId, 'NOT_OFFERED']
        if (connectorId === undefined) return [bankId, 'UNAVAILABLE']
        if (bankIdsInOutage.has(bankId)) return [bankId, 'OUTAGE']
        return [bankId, down.has(connectorId) ? 'UNAVAILABLE' : 'AVAILABLE']
      }),
    )
  }

  return {
    availabilityOf,

    /** How the newest active connector of each of these banks was certified, by bank ID. Absent if it never was. */
    async certificationsOfBanks(bankIds: readonly string[]): Promise<ReadonlyMap<string, BankCertification>> {
      const connectorIds = await store.activeConnectorIds(bankIds)
      const certifications = await certificationsOf([...connectorIds.values()])
      const byBankId = [...connectorIds].flatMap(([bankId, connectorId]) => {
        const certification = certifications.get(connectorId)
        return certification ? [[bankId, certification] as const] : []
      })
      return new Map(byBankId)
    },

    /** The bank with this ID; null without an active connector. */
    findActiveBank: (id: string): Promise<Bank | null> => store.activeBank(id),

    /** All banks with an active connector, by name. */
    activeBanks: (): Promise<Bank[]> => store.activeBanks(),

    /** The banks that accept new consents, by name, and whether each accepts them from the client's organization. */
    async connectableBanks(clientId: string): Promise<ConnectableBank[]> {
      const notServing = await bankIdsNotServing(clientId)
      const banks = await store.activeBanks({ acceptsNewConsents: true })
      return banks.map((bank) => ({ ...bank, isOffered: !notServing.includes(bank.id) }))
    },

    /** A page of the active banks that match the filter, by name. Throws `INVALID_INPUT` with every fault. */
    async pageOfActiveBanks(
      clientId: string | undefined,
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
        const byBankId = await availabilityOf(
          banks.map(({ id }) => id),
          clientId,
        )
        banks = banks.filter(({ id }) => availability.includes(byBankId.get(id)!))
      }
      return connectionFromArray(banks, page, ({ id }) => id)
    },
  }
}
