import { setTimeout as sleep } from 'node:timers/promises'
import type { BankAccess, BankAccount, BankInterface, PresentCustomer, Resume } from '../../connectors/index.ts'
import { later, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { digest, newId } from '../../kernel/ids.ts'
import { traceOf } from '../../kernel/log.ts'
import type { CustomerScope, Purpose } from '../../kernel/scopes.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { provenCustomer, type ProvenCustomer, type SignInEvidence } from './customer-proof.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { durationMs, type Consent } from './model.ts'
import type { SignInRow } from './sign-in-store.ts'
import type { ConsentStore } from './store.ts'

/** What the customer agreed to on the consent pages, before the bank was asked. */
export interface ConsentRequest {
  readonly clientId: string
  readonly bankId: string
  readonly scopes: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly days: number
  /** Whether the customer says that it was them who shared in this browser before. */
  readonly saysSame: boolean
  /** The authorization server's id of this visit. */
  readonly interactionUid: string
  /** Where the customer's browser connects from: they are on our pages. */
  readonly customer: PresentCustomer
}

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
}

/** What is stored, sealed, while the customer is at the bank. */
interface OpenSignIn {
  readonly url: string
  readonly resume: Resume
  readonly saysSame: boolean
}

const SIGN_IN_MS = 15 * MINUTE_MS
const ABANDONED_BATCH = 100
/** How long a repeated step waits for the first one, which waits for the bank. */
const SAME_STEP_MS = 15 * SECOND_MS
const POLL_MS = 100

