import type { BankAccess, BankAccount, BankInterface, PresentCustomer } from '../../connectors/index.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { digest, newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { provenCustomer, type ProvenCustomer } from './customer-proof.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Consent } from './model.ts'
import { readSignIn } from './sign-in.ts'
import type { Rejection } from './rejection.ts'
import type { SignInRow } from './sign-in-store.ts'
import type { NewAccount } from './account-store.ts'
import type { ConsentStore } from './store.ts'

/** A customer's return from the bank. */
export interface BankReturn {
  /** The address that the bank sent the browser to, with everything that it added. */
  readonly callback: URL
  readonly state: string
  readonly interactionUid: string
  readonly customer: PresentCustomer
  /** The customer of the session that this browser has now. */
  readonly sessionCustomer: string | undefined
  /** The customer whom the platform expects, where it says so. */
  readonly expectedCustomer: string | undefined
}

/** A sign-in at a bank that succeeded: the consent is PENDING until its authorization code is stored. */
export interface SignedIn {
  readonly consent: Consent & { readonly customerId: string }
  /** Whether this browser may open the customer's own pages from now on. */
  readonly opensSession: boolean
  /** Whether it is their session alone that proves the customer. */
  readonly bySession: boolean
}

/** Why a return did not make a sign-in. */
export type ReturnFailure =
  /** Somebody else signed in than the platform expects. */
  | 'UNEXPECTED_CUSTOMER'
  /** The customer was at the bank for longer than a sign-in lasts. */
  | 'TOO_LATE'
  /** Another request of the same visit took this return before, or ended the visit meanwhile. */
  | 'DECIDED_ELSEWHERE'

/** A connection as it is made, under a customer of its own. */
interface NewConnection {
  readonly id: string
  readonly connectorId: string
  readonly customerId: string
  /** Stands for the person whom the bank names; `null` where it names nobody. */
  readonly customerDigest: string | null
}

/** Whom a return names, beside the bank. */
interface Named extends Pick<BankReturn, 'sessionCustomer' | 'expectedCustomer'> {
  readonly saysSame: boolean
}

