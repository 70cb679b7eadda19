import type { BankAccess, BankAccount, BankInterface, PresentCustomer } from '../../connectors/index.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { resolveCustomer, type ResolvedCustomer } from './customer-resolution.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Consent } from './model.ts'
import type { SignInRow } from './sign-in-store.ts'
import type { NewAccount } from './account-store.ts'
import type { SharedAccounts } from './shared-accounts.ts'
import type { Stores } from './stores.ts'
import type { Subjects } from './subjects.ts'

/** A completed sign-in at a bank. The consent stays PENDING until its authorization code is stored. */
export interface CompletedSignIn {
  readonly consent: Consent & { readonly customerId: string }
  /** Whether this browser may have a session of the customer. */
  readonly canOpenSession: boolean
  /** Whether only the session of the browser proves who the customer is. */
  readonly isProvenBySession: boolean
}

/** A connection whose customer has not been resolved yet. */
interface NewConnection {
  readonly id: string
  readonly connectorId: string
  /** A new customer, for as long as it is not known whose the connection is. */
  readonly customerId: string
  /** Digest of the bank's ID of the person. `null` if the bank gives none. */
  readonly customerDigest: string | null
}

/** Who the customer is according to the browser, the platform and the customer. */
export interface CustomerClaims {
  /** The customer of the browser's session. Undefined if there is no session. */
  readonly sessionCustomerId: string | undefined
  /** The customer whom the platform expects (`id_token_hint`). Undefined if it names none. */
  readonly expectedCustomerId: string | undefined
  readonly claimsSameCustomer: boolean
}

/** The access that a sign-in led to, for its consent. */
interface GainedAccess {
  readonly consent: Consent
  readonly signIn: SignInRow
  readonly bank: BankInterface
  readonly access: BankAccess
}

/** Other parts of the module that the end of a sign-in needs. */
interface SignInCompletionParts {
  readonly accounts: SharedAccounts
  readonly subjects: Subjects
}

/** Turns the access that a bank gave into a PENDING consent with accounts and a customer. */
export type SignInCompletion = ReturnType<typeof createSignInCompletion>

