/** What is known about the person who has just signed in at a bank. */
export interface SignInEvidence {
  /** The customer of the browser's session, which an earlier sign-in at a bank started. */
  readonly sessionCustomerId: string | undefined
  /** The customer whom the platform expects (`id_token_hint`). */
  readonly expectedCustomerId: string | undefined
  /** Whether the person says that they shared in this browser before. */
  readonly claimsSameCustomer: boolean
  /** Customers whom the bank knows as this person, newest first. */
  readonly sameCustomerIdsAtBank: readonly string[]
  /** Customers, among those of session and platform, whom the bank knows as another person. */
  readonly otherCustomerIdsAtBank: readonly string[]
  /** Customers who have shared every one of the accounts. The other holder of a joint account can be among them. */
  readonly accountHolderIds: readonly string[]
}

/** The customer to whom the accounts belong, and what follows from how they were recognized. */
export interface ResolvedCustomer {
  /** Undefined for a new customer. */
  readonly customerId: string | undefined
  /** Whether this browser may have a session of the customer. */
  readonly canOpenSession: boolean
  /**
   * Whether the bank's ID of the person identifies the customer from now on. Only if the bank recognized them or the customer
   * is new: weaker evidence must not become proof for later sign-ins.
   */
  readonly bindsBankIdentity: boolean
  /** Whether only the session of the browser proves who the customer is. */
  readonly isProvenBySession?: true
}

/**
 * Resolves to which customer the accounts of a sign-in at a bank belong (decision 11). None of these proves a known customer
 * alone: a session cookie, because an attacker can plant one; an `id_token_hint`, because anybody with an old ID token can send
 * it; an account, because two people can hold it. An account supports a cookie or a hint only if the customer shared it before.
 * Nothing outweighs the bank's own ID of the person. Returns `UNEXPECTED` if nothing proves the customer whom the platform
 * expects.
 */
export function resolveCustomer(evidence: SignInEvidence): ResolvedCustomer | 'UNEXPECTED' {
  const {
    sessionCustomerId,
    expectedCustomerId,
    claimsSameCustomer,
    sameCustomerIdsAtBank,
    otherCustomerIdsAtBank,
    accountHolderIds,
  } = evidence
  /** Whether the bank knows the customer as another person than the one who signed in. */
  const isContradictedByBank = (customerId: string): boolean =>
    sameCustomerIdsAtBank.length > 0 || otherCustomerIdsAtBank.includes(customerId)
  if (expectedCustomerId !== undefined) {
    if (sameCustomerIdsAtBank.includes(expectedCustomerId))
      return { customerId: expectedCustomerId, canOpenSession: true, bindsBankIdentity: true }
    if (isContradictedByBank(expectedCustomerId)) return 'UNEXPECTED'
    if (sessionCustomerId === expectedCustomerId)
      return { customerId: expectedCustomerId, canOpenSession: true, bindsBankIdentity: false, isProvenBySession: true }
    // No session, because this can be the other holder of a joint account, who must not see what else the customer shares.
    if (accountHolderIds.includes(expectedCustomerId))
      return { customerId: expectedCustomerId, canOpenSession: false, bindsBankIdentity: false }
    return 'UNEXPECTED'
  }
  if (sessionCustomerId !== undefined) {
    if (sameCustomerIdsAtBank.includes(sessionCustomerId))
      return { customerId: sessionCustomerId, canOpenSession: true, bindsBankIdentity: true }
    if (claimsSameCustomer && accountHolderIds.includes(sessionCustomerId) && !isContradictedByBank(sessionCustomerId))
      return { customerId: sessionCustomerId, canOpenSession: true, bindsBankIdentity: false, isProvenBySession: true }
  }
  return { customerId: sameCustomerIdsAtBank[0], canOpenSession: true, bindsBankIdentity: true }
}