/** The way of a consent from the customer's request to a sign-in at the bank that succeeded. */
export function createOptIn(
  { database, world, seal, banks, ledger, outbox }: ConsentsDependencies,
  store: ConsentStore,
) {
  return { begin, interactionOf, complete, reject, abandonVisit, endSignIn, forgetAbandoned }

  /**
   * Creates the consent as PENDING, asks the bank for its own, and returns where the customer signs in. A visit begins one
   * sign-in: the same choice again leads to the same address, another choice replaces it while the customer is not back.
   * Throws `INTERACTION_EXPIRED` once they are, and what the bank said where it refused.
   */
  async function begin(request: ConsentRequest): Promise<{ url: string }> {
    const connector = await banks.liveConnectorOf(request.bankId)
    const { bankId, scopes, purposes, days, saysSame, interactionUid } = request
    const choiceDigest = digest(JSON.stringify([bankId, scopes, purposes, days, saysSame]))
    const state = world.randomness.bytes(32).toString('base64url')
    const consent = newConsent(request)
    const claim: SignInRow = {
      stateDigest: digest(state),
      consentId: consent.id,
      connectorId: connector.id,
      interactionUid,
      choiceDigest,
      sealed: '',
      expiresAt: later(world.clock.now(), SIGN_IN_MS),
      usedAt: null,
    }
    const earlier = await claimVisit(consent, claim)
    if (earlier) return { url: (await opened(earlier)).url }
    try {
      const bank = await banks.reach(connector.id)
      const { url, resume } = await bank.requestConsent({
        expiresAt: consent.expiresAt,
        state,
        customer: request.customer,
      })
      const open: OpenSignIn = { url, resume, saysSame }
      await store.openSignIn(claim.stateDigest, await seal.seal(`sign-in:${consent.id}`, open))
      return { url }
    } catch (error) {
      await store.useSignIn(claim.stateDigest, world.clock.now())
      await reject(consent.id)
      throw error
    }
  }

  function newConsent({ clientId, bankId, scopes, purposes, days }: ConsentRequest): Consent {
    const now = world.clock.now()
    return {
      id: newId('cons', world.randomness),
      clientId,
      customerId: null,
      bankId,
      state: 'PENDING',
      scopes,
      purposes,
      expiresAt: later(now, durationMs(days)),
      createdAt: now,
      activatedAt: null,
      endedAt: null,
      revokedBy: null,
      connectionId: null,
      oauthGrantId: null,
    }
  }

  /** Takes the visit's one sign-in for this consent, or returns the sign-in that the same choice has begun. */
  async function claimVisit(consent: Consent, claim: SignInRow): Promise<SignInRow | undefined> {
    const giveUpAt = performance.now() + SAME_STEP_MS
    for (;;) {
      const earlier = await store.signInOfVisit(claim.interactionUid)
      if (earlier && (earlier.usedAt || earlier.expiresAt <= world.clock.now()))
        throw new GatewayError('INTERACTION_EXPIRED', { internal: 'the sign-in of this visit is over' })
      const isOpen = earlier !== null && earlier.sealed !== ''
      if (isOpen && earlier.choiceDigest === claim.choiceDigest) return earlier
      if ((!earlier || isOpen) && (await claimed(consent, claim))) return undefined
      if (performance.now() > giveUpAt)
        throw new GatewayError('BANK_TIMEOUT', { internal: 'the bank has not answered the first of these steps' })
      await sleep(POLL_MS)
    }
  }

  /** One transaction, so that a consent exists for the one sign-in of the visit and for no other. */
  function claimed(consent: Consent, claim: SignInRow): Promise<boolean> {
    return database
      .transaction(async (tx) => {
        await store.add(tx, consent)
        if (!(await store.claimVisit(tx, claim))) {
          const replaced = await store.replaceSignIn(tx, claim, world.clock.now())
          if (replaced === undefined) throw new VisitTaken()
          await rejectWithin(tx, replaced)
        }
        await ledger.record(tx, {
          kind: 'CONSENT_REQUESTED',
          clientId: consent.clientId,
          consentId: consent.id,
          purposes: consent.purposes,
        })
        return true
      })
      .catch((error: unknown) => {
        if (error instanceof VisitTaken) return false
        throw error
      })
  }

  async function opened({ consentId, sealed }: SignInRow): Promise<OpenSignIn> {
    return (await seal.open(`sign-in:${consentId}`, sealed)) as OpenSignIn
  }

  /** The visit that a bank's callback belongs to; throws `INTERACTION_EXPIRED` for a state that was never given out. */
  async function interactionOf(state: string): Promise<string> {
    const signIn = await store.signIn(digest(state))
    if (!signIn) throw new GatewayError('INTERACTION_EXPIRED')
    return signIn.interactionUid
  }

  /**
   * Takes the customer back from the bank: a state works once and in its own visit only. Exchanges the code, reads the
   * accounts that the customer chose, and decides whose they are. The consent stays PENDING and opens nothing.
   * `UNEXPECTED_CUSTOMER`: somebody else signed in than the platform expects; nothing is shared. Whatever goes wrong, the
   * consent is REJECTED and ends at the bank, too.
   */
  async function complete(back: BankReturn): Promise<SignedIn | 'UNEXPECTED_CUSTOMER'> {
    const signIn = await store.signIn(digest(back.state))
    if (signIn?.interactionUid !== back.interactionUid) throw new GatewayError('INTERACTION_EXPIRED')
    const consent = await store.find(signIn.consentId)
    if (consent?.state !== 'PENDING' || !(await store.useSignIn(signIn.stateDigest, world.clock.now())))
      throw new GatewayError('INTERACTION_EXPIRED')
    try {
      const { resume, saysSame } = await opened(signIn)
      const bank = await banks.reach(signIn.connectorId)
      const access = await bank.completeSignIn(back.callback, resume)
      const connection = await connect(consent, signIn, access)
      const accounts = await accountsAt(bank, access, back.customer)
      const proven = await prove(back, saysSame, connection, accounts)
      if (proven === 'UNEXPECTED') {
        world.log.info('consent.rejected', { consentId: consent.id, code: 'UNEXPECTED_CUSTOMER' })
        await reject(consent.id)
        return 'UNEXPECTED_CUSTOMER'
      }
      const customerId = proven.customerId ?? connection.customerId
      await attach(consent, connection, { customerId, identifies: proven.identifies }, accounts)
      return {
        consent: { ...consent, customerId, connectionId: connection.id },
        opensSession: proven.opensSession,
      }
    } catch (error) {
      logRejected(consent.id, error)
      await reject(consent.id)
      throw error
    }
  }

  function logRejected(consentId: string, thrown: unknown): void {
    const error = asGatewayError(thrown)
    if (error.code === 'INTERNAL')
      world.log.error('consent.rejected', { consentId, code: error.code, trace: traceOf(error) })
    else world.log.info('consent.rejected', { consentId, code: error.code })
  }

  async function accountsAt(
    bank: BankInterface,
    access: BankAccess,
    customer: PresentCustomer,
  ): Promise<readonly BankAccount[]> {
    const accounts = await bank.accounts(access, customer)
    if (accounts.length === 0) throw new GatewayError('BANK_ANSWER_INVALID', { internal: 'no accounts' })
    return accounts
  }

  /** Stores the bank's tokens before anything else is asked with them, under a customer of their own for now. */
  async function connect(
    consent: Consent,
    { connectorId, stateDigest }: SignInRow,
    access: BankAccess,
  ): Promise<NewConnection> {
    const connection: NewConnection = {
      id: newId('conn', world.randomness),
      connectorId,
      customerId: newId('cust', world.randomness),
      customerDigest:
        access.customerRef === undefined ? null : seal.digest('bank-customer', connectorId, access.customerRef),
    }
    const sealedAccess = await seal.seal(`connection:${connection.id}`, access)
    await database.transaction(async (tx) => {
      await store.addCustomer(tx, connection.customerId)
      await store.addConnection(tx, {
        id: connection.id,
        connectorId,
        customerId: connection.customerId,
        sealedAccess,
        consentDigest: seal.digest('bank-consent', connectorId, access.consentRef),
        tokenExpiresAt: new Date(access.expiresAt),
      })
      if (!(await store.change(tx, consent.id, 'PENDING', { connectionId: connection.id })))
        throw new GatewayError('INTERACTION_EXPIRED')
      await store.forgetSignIn(stateDigest, tx)
    })
    return connection
  }

  async function prove(
    { sessionCustomer, expectedCustomer }: BankReturn,
    saysSame: boolean,
    { connectorId, customerDigest }: NewConnection,
    accounts: readonly BankAccount[],
  ): Promise<ProvenCustomer | 'UNEXPECTED'> {
    const { bankId } = (await banks.connector(connectorId))!
    const refDigests = accounts.map(({ ref }) => seal.digest('account-ref', bankId, ref))
    const named = [sessionCustomer, expectedCustomer].filter((id) => id !== undefined)
    const evidence: SignInEvidence = {
      session: sessionCustomer,
      expected: expectedCustomer,
      saysSame,
      sameAtBank: customerDigest === null ? [] : await store.customersAtBank(connectorId, customerDigest),
      otherAtBank: customerDigest === null ? [] : await store.othersAtBank(connectorId, customerDigest, named),
      accountHolders: await store.accountHolders(bankId, refDigests),
    }
    return provenCustomer(evidence)
  }

  /** Gives the connection and the accounts to their customer. The consent still opens nothing. */
  async function attach(
    { id, clientId, bankId }: Consent,
    connection: NewConnection,
    { customerId, identifies }: { customerId: string; identifies: boolean },
    accounts: readonly BankAccount[],
  ): Promise<void> {
    const sealed = await Promise.all(
      accounts.map(async ({ ref, number, ...account }) => {
        const refDigest = seal.digest('account-ref', bankId, ref)
        const sealedRef = await seal.seal(`account-ref:${refDigest}`, ref)
        // Accounts of several currencies share a number.
        const numberDigest = number && seal.digest('account-number', bankId, number, account.currency ?? '')
        return { ...account, id: newId('acct', world.randomness), refDigest, numberDigest, sealedRef }
      }),
    )
    await database.transaction(async (tx) => {
      await store.giveConnection(tx, connection, customerId, identifies ? connection.customerDigest : null)
      await store.addSubject(tx, { clientId, customerId, sub: seal.digest('subject', clientId, customerId) })
      if (!(await store.change(tx, id, 'PENDING', { customerId }))) throw new GatewayError('INTERACTION_EXPIRED')
      await store.share(tx, id, await store.keepAccounts(tx, customerId, bankId, sealed))
    })
  }

  /** Rejects the requests whose sign-in can no longer be finished; returns how many there were. */
  async function forgetAbandoned(): Promise<number> {
    const abandoned = await store.abandoned(later(world.clock.now(), -2 * SIGN_IN_MS), ABANDONED_BATCH)
    for (const { id } of abandoned) await reject(id)
    return abandoned.length
  }

  /** Ends a consent that opened nothing yet, here and at the bank; false where it is not PENDING. */
  function reject(consentId: string): Promise<boolean> {
    return database.transaction((tx) => rejectWithin(tx, consentId))
  }

  async function rejectWithin(tx: Transaction, consentId: string): Promise<boolean> {
    const pending = await store.pendingConnection(tx, consentId)
    if (!pending) return false
    const { connectionId } = pending
    // Where the standard lets a new consent end the earlier one, the bank has done so: those that stand on it are checked.
    const rivals = connectionId === null ? [] : await store.rivalConnections(tx, consentId, connectionId)
    const consent = await store.rejectPending(tx, consentId, world.clock.now())
    if (!consent) return false
    const { clientId, bankId } = consent
    await ledger.record(tx, { kind: 'CONSENT_REJECTED', clientId, consentId })
    for (const rival of rivals) await outbox.promise(tx, 'connection.check', rival, bankId)
    if (connectionId !== null) {
      await outbox.promise(tx, 'connection.end', connectionId, bankId)
      return true
    }
    const signIn = await store.openSignInOf(tx, consentId)
    if (signIn !== undefined) await outbox.promise(tx, 'sign-in.end', signIn, bankId)
    return true
  }

  /** Rejects the consent that this visit has begun, where it is PENDING still: the customer or we have ended the visit. */
  async function abandonVisit(interactionUid: string): Promise<void> {
    const signIn = await store.signInOfVisit(interactionUid)
    if (signIn) await reject(signIn.consentId)
  }

  /**
   * Ends the bank-side consent of a sign-in that came to nothing before there were tokens. Throws where the bank cannot be
   * reached, to be tried again.
   */
  async function endSignIn(stateDigest: string): Promise<void> {
    const signIn = await store.signIn(stateDigest)
    if (!signIn || signIn.sealed === '') return
    const { resume } = await opened(signIn)
    if (resume.consentRef !== '') await (await banks.reachToEnd(signIn.connectorId)).revokeConsent(resume.consentRef)
    await store.forgetSignIn(stateDigest)
  }
}

/** A connection as it is made, under a customer of its own. */
interface NewConnection {
  readonly id: string
  readonly connectorId: string
  readonly customerId: string
  readonly customerDigest: string | null
}

/** The visit has a sign-in already; what this transaction added must not stay. */
class VisitTaken extends Error {}
