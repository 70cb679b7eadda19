import { isCustomerScope, isPurpose } from '../../kernel/scopes.ts'
import type { Consent, ConsentStatus, ConsentActor } from './model.ts'

/** A consent as the database returns it. */
export interface ConsentRow extends Omit<Consent, 'status' | 'scopes' | 'purposes' | 'endedBy'> {
  status: string
  scopes: string[]
  purposes: string[]
  endedBy: string | null
}

/** Converts a row. */
export const toConsent = ({ status, scopes, purposes, endedBy, ...row }: ConsentRow): Consent => ({
  ...row,
  status: status as ConsentStatus,
  scopes: scopes.filter(isCustomerScope),
  purposes: purposes.filter(isPurpose),
  endedBy: endedBy as ConsentActor | null,
})
