import { DAY_MS, later } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { endInBatches } from './end-in-batches.ts'
import { asOf, type Consent, type Receipt, type RevokedBy } from './model.ts'
import type { Rejection } from './rejection.ts'
import type { ConsentStore } from './store.ts'
import type { Tokens } from './tokens.ts'

/** A sign-in that ended is looked up by nobody after this. */
const SIGN_IN_KEPT_MS = DAY_MS
const RETIRE_BATCH = 100

/** Whose consents are withdrawn. */
interface Sharer {
  readonly customerId: string
  readonly clientId: string
}

/** Ends consents that were ACTIVE, here and at the bank: by the customer, the client, the bank, an admin or their time. */
export function createEnding(
  { database, world, seal, banks, ledger, outbox }: ConsentsDependencies,
  store: ConsentStore,
  rejection: Rejection,
  tokens: Tokens,
) {
  return {
    hasConnectionEnded,

    /** Withdraws or ends a consent; false where it was not live. */
    async revoke(consentId: string, by: RevokedBy): Promise<boolean> {
      const consent = await store.find(consentId)
      return consent !== null && end(consent, 'REVOKED', by)
    },

    /** Ends every consent of a client that was retired, a batch at a time: what is left is enqueued again. */
    async revokeOfClient(clientId: string): Promise<void> {
      const live = await store.liveOfClient(clientId, RETIRE_BATCH)
      for (const consent of live) await end(consent, 'REVOKED', 'ADMIN')
      if (live.length === RETIRE_BATCH)
        await database.transaction((tx) => outbox.promise(tx, 'client.retired', clientId))
    },

    /** Ends the consent that the authorization server's grant stands for, with its tokens; false where it was not live. */
    async revokeByOauthGrant(oauthGrantId: string, by: RevokedBy): Promise<boolean> {
      const consent = await store.byOauthGrant(oauthGrantId)
      return consent !== null && end(consent, 'REVOKED', by)
    },

    /**
     * Withdraws consents of a customer with one client in one step: these, or every one that there is, those included whose
     * customer is back from the bank and has no code yet. Returns them as they are then. Throws `NOT_FOUND` with no path, and
     * ends nothing, where one of the ids is not theirs.
     */
    async withdraw({ customerId, clientId }: Sharer, ids?: readonly string[]): Promise<Consent[]> {
      const own = (await store.ofCustomer(customerId, clientId)).map(({ id }) => id)
      if (ids?.some((id) => !own.includes(id))) throw new GatewayError('NOT_FOUND')
      const ended = await database.transaction(async (tx) => {
        const live: Consent[] = []
        for (const consent of await store.holdUnended(tx, customerId, clientId)) {
          if (ids && !ids.includes(consent.id)) continue
          if (consent.status === 'PENDING') await rejection.rejectWithin(tx, consent.id)
          else await endWithin(tx, consent, 'REVOKED', 'CUSTOMER_AT_GATEWAY')
          live.push(consent)
        }
        return live
      })
      for (const consent of ended) {
        outbox.echo(signalOf(consent))
        if (consent.status === 'PENDING') rejection.logRejected(consent.id, { code: 'VISIT_ENDED' })
      }
      const changed = ids ?? ended.map(({ id }) => id)
      return (await store.ofCustomer(customerId, clientId)).filter(({ id }) => changed.includes(id))
    },

    /** Whether the customer stopped all sharing: nothing is shared, and the last that ended was ended by them. */
    async hasStopped(customerId: string): Promise<boolean> {
      // What is only on its way is not shared, and has a sign-in at a bank of its own.
      const [newest, ...others] = (await store.ofCustomer(customerId))
        .filter(({ status }) => status !== 'PENDING')
        .map((consent) => asOf(consent, world.clock.now()))
        .sort((one, other) => (other.endedAt?.getTime() ?? Infinity) - (one.endedAt?.getTime() ?? Infinity))
      if (!newest || [newest, ...others].some(({ endedAt }) => endedAt === null)) return false
      return newest.revokedBy === 'CUSTOMER_AT_GATEWAY' || newest.revokedBy === 'CUSTOMER_AT_BANK'
    },

    /** Ends every consent that stands on the bank-side consent of this id; returns how many there were. */
    async revokedAtBank(connectorId: string, consentRef: string): Promise<number> {
      const connection = await store.connectionByConsent(
        connectorId,
        seal.digest('bank-consent', connectorId, consentRef),
      )
      if (!connection) return 0
      const ended = await Promise.all((await store.onConnection(connection.id)).map((consent) => endFromBank(consent)))
      return ended.filter(Boolean).length
    },

    /** Ends the consents on this connection where the bank says that its own has ended. Throws what the bank said. */
    async checkConnection(connectionId: string): Promise<void> {
      if (!(await hasConnectionEnded(connectionId))) return
      for (const consent of await store.onConnection(connectionId)) await endFromBank(consent)
    },

    /** Deletes the bank-side consent and forgets its tokens. Throws where the bank cannot be reached, to be tried again. */
    async endConnection(connectionId: string): Promise<void> {
      const connection = await tokens.connection(connectionId)
      if (!connection?.sealedAccess) return
      const { access } = await tokens.read(connectionId)
      const bank = await banks.reachToEnd(connection.connectorId)
      await bank.revokeConsent(access.consentRef)
      const now = world.clock.now()
      await store.endConnection(connectionId, now)
      tokens.forget(connectionId)
      await store.settleBankReceipts(
        (await store.onConnection(connectionId)).map(({ id }) => id),
        now,
      )
    },

    /**
     * Ends all consents whose time is over, and those whose code was not redeemed in time, while it `mayGoOn`; returns how
     * many.
     */
    async expire(mayGoOn?: () => boolean): Promise<number> {
      const now = world.clock.now()
      const due = await endInBatches({
        next: (limit, except) => store.due(now, limit, except),
        end: (consent) => end(consent, 'EXPIRED', 'SYSTEM'),
        log: world.log,
        mayGoOn,
      })
      const unredeemed = await endInBatches({
        next: (limit, except) => store.unredeemed(now, limit, except),
        async end(consent) {
          const isEnded = await end(consent, 'REVOKED', 'SYSTEM', true)
          if (isEnded) world.log.info('consent.not_redeemed', { consentId: consent.id, clientId: consent.clientId })
          return isEnded
        },
        log: world.log,
        mayGoOn,
      })
      return due + unredeemed
    },

    /** Deletes sign-ins that ended a day ago, and have nothing to end at the bank; returns how many. */
    forgetSignIns: (): Promise<number> => store.sweepSignIns(later(world.clock.now(), -SIGN_IN_KEPT_MS)),
  }

  /** Ends a live consent in one step: from its commit on nothing is opened. */
  async function end(
    consent: Consent,
    to: 'REVOKED' | 'EXPIRED',
    by: RevokedBy,
    onlyUnredeemed = false,
  ): Promise<boolean> {
    const isEnded = await database.transaction((tx) => endWithin(tx, consent, to, by, onlyUnredeemed))
    if (isEnded) outbox.echo(signalOf(consent))
    return isEnded
  }

  /** Ends a live consent, and enqueues with it what others must do; false where it was not live. */
  async function endWithin(
    tx: Transaction,
    consent: Consent,
    to: 'REVOKED' | 'EXPIRED',
    by: RevokedBy,
    onlyUnredeemed = false,
  ): Promise<boolean> {
    const { id, connectionId, clientId, customerId, bankId } = consent
    const now = world.clock.now()
    const change = { endedAt: now, revokedBy: by }
    if (!(await store.move(tx, id, 'ACTIVE', to, change, onlyUnredeemed ? now : undefined))) return false
    const isShared = connectionId !== null && (await store.sharesConnection(tx, connectionId, id, now))
    const ending = isShared ? null : connectionId
    await store.addReceipts(tx, id, receiptsOfEnd(isShared ? 'NOT_NEEDED' : ending ? 'PENDING' : 'DONE'), now)
    await ledger.record(tx, {
      kind: to === 'EXPIRED' ? 'CONSENT_EXPIRED' : 'CONSENT_REVOKED',
      clientId,
      ...(customerId && { customerId }),
      consentId: id,
      detail: by,
    })
    await store.forgetBalances(tx, id, now)
    await outbox.promise(tx, 'consent.changed', id)
    if (ending) await outbox.promise(tx, 'connection.end', ending, bankId)
    await outbox.signal(signalOf(consent), tx)
    return true
  }

  function receiptsOfEnd(ofBank: Receipt['result']): (Receipt & { id: string })[] {
    return (['CUSTOMER', 'CLIENT', 'BANK'] as const).map((party) => ({
      id: newId('rcpt', world.randomness),
      kind: 'REVOKED',
      party,
      result: party === 'BANK' ? ofBank : 'DONE',
    }))
  }

  /** A consent that was PENDING a moment ago can be ACTIVE by now: the bank's word ends it in either status. */
  async function endFromBank(consent: Consent): Promise<boolean> {
    return (
      (consent.status === 'PENDING' && (await rejection.reject(consent.id, { code: 'REVOKED_AT_BANK' }))) ||
      end(consent, 'REVOKED', 'CUSTOMER_AT_BANK')
    )
  }

  /** Asks the bank whether its consent behind this connection has ended; false where its standard cannot say. */
  async function hasConnectionEnded(connectionId: string): Promise<boolean> {
    const connection = await tokens.connection(connectionId)
    if (!connection?.sealedAccess) return false
    const { access } = await tokens.read(connectionId)
    return (await (await banks.reach(connection.connectorId)).hasEnded?.(access.consentRef)) ?? false
  }
}

const signalOf = ({ id, customerId }: Consent) => ({ kind: 'CONSENT', id, customerId }) as const
