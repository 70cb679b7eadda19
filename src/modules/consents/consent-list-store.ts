import type { Database } from '../../storage/database.ts'
import { toConsent } from './consent-row.ts'
import type { Consent, ConsentFilter, ConsentOwner, ConsentPosition, ConsentStatus } from './model.ts'

/** A slice of the list of an owner's consents, between two positions. */
export interface ConsentSearch {
  readonly owner: ConsentOwner
  readonly filter: ConsentFilter
  /** The banks whose ACTIVE consents with the client are SUSPENDED. */
  readonly notServingBankIds: readonly string[]
  readonly after: ConsentPosition | null
  readonly before: ConsentPosition | null
  /** Whether the slice is taken from the end. */
  readonly isBackward: boolean
  readonly limit: number
}

/** Lists of consents, newest first. */
export const consentListStore = (database: Database) => ({
  /** The consents of a slice, in reverse order if it is taken from the end. */
  async findPage({
    owner,
    filter,
    notServingBankIds,
    after,
    before,
    isBackward,
    limit,
  }: ConsentSearch): Promise<Consent[]> {
    const { clientId, customerId } = owner
    const { statuses, bankIds, customerIds, grantIds, expiringBefore } = filter
    const direction = isBackward ? 'asc' : 'desc'
    const rows = await database.tables.consent.findMany({
      where: {
        clientId,
        ...(customerId !== undefined && { customerId }),
        ...(bankIds && { bankId: { in: [...bankIds] } }),
        ...(grantIds && { oauthGrantId: { in: [...grantIds] } }),
        AND: [
          statuses ? hasStatus(statuses, notServingBankIds) : {},
          // Until a consent becomes ACTIVE, its customer has not agreed to anything that their `sub` could reveal.
          customerIds
            ? {
                activatedAt: { not: null },
                customer: { pairwiseSubjects: { some: { clientId, sub: { in: [...customerIds] } } } },
              }
            : {},
          expiringBefore ? { ...hasStatus(['ACTIVE'], notServingBankIds), expiresAt: { lt: expiringBefore } } : {},
          after ? isFurther('lt', after) : {},
          before ? isFurther('gt', before) : {},
        ],
      },
      orderBy: [{ createdAt: direction }, { id: direction }],
      take: limit,
    })
    return rows.map(toConsent)
  },
})

/** The condition that a consent has one of these statuses. SUSPENDED is stored as ACTIVE. */
function hasStatus(statuses: readonly ConsentStatus[], notServingBankIds: readonly string[]) {
  const isActiveWanted = statuses.includes('ACTIVE')
  if (isActiveWanted === statuses.includes('SUSPENDED')) return { status: { in: [...statuses] } }
  const bankIds = [...notServingBankIds]
  const active = { status: 'ACTIVE', bankId: isActiveWanted ? { notIn: bankIds } : { in: bankIds } }
  const others = statuses.filter((status) => status !== 'ACTIVE' && status !== 'SUSPENDED')
  return others.length === 0 ? active : { OR: [{ status: { in: others } }, active] }
}

/** The condition that a consent lies on one side of a position in the list. */
const isFurther = (comparison: 'lt' | 'gt', { createdAt, id }: ConsentPosition) => ({
  OR: [{ createdAt: { [comparison]: createdAt } }, { createdAt, id: { [comparison]: id } }],
})