/** The end of a sign-in, from the bank's tokens to a PENDING consent with accounts and a customer. */
export function createSignInCompletion(
  { database, world, seal, banks, outbox }: ConsentsDependencies,
  { consents, connections, signIns, customers, accounts }: Stores,
  { accounts: sharedAccounts, subjects }: SignInCompletionParts,
) {
  return { complete }

  /**
   * Stores the bank tokens, reads the accounts that the customer chose, and resolves whose they are. The consent stays PENDING.
   * Throws `INTERACTION_EXPIRED` if it was rejected meanwhile, and the bank's error.
   */
  async function complete(
    { consent, signIn, bank, access }: GainedAccess,
    claims: CustomerClaims,
    customer: PresentCustomer,
  ): Promise<CompletedSignIn | 'UNEXPECTED_CUSTOMER'> {
    const connection = await storeConnection(consent, signIn, access)
    const newAccounts = await sharedAccounts.sealAccounts(consent.bankId, await fetchAccounts(bank, access, customer))
    return assignToCustomer(consent, connection, claims, newAccounts)
  }

  async function fetchAccounts(
    bank: BankInterface,
    access: BankAccess,
    customer: PresentCustomer,
  ): Promise<readonly BankAccount[]> {
    const accounts = await bank.accounts(access, customer)
    if (accounts.length === 0) throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'no accounts' })
    return accounts
  }

  /**
   * Stores the bank tokens before they are used, so that they can always be revoked. The connection belongs to a new customer
   * for now. If the consent was rejected meanwhile, enqueues the end of the connection and throws `INTERACTION_EXPIRED`.
   */
  async function storeConnection(
    { id, bankId }: Consent,
    { connectorId, stateDigest }: SignInRow,
    access: BankAccess,
  ): Promise<NewConnection> {
    const { customerRef, consentRef, expiresAt } = access
    const connectionId = newId('conn', world.randomness)
    const customerId = newId('cust', world.randomness)
    const sealedAccess = await seal.seal(`connection:${connectionId}`, access)
    const isPending = await database.transaction(async (tx) => {
      await customers.add(tx, customerId)
      await connections.add(tx, {
        id: connectionId,
        connectorId,
        customerId,
        sealedAccess,
        consentDigest: seal.digest('bank-consent', connectorId, consentRef),
        tokenExpiresAt: new Date(expiresAt),
      })
      await signIns.clear(stateDigest, tx)
      if (await consents.update(tx, id, 'PENDING', { connectionId })) return true
      await outbox.enqueue(tx, 'connection.end', connectionId, bankId)
      return false
    })
    if (!isPending)
      throw new GatewayError('INTERACTION_EXPIRED', { internalMessage: 'rejected while the bank answered' })
    const customerDigest = customerRef === undefined ? null : seal.digest('bank-customer', connectorId, customerRef)
    return { id: connectionId, connectorId, customerId, customerDigest }
  }

  /** Resolves the customer, and assigns the connection and the accounts to them. */
  function assignToCustomer(
    consent: Consent,
    connection: NewConnection,
    claims: CustomerClaims,
    newAccounts: readonly NewAccount[],
  ): Promise<CompletedSignIn | 'UNEXPECTED_CUSTOMER'> {
    const { id, clientId, bankId } = consent
    const { customerDigest } = connection
    return database.transaction(async (tx) => {
      await banks.requireServed(tx, consent)
      // Locks the consent first, as a rejection does, to prevent deadlocks.
      if (!(await consents.lockPending(tx, id))) throw new GatewayError('INTERACTION_EXPIRED')
      // Concurrent sign-ins of one person must not create two customers.
      if (customerDigest !== null) await customers.lockPerson(tx, customerDigest)
      const resolved = await resolveFromEvidence(tx, bankId, connection, claims, newAccounts)
      if (resolved === 'UNEXPECTED') return 'UNEXPECTED_CUSTOMER'
      const customerId = resolved.customerId ?? connection.customerId
      await connections.assign(tx, connection.id, customerId, resolved.bindsBankIdentity ? customerDigest : null)
      if (customerId !== connection.customerId) await customers.delete(tx, connection.customerId)
      await customers.addSubject(tx, { clientId, customerId, sub: subjects.subjectOf(clientId, customerId) })
      await consents.update(tx, id, 'PENDING', { customerId })
      await sharedAccounts.storeAccounts(tx, { customerId, bankId, consentId: id }, newAccounts)
      return {
        consent: { ...consent, customerId, connectionId: connection.id },
        canOpenSession: resolved.canOpenSession,
        isProvenBySession: resolved.isProvenBySession === true,
      }
    })
  }

  async function resolveFromEvidence(
    tx: Transaction,
    bankId: string,
    { connectorId, customerDigest }: NewConnection,
    { sessionCustomerId, expectedCustomerId, claimsSameCustomer }: CustomerClaims,
    newAccounts: readonly NewAccount[],
  ): Promise<ResolvedCustomer | 'UNEXPECTED'> {
    const claimedCustomerIds = [sessionCustomerId, expectedCustomerId].filter((id) => id !== undefined)
    const refDigests = newAccounts.map(({ refDigest }) => refDigest)
    return resolveCustomer({
      sessionCustomerId,
      expectedCustomerId,
      claimsSameCustomer,
      sameCustomerIdsAtBank:
        customerDigest === null ? [] : await connections.findCustomers(tx, connectorId, customerDigest),
      otherCustomerIdsAtBank:
        customerDigest === null
          ? []
          : await connections.findOtherCustomers(tx, connectorId, customerDigest, claimedCustomerIds),
      accountHolderIds: await accounts.findHolders(tx, bankId, refDigests),
    })
  }
}
