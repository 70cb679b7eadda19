import { isCustomerScope, isPurpose } from '../../kernel/scopes.ts'
import type { Consent, ConsentState, RevokedBy } from './model.ts'

/** A consent as the database returns it. */
export interface ConsentRow extends Omit<Consent, 'state' | 'scopes' | 'purposes' | 'revokedBy'> {
  state: string
  scopes: string[]
  purposes: string[]
  revokedBy: string | null
}

/** The consent of a row. */
export const toConsent = ({ state, scopes, purposes, revokedBy, ...row }: ConsentRow): Consent => ({
  ...row,
  state: state as ConsentState,
  scopes: scopes.filter(isCustomerScope),
  purposes: purposes.filter(isPurpose),
  revokedBy: revokedBy as RevokedBy | null,
})
