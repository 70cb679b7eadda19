import type { Database } from '../../storage/database.ts'
import { toConsent } from './consent-row.ts'
import type { Consent, ConsentFilter, ConsentOwner, ConsentPosition } from './model.ts'

/** A part of the list of an owner's consents, between two places of it. */
export interface ConsentSearch {
  readonly owner: ConsentOwner
  readonly filter: ConsentFilter
  readonly after: ConsentPosition | null
  readonly before: ConsentPosition | null
  /** Reads from the end of the list. */
  readonly isBackward: boolean
  readonly limit: number
}

/** Pages of consents, newest first. */
export const consentPages = (database: Database) => ({
  /** The consents of a page, from the end of the list first if it is read backward. */
  async findPage({ owner, filter, after, before, isBackward, limit }: ConsentSearch): Promise<Consent[]> {
    const { clientId, customerId } = owner
    const { statuses, bankIds, customerIds, grantIds, expiringBefore } = filter
    const direction = isBackward ? 'asc' : 'desc'
    const rows = await database.tables.consent.findMany({
      where: {
        clientId,
        ...(customerId !== undefined && { customerId }),
        ...(statuses && { status: { in: [...statuses] } }),
        ...(bankIds && { bankId: { in: [...bankIds] } }),
        ...(grantIds && { oauthGrantId: { in: [...grantIds] } }),
        AND: [
          // A consent names its customer once they have agreed: one that is only on its way is found by nobody's `sub`.
          customerIds
            ? {
                activatedAt: { not: null },
                customer: { pairwiseSubjects: { some: { clientId, sub: { in: [...customerIds] } } } },
              }
            : {},
          expiringBefore ? { status: 'ACTIVE', expiresAt: { lt: expiringBefore } } : {},
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

/** Whether a consent lies on one side of a place in the list. */
const isFurther = (comparison: 'lt' | 'gt', { createdAt, id }: ConsentPosition) => ({
  OR: [{ createdAt: { [comparison]: createdAt } }, { createdAt, id: { [comparison]: id } }],
})
