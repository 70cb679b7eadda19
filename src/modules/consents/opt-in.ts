import type { BankAccess, BankAccount, PresentCustomer, Resume } from '../../connectors/index.ts'
import { later, MINUTE_MS } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { digest, newId } from '../../kernel/ids.ts'
import type { CustomerScope, Purpose } from '../../kernel/scopes.ts'
import { durationMs, type Consent } from './model.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { ConsentStore } from './store.ts'

/** What the customer agreed to on the consent pages, before the bank was asked. */
export interface ConsentWish {
  readonly clientId: string
  readonly bankId: string
  readonly scopes: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly days: number
  /** Whom the consent will belong to once the bank has agreed. */
  readonly customerId: string
  /** The authorization server's name for this visit. */
  readonly interactionUid: string
  /** Where the customer's browser connects from: they are on our pages. */
  readonly customer: PresentCustomer
}

/** What is kept, sealed, while the customer is at the bank. */
interface OpenSignIn {
  readonly resume: Resume
  readonly customerId: string
}

const SIGN_IN_MS = 15 * MINUTE_MS
const ABANDONED_BATCH = 100

/** The way of a consent from the customer's wish to ACTIVE, past the bank's own pages. */
export function createOptIn(
  { database, world, seal, banks, ledger, outbox }: ConsentsDependencies,
  store: ConsentStore,
) {
  return { begin, interactionOf, complete, forgetAbandoned }

  /** Creates the consent as PENDING, asks the bank for its own, and returns where the customer signs in. */
  async function begin(wish: ConsentWish): Promise<{ consentId: string; url: string }> {
    const connector = await banks.liveConnectorOf(wish.bankId)
    const now = world.clock.now()
    const consent: Consent = {
      id: newId('cons', world.randomness),
      clientId: wish.clientId,
      customerId: null,
      bankId: wish.bankId,
      state: 'PENDING',
      scopes: wish.scopes,
      purposes: wish.purposes,
      expiresAt: later(now, durationMs(wish.days)),
      createdAt: now,
      activatedAt: null,
      endedAt: null,
      revokedBy: null,
      connectionId: null,
      oauthGrantId: null,
    }
    await database.transaction(async (tx) => {
      await store.add(tx, consent)
      await ledger.record(tx, {
        kind: 'CONSENT_REQUESTED',
        clientId: wish.clientId,
        consentId: consent.id,
        purposes: wish.purposes,
      })
    })
    const state = world.randomness.bytes(32).toString('base64url')
    const bank = await banks.reach(connector.id)
    try {
      const { url, resume } = await bank.requestConsent({
        expiresAt: consent.expiresAt,
        state,
        customer: wish.customer,
      })
      await store.addSignIn({
        stateDigest: digest(state),
        consentId: consent.id,
        connectorId: connector.id,
        interactionUid: wish.interactionUid,
        sealed: await seal.seal(`sign-in:${consent.id}`, { resume, customerId: wish.customerId } satisfies OpenSignIn),
        expiresAt: later(now, SIGN_IN_MS),
      })
      return { consentId: consent.id, url }
    } catch (error) {
      await reject(consent)
      throw error
    }
  }

  /** The visit that a bank's callback belongs to; throws `INTERACTION_EXPIRED` for a state that was never given out. */
  async function interactionOf(state: string): Promise<string> {
    const signIn = await store.signIn(digest(state))
    if (!signIn) throw new GatewayError('INTERACTION_EXPIRED')
    return signIn.interactionUid
  }

  /**
   * Takes the customer back from the bank: a state works once and in its own visit only. Exchanges the code, reads the
   * accounts that the customer chose, and makes the consent ACTIVE with everything that belongs to it in one step.
   */
  async function complete(
    callback: URL,
    state: string,
    interactionUid: string,
    customer: PresentCustomer,
  ): Promise<Consent> {
    const signIn = await store.signIn(digest(state))
    if (signIn?.interactionUid !== interactionUid) throw new GatewayError('INTERACTION_EXPIRED')
    const consent = await store.find(signIn.consentId)
    if (consent?.state !== 'PENDING' || !(await store.useSignIn(signIn.stateDigest, world.clock.now())))
      throw new GatewayError('INTERACTION_EXPIRED')
    try {
      const { resume, customerId } = (await seal.open(`sign-in:${consent.id}`, signIn.sealed)) as OpenSignIn
      const bank = await banks.reach(signIn.connectorId)
      const access = await bank.completeSignIn(callback, resume)
      const accounts = await bank.accounts(access, customer)
      if (accounts.length === 0) throw new GatewayError('BANK_ANSWER_INVALID', { internal: 'no accounts' })
      return await activate(consent, signIn.connectorId, customerId, access, accounts)
    } catch (error) {
      world.log.info('consent.rejected', { consentId: consent.id, code: asGatewayError(error).code })
      await reject(consent)
      throw error
    }
  }

  async function activate(
    consent: Consent,
    connectorId: string,
    customerId: string,
    access: BankAccess,
    accounts: readonly BankAccount[],
  ): Promise<Consent> {
    const now = world.clock.now()
    const connectionId = newId('conn', world.randomness)
    const sealedAccess = await seal.seal(`connection:${connectionId}`, access)
    const kept = await Promise.all(
      accounts.map(async ({ ref, ...account }) => {
        const id = newId('acct', world.randomness)
        const refDigest = seal.digest('account-ref', consent.bankId, ref)
        return { ...account, id, refDigest, sealedRef: await seal.seal(`account-ref:${refDigest}`, ref) }
      }),
    )
    const connector = await banks.connector(connectorId)
    await database.transaction(async (tx) => {
      await store.addCustomer(tx, customerId)
      await store.addSubject(tx, {
        clientId: consent.clientId,
        customerId,
        sub: seal.digest('subject', consent.clientId, customerId),
      })
      await store.addConnection(tx, {
        id: connectionId,
        customerId,
        connectorId,
        sealedAccess,
        consentDigest: seal.digest('bank-consent', connectorId, access.consentRef),
        tokenExpiresAt: new Date(access.expiresAt),
      })
      const change = { customerId, connectionId, activatedAt: now }
      if (!(await store.move(tx, consent.id, 'PENDING', 'ACTIVE', change)))
        throw new GatewayError('INTERACTION_EXPIRED')
      await store.share(tx, consent.id, await store.keepAccounts(tx, customerId, consent.bankId, kept))
      if (connector && banks.newConsentEndsEarlier(connector))
        for (const older of await store.takeOver(tx, customerId, consent.bankId, connectionId))
          await outbox.promise(tx, 'connection.end', older)
      await store.addReceipts(tx, consent.id, receiptsOfGrant(), now)
      await ledger.record(tx, {
        kind: 'CONSENT_GRANTED',
        clientId: consent.clientId,
        customerId,
        consentId: consent.id,
        purposes: consent.purposes,
      })
      await outbox.promise(tx, 'consent.changed', consent.id)
      await outbox.signal({ kind: 'CONSENT', id: consent.id, customerId }, tx)
    })
    outbox.echo({ kind: 'CONSENT', id: consent.id, customerId })
    return { ...consent, state: 'ACTIVE', customerId, connectionId, activatedAt: now }
  }

  /** Rejects the wishes whose sign-in can no longer be finished; returns how many there were. */
  async function forgetAbandoned(): Promise<number> {
    const abandoned = await store.abandoned(later(world.clock.now(), -2 * SIGN_IN_MS), ABANDONED_BATCH)
    for (const consent of abandoned) await reject(consent)
    return abandoned.length
  }

  function receiptsOfGrant() {
    return (['CUSTOMER', 'CLIENT', 'BANK'] as const).map((party) => ({
      id: newId('rcpt', world.randomness),
      kind: 'GRANTED' as const,
      party,
      result: 'DONE' as const,
    }))
  }

  async function reject(consent: Consent): Promise<void> {
    await database.transaction(async (tx) => {
      if (await store.move(tx, consent.id, 'PENDING', 'REJECTED', { endedAt: world.clock.now() }))
        await ledger.record(tx, { kind: 'CONSENT_REJECTED', clientId: consent.clientId, consentId: consent.id })
    })
  }
}