/** The way of a consent from the bank's callback to a customer whose it is. */
export function createBankReturn(
  { database, world, seal, banks, outbox }: ConsentsDependencies,
  store: ConsentStore,
  rejection: Rejection,
) {
  return { complete }

  /**
   * Takes the customer back from the bank: a state works once and in its own visit only. Exchanges the code, stores the
   * tokens, reads the accounts that the customer chose, and decides whose they are. The consent stays PENDING and opens
   * nothing. Throws `INTERACTION_EXPIRED` for a state of another visit. Whatever else goes wrong, the consent is REJECTED
   * and ends at the bank, too.
   */
  async function complete(back: BankReturn): Promise<SignedIn | ReturnFailure> {
    const { state, interactionUid } = back
    const signIn = await store.signIn(digest(state))
    if (signIn?.interactionUid !== interactionUid) throw new GatewayError('INTERACTION_EXPIRED')
    const consent = await store.find(signIn.consentId)
    const now = world.clock.now()
    if (!signIn.usedAt && signIn.expiresAt <= now) return 'TOO_LATE'
    if (consent?.status !== 'PENDING' || !(await store.useSignIn(signIn.stateDigest, now))) return 'DECIDED_ELSEWHERE'
    return finish(back, signIn, consent)
  }

  async function finish(back: BankReturn, signIn: SignInRow, consent: Consent): Promise<SignedIn | ReturnFailure> {
    try {
      const { resume, saysSame } = await readSignIn(seal, signIn)
      const bank = await banks.reach(signIn.connectorId)
      const access = await bank.completeSignIn(back.callback, resume)
      const connection = await connect(consent, signIn, access)
      const accounts = await sealed(consent.bankId, await accountsAt(bank, access, back.customer))
      const signedIn = await attach(consent, connection, { ...back, saysSame }, accounts)
      if (signedIn !== 'UNEXPECTED_CUSTOMER') return signedIn
      await rejection.reject(consent.id, { code: signedIn })
      return signedIn
    } catch (error) {
      await rejection.reject(consent.id, asGatewayError(error))
      if (asGatewayError(error).code === 'INTERACTION_EXPIRED') return 'DECIDED_ELSEWHERE'
      throw error
    }
  }

  async function accountsAt(
    bank: BankInterface,
    access: BankAccess,
    customer: PresentCustomer,
  ): Promise<readonly BankAccount[]> {
    const accounts = await bank.accounts(access, customer)
    if (accounts.length === 0) throw new GatewayError('BANK_RESPONSE_INVALID', { internal: 'no accounts' })
    return accounts
  }

  /**
   * Stores the bank's tokens before anything else is requested with them, under a customer of their own for now. Where the
   * consent was rejected while the bank answered, the connection is ended at the bank. Throws `INTERACTION_EXPIRED` then.
   */
  async function connect(
    { id, bankId }: Consent,
    { connectorId, stateDigest }: SignInRow,
    access: BankAccess,
  ): Promise<NewConnection> {
    const { customerRef, consentRef, expiresAt } = access
    const connectionId = newId('conn', world.randomness)
    const customerId = newId('cust', world.randomness)
    const sealedAccess = await seal.seal(`connection:${connectionId}`, access)
    const isPending = await database.transaction(async (tx) => {
      await store.addCustomer(tx, customerId)
      await store.addConnection(tx, {
        id: connectionId,
        connectorId,
        customerId,
        sealedAccess,
        consentDigest: seal.digest('bank-consent', connectorId, consentRef),
        tokenExpiresAt: new Date(expiresAt),
      })
      await store.forgetSignIn(stateDigest, tx)
      if (await store.change(tx, id, 'PENDING', { connectionId })) return true
      await outbox.promise(tx, 'connection.end', connectionId, bankId)
      return false
    })
    if (!isPending) throw new GatewayError('INTERACTION_EXPIRED', { internal: 'rejected while the bank answered' })
    const customerDigest = customerRef === undefined ? null : seal.digest('bank-customer', connectorId, customerRef)
    return { id: connectionId, connectorId, customerId, customerDigest }
  }

  /** Accounts as they are stored: the bank's own id sealed and digested, the number digested with its currency. */
  function sealed(bankId: string, accounts: readonly BankAccount[]): Promise<NewAccount[]> {
    return Promise.all(
      accounts.map(async ({ ref, number, ...account }) => {
        const refDigest = seal.digest('account-ref', bankId, ref)
        const sealedRef = await seal.seal(`account-ref:${refDigest}`, ref)
        // Accounts of several currencies share a number.
        const numberDigest = number && seal.digest('account-number', bankId, number, account.currency ?? '')
        return { ...account, id: newId('acct', world.randomness), refDigest, numberDigest, sealedRef }
      }),
    )
  }

  /** Decides whose the accounts are, and gives them and the connection to that customer. The consent still opens nothing. */
  function attach(
    consent: Consent,
    connection: NewConnection,
    named: Named,
    accounts: readonly NewAccount[],
  ): Promise<SignedIn | 'UNEXPECTED_CUSTOMER'> {
    const { id, clientId, bankId } = consent
    const { customerDigest } = connection
    return database.transaction(async (tx) => {
      // The consent first, as whoever rejects it does: otherwise two could wait for each other.
      if (!(await store.pending(tx, id))) throw new GatewayError('INTERACTION_EXPIRED')
      // Two sign-ins of one person at the same moment must not make two customers.
      if (customerDigest !== null) await store.lockPerson(tx, customerDigest)
      const proven = await prove(tx, bankId, connection, named, accounts)
      if (proven === 'UNEXPECTED') return 'UNEXPECTED_CUSTOMER'
      const customerId = proven.customerId ?? connection.customerId
      await store.giveConnection(tx, connection, customerId, proven.identifies ? customerDigest : null)
      await store.addSubject(tx, { clientId, customerId, sub: seal.digest('subject', clientId, customerId) })
      await store.change(tx, id, 'PENDING', { customerId })
      await store.share(tx, id, await store.keepAccounts(tx, customerId, bankId, accounts))
      return {
        consent: { ...consent, customerId, connectionId: connection.id },
        opensSession: proven.opensSession,
        bySession: proven.bySession === true,
      }
    })
  }

  async function prove(
    tx: Transaction,
    bankId: string,
    { connectorId, customerDigest }: NewConnection,
    { sessionCustomer, expectedCustomer, saysSame }: Named,
    accounts: readonly NewAccount[],
  ): Promise<ProvenCustomer | 'UNEXPECTED'> {
    const named = [sessionCustomer, expectedCustomer].filter((id) => id !== undefined)
    const refDigests = accounts.map(({ refDigest }) => refDigest)
    return provenCustomer({
      session: sessionCustomer,
      expected: expectedCustomer,
      saysSame,
      sameAtBank: customerDigest === null ? [] : await store.customersAtBank(tx, connectorId, customerDigest),
      otherAtBank: customerDigest === null ? [] : await store.othersAtBank(tx, connectorId, customerDigest, named),
      accountHolders: await store.accountHolders(tx, bankId, refDigests),
    })
  }
}
