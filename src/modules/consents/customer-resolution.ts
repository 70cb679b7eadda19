/** What is known about the person who has just signed in at a bank. Each id is a customer's. */
export interface SignInEvidence {
  /** The customer whom this browser's own session proves, by an earlier sign-in at a bank. */
  readonly sessionCustomerId: string | undefined
  /** Whom the platform expects (`id_token_hint`), where it says so. */
  readonly expectedCustomerId: string | undefined
  /** Whether the person says that it was them who shared in this browser before. */
  readonly claimsSameCustomer: boolean
  /** Customers whom the bank knows as the same person, the newest first. */
  readonly sameCustomerIdsAtBank: readonly string[]
  /** Customers whom the bank knows as another person. */
  readonly otherCustomerIdsAtBank: readonly string[]
  /** Customers who have shared every one of these accounts. The other holder of a joint account may be among them. */
  readonly accountHolderIds: readonly string[]
}

/** To whom the accounts belong, and whether that customer's own pages may be opened in this browser. */
export interface ResolvedCustomer {
  /** `undefined`: somebody new. */
  readonly customerId: string | undefined
  readonly canOpenSession: boolean
  /**
   * Whether the bank's name for this person stands for the customer from now on: only where the bank proved it or the customer
   * is new, so that a join by anything else teaches the gateway nothing.
   */
  readonly bindsBankIdentity: boolean
  /** Whether only the session of the browser proves the customer, so that nothing does once that has ended. */
  readonly isProvenBySession?: true
}

/**
 * Decides to whom the accounts of a bank sign-in belong (decision 11). A session cookie alone joins nothing, because it can
 * have been planted; an `id_token_hint` alone joins nothing, because whoever holds an old ID token can send it; an account alone
 * joins nothing, because two people can hold it, and beside a cookie or a hint it joins only what was shared already. Nothing
 * joins against the word of the bank. Returns `UNEXPECTED` where the platform expects somebody whom nothing proves.
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
  /** Whether the bank says that this person is somebody else than the customer. */
  const isContradictedByBank = (customerId: string): boolean =>
    sameCustomerIdsAtBank.length > 0 || otherCustomerIdsAtBank.includes(customerId)
  if (expectedCustomerId !== undefined) {
    if (sameCustomerIdsAtBank.includes(expectedCustomerId))
      return { customerId: expectedCustomerId, canOpenSession: true, bindsBankIdentity: true }
    if (isContradictedByBank(expectedCustomerId)) return 'UNEXPECTED'
    if (sessionCustomerId === expectedCustomerId)
      return { customerId: expectedCustomerId, canOpenSession: true, bindsBankIdentity: false, isProvenBySession: true }
    // The other holder of a joint account gets this far, too, and must not see what else the expected customer shares.
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
