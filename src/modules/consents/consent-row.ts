import { isCustomerScope, isPurpose } from '../../kernel/scopes.ts'
import type { Consent, ConsentState, RevokedBy } from './model.ts'

/** A consent as the database returns it. */
export interface ConsentRow extends Omit<Consent, 'status' | 'scopes' | 'purposes' | 'revokedBy'> {
  status: string
  scopes: string[]
  purposes: string[]
  revokedBy: string | null
}

/** The consent of a row. */
export const toConsent = ({ status, scopes, purposes, revokedBy, ...row }: ConsentRow): Consent => ({
  ...row,
  status: status as ConsentState,
  scopes: scopes.filter(isCustomerScope),
  purposes: purposes.filter(isPurpose),
  revokedBy: revokedBy as RevokedBy | null,
})
