import { subtractMs, DAY_MS } from '../../kernel/clock.ts'
import { ERROR_CODES, GatewayError, type InputFault } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { endInBatches } from './end-in-batches.ts'
import { asOf, type Consent, type Receipt, type ConsentActor } from './model.ts'
import type { Rejection } from './rejection.ts'
import type { ConsentStore } from './store.ts'
import type { Tokens } from './tokens.ts'

/** A sign-in that ended is looked up by nobody after this. */
const SIGN_IN_RETENTION_MS = DAY_MS
const RETIRE_BATCH_SIZE = 100

/** Whose consents are withdrawn. */
interface ConsentParties {
  readonly customerId: string
  readonly clientId: string
}

/** Ends consents that were ACTIVE, here and at the bank: by the customer, the client, the bank, an admin or their time. */
export function createEnding(
  { database, world, seal, banks, ledger, outbox, signals, handlers }: ConsentsDependencies,
  store: ConsentStore,
  rejection: Rejection,
  tokens: Tokens,
) {
  return {
    hasConnectionEnded: hasEndedAtBank,

    /** Withdraws or ends a consent; false where it was not live. */
    async revoke(consentId: string, by: ConsentActor): Promise<boolean> {
      const consent = await store.find(consentId)
      return consent !== null && endConsent(consent, 'REVOKED', by)
    },

    /** Ends every consent of a client that was retired, a batch at a time: what is left is enqueued again. */
    async revokeAllOfClient(clientId: string): Promise<void> {
      const live = await store.findActiveByClient(clientId, RETIRE_BATCH_SIZE)
      for (const consent of live) await endConsent(consent, 'REVOKED', 'ADMIN')
      if (live.length === RETIRE_BATCH_SIZE)
        await database.transaction((tx) => outbox.enqueue(tx, 'client.retired', clientId))
    },

    /** Ends the consent that the authorization server's grant stands for, with its tokens; false where it was not live. */
    async revokeByOauthGrant(oauthGrantId: string, by: ConsentActor): Promise<boolean> {
      const consent = await store.findByOauthGrant(oauthGrantId)
      return consent !== null && endConsent(consent, 'REVOKED', by)
    },

    /**
     * Withdraws consents of a customer with one client in one step: these, or all of them, including those whose customer is
     * back from the bank and has no code yet. Returns them as they are then: those that were named, or those that ended.
     * Throws `NOT_FOUND` with a fault for each ID that is not one of theirs, and ends nothing.
     */
    async withdraw({ customerId, clientId }: ConsentParties, ids?: readonly string[]): Promise<Consent[]> {
      const now = world.clock.now()
      const { named, ended } = await database.transaction(async (tx) => {
        const own = await store.lockByCustomer(tx, customerId, clientId)
        const ownIds = new Set(own.map(({ id }) => id))
        const faults = (ids ?? []).flatMap((id, index) => (ownIds.has(id) ? [] : [unknownConsentFault(index)]))
        if (faults.length > 0) throw new GatewayError('NOT_FOUND', { faults })
        const named = ids ? own.filter(({ id }) => ids.includes(id)) : own
        const ended = new Map<string, Consent>()
        for (const consent of named) {
          const changed = await withdrawInTransaction(tx, consent, now)
          if (changed) ended.set(consent.id, changed)
        }
        return { named, ended }
      })
      for (const consent of named.filter(({ id, status }) => ended.has(id) && status === 'PENDING'))
        rejection.logRejected(consent.id, { code: 'VISIT_ENDED' })
      return ids ? named.map((consent) => ended.get(consent.id) ?? consent) : [...ended.values()]
    },

    /** Whether the customer stopped all sharing: nothing is shared, and the last that ended was ended by them. */
    async hasStoppedSharing(customerId: string): Promise<boolean> {
      // What is only on its way is not shared, and has a sign-in at a bank of its own.
      const [newest, ...others] = (await store.findByCustomer(customerId))
        .filter(({ status }) => status !== 'PENDING')
        .map((consent) => asOf(consent, world.clock.now()))
        .sort((one, other) => (other.endedAt?.getTime() ?? Infinity) - (one.endedAt?.getTime() ?? Infinity))
      if (!newest || [newest, ...others].some(({ endedAt }) => endedAt === null)) return false
      return newest.endedBy === 'CUSTOMER_AT_GATEWAY' || newest.endedBy === 'CUSTOMER_AT_BANK'
    },

    /** Ends every consent that stands on the bank-side consent of this id; returns how many there were. */
    async revokeByBankConsent(connectorId: string, consentRef: string): Promise<number> {
      const connection = await store.findConnectionByConsent(
        connectorId,
        seal.digest('bank-consent', connectorId, consentRef),
      )
      if (!connection) return 0
      const ended = await Promise.all(
        (await store.findByConnection(connection.id)).map((consent) => endByBank(consent)),
      )
      return ended.filter(Boolean).length
    },

    /** Ends the consents on this connection where the bank says that its own has ended. Throws what the bank said. */
    async checkConnection(connectionId: string): Promise<void> {
      if (!(await hasEndedAtBank(connectionId))) return
      for (const consent of await store.findByConnection(connectionId)) await endByBank(consent)
    },

    /** Deletes the bank-side consent and forgets its tokens. Throws where the bank cannot be reached, to be tried again. */
    async endConnection(connectionId: string): Promise<void> {
      const connection = await tokens.findConnection(connectionId)
      if (!connection?.sealedAccess) return
      const { access } = await tokens.read(connectionId)
      const bank = await banks.getBankInAnyState(connection.connectorId)
      await bank.revokeConsent(access.consentRef)
      const now = world.clock.now()
      await store.endConnection(connectionId, now)
      tokens.forget(connectionId)
      await store.settleBankReceipts(
        (await store.findByConnection(connectionId)).map(({ id }) => id),
        now,
      )
    },

    /**
     * Ends all consents whose time is over, and those whose code was not redeemed in time, while it `mayGoOn`; returns how
     * many.
     */
    async endExpired(shouldContinue?: () => boolean): Promise<number> {
      const now = world.clock.now()
      const expiredCount = await endInBatches({
        findNext: (limit, excludedIds) => store.findExpired(now, limit, excludedIds),
        end: (consent) => endConsent(consent, 'EXPIRED', 'SYSTEM'),
        log: world.log,
        shouldContinue,
      })
      const unredeemedCount = await endInBatches({
        findNext: (limit, excludedIds) => store.findUnredeemed(now, limit, excludedIds),
        async end(consent) {
          const isEnded = await endConsent(consent, 'REVOKED', 'SYSTEM', true)
          if (isEnded)
            world.log.info('consent.code_not_redeemed', { consentId: consent.id, clientId: consent.clientId })
          return isEnded
        },
        log: world.log,
        shouldContinue,
      })
      return expiredCount + unredeemedCount
    },

    /** Deletes sign-ins that ended a day ago, and have nothing to end at the bank; returns how many. */
    deleteEndedSignIns: (): Promise<number> =>
      store.deleteEndedSignIns(subtractMs(world.clock.now(), SIGN_IN_RETENTION_MS)),
  }

  /** Ends one of several consents that their customer withdraws. Returns it as it is then; undefined if it had ended. */
  async function withdrawInTransaction(tx: Transaction, consent: Consent, now: Date): Promise<Consent | undefined> {
    const end = { endedAt: now, endedBy: 'CUSTOMER_AT_GATEWAY' } as const
    if (consent.status === 'PENDING' && (await rejection.rejectWithin(tx, consent.id, end.endedBy, now))) {
      await signals.publish(tx, signalOf(consent))
      return { ...consent, ...end, status: 'REJECTED', customerId: null }
    }
    if (consent.status === 'ACTIVE' && (await endInTransaction(tx, consent, 'REVOKED', end.endedBy, now)))
      return { ...consent, ...end, status: 'REVOKED' }
    return undefined
  }

  /** Ends a live consent in one step: from its commit on nothing is opened. */
  async function endConsent(
    consent: Consent,
    to: 'REVOKED' | 'EXPIRED',
    by: ConsentActor,
    onlyUnredeemed = false,
  ): Promise<boolean> {
    const now = world.clock.now()
    const isEnded = await database.transaction((tx) => endInTransaction(tx, consent, to, by, now, onlyUnredeemed))
    return isEnded
  }

  /** Ends a live consent, and enqueues with it what others must do; false where it was not live. */
  async function endInTransaction(
    tx: Transaction,
    consent: Consent,
    to: 'REVOKED' | 'EXPIRED',
    by: ConsentActor,
    now: Date,
    onlyUnredeemed = false,
  ): Promise<boolean> {
    const { id, connectionId, clientId, customerId, bankId } = consent
    const change = { endedAt: now, endedBy: by }
    if (!(await store.transition(tx, id, 'ACTIVE', to, change, onlyUnredeemed ? now : undefined))) return false
    const isShared = connectionId !== null && (await store.sharesConnection(tx, connectionId, id, now))
    const endingConnectionId = isShared ? null : connectionId
    await store.addReceipts(
      tx,
      id,
      buildEndReceipts(isShared ? 'NOT_NEEDED' : endingConnectionId ? 'PENDING' : 'DONE'),
      now,
    )
    await ledger.record(tx, {
      action: to === 'EXPIRED' ? 'CONSENT_EXPIRED' : 'CONSENT_REVOKED',
      clientId,
      ...(customerId && { customerId }),
      consentId: id,
      detail: by,
    })
    await handlers.onConsentEnded(tx, id, now)
    await outbox.enqueue(tx, 'consent.changed', id)
    if (endingConnectionId) await outbox.enqueue(tx, 'connection.end', endingConnectionId, bankId)
    await signals.publish(tx, signalOf(consent))
    return true
  }

  function buildEndReceipts(bankResult: Receipt['result']): (Receipt & { id: string })[] {
    return (['CUSTOMER', 'CLIENT', 'BANK'] as const).map((party) => ({
      id: newId('rcpt', world.randomness),
      kind: 'REVOKED',
      party,
      result: party === 'BANK' ? bankResult : 'DONE',
    }))
  }

  /** A consent that was PENDING a moment ago can be ACTIVE by now: the bank's word ends it in either status. */
  async function endByBank(consent: Consent): Promise<boolean> {
    return (
      (consent.status === 'PENDING' && (await rejection.reject(consent.id, { code: 'REVOKED_AT_BANK' }))) ||
      endConsent(consent, 'REVOKED', 'CUSTOMER_AT_BANK')
    )
  }

  /** Asks the bank whether its consent behind this connection has ended; false where its standard cannot say. */
  async function hasEndedAtBank(connectionId: string): Promise<boolean> {
    const connection = await tokens.findConnection(connectionId)
    if (!connection?.sealedAccess) return false
    const { access } = await tokens.read(connectionId)
    return (await (await banks.getActiveBank(connection.connectorId)).isConsentEnded?.(access.consentRef)) ?? false
  }
}

const unknownConsentFault = (index: number): InputFault => ({
  path: ['consentIds', String(index)],
  message: ERROR_CODES.NOT_FOUND.message,
})

const signalOf = ({ id, customerId }: Consent) => ({ kind: 'CONSENT', id, customerId }) as const
