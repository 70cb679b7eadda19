import type { BankAccess, BankInterface } from '../../connectors/index.ts'
import { bytesOfText, createCache } from '../../kernel/cache.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { cursorFault, headOf, rowsFor, type Connection, type PageArguments } from '../../kernel/connection.ts'
import { startDeadline } from '../../kernel/deadline.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { Caller, CustomerCaller } from '../../kernel/request.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { createActivation } from './activation.ts'
import { createBankReturn } from './bank-return.ts'
import { Grant, MINT } from './grant.ts'
import {
  isLive,
  type Consent,
  type ConsentFilter,
  type Receipt,
  type RevokedBy,
  type Shared,
  type VisitOutcome,
} from './model.ts'
import { createOptIn } from './opt-in.ts'
import { createRejection } from './rejection.ts'
import { consentStore } from './store.ts'
import { createTokens } from './tokens.ts'

/** What customers agreed to, and the grants that come of it. */
export type Consents = ReturnType<typeof createConsents>

const EXPIRE_BATCH = 100
const RETIRE_BATCH = 100
const REMEMBERED = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
/** Of names that never change. */
const NAMES = { maxBytes: 4_194_304, bytesOf: bytesOfText }

/** Leads consents from wish to end, mints grants from the live ones, and holds the bank tokens. */
export function createConsents(dependencies: ConsentsDependencies) {
  const { database, world, seal, banks, ledger, outbox } = dependencies
  const store = consentStore(database)
  const rejection = createRejection(dependencies, store)
  const optIn = createOptIn(dependencies, store, rejection)
  const bankReturn = createBankReturn(dependencies, store, rejection)
  const tokens = createTokens(dependencies, store)
  const activation = createActivation(dependencies, store, hasConnectionEnded)
  /** The bank's own id of an account never changes. */
  const refs = createCache<string>(NAMES)
  const memory = { clock: world.clock, ...REMEMBERED, trusted: outbox.hearing }
  const shared = createMemory<Shared>({ ...memory, tagsOf: (_shared, key) => sharers(key) })
  const subjects = createCache<string>(NAMES)
  const byGrant = createMemory<Consent | null>({ ...memory, tagsOf: (consent) => (consent ? [consent.id] : []) })
  outbox.onSignal((signal) => {
    if (signal.kind === 'CLIENT') shared.forgetTagged(`client/${signal.id}`)
    if (signal.kind !== 'CONSENT') return
    byGrant.forgetTagged(signal.id)
    if (signal.customerId !== null) shared.forgetTagged(`customer/${signal.customerId}`)
  })

  const mint = (consent: Consent & { accountIds: string[] }): Grant[] =>
    consent.customerId && consent.connectionId && consent.activatedAt
      ? [
          new Grant(MINT, {
            ...consent,
            consentId: consent.id,
            customerId: consent.customerId,
            connectionId: consent.connectionId,
            since: consent.activatedAt,
          }),
        ]
      : []

  /** Ends a live consent in one step: from its commit on nothing is opened. What others must do is promised with it. */
  async function end(
    consent: Consent,
    to: 'REVOKED' | 'EXPIRED',
    by: RevokedBy,
    onlyUnredeemed = false,
  ): Promise<boolean> {
    const now = world.clock.now()
    const signal = { kind: 'CONSENT', id: consent.id, customerId: consent.customerId } as const
    const ended = await database.transaction(async (tx) => {
      const change = { endedAt: now, revokedBy: by }
      if (!(await store.move(tx, consent.id, 'ACTIVE', to, change, onlyUnredeemed ? now : undefined))) return false
      const { connectionId } = consent
      const others = connectionId === null || (await store.sharesConnection(tx, connectionId, consent.id, now))
      const ending = others ? undefined : connectionId
      await store.addReceipts(
        tx,
        consent.id,
        (['CUSTOMER', 'CLIENT', 'BANK'] as const).map((party): Receipt & { id: string } => ({
          id: newId('rcpt', world.randomness),
          kind: 'REVOKED',
          party,
          result: party === 'BANK' && ending ? 'PENDING' : 'DONE',
        })),
        now,
      )
      await ledger.record(tx, {
        kind: to === 'EXPIRED' ? 'CONSENT_EXPIRED' : 'CONSENT_REVOKED',
        clientId: consent.clientId,
        ...(consent.customerId && { customerId: consent.customerId }),
        consentId: consent.id,
        detail: by,
      })
      await store.forgetBalances(tx, consent.id, now)
      await outbox.promise(tx, 'consent.changed', consent.id)
      if (ending) await outbox.promise(tx, 'connection.end', ending, consent.bankId)
      await outbox.signal(signal, tx)
      return true
    })
    if (ended) outbox.echo(signal)
    return ended
  }

  /** A consent that was PENDING a moment ago can be ACTIVE by now: the bank's word ends it in either state. */
  async function endFromBank(consent: Consent): Promise<boolean> {
    return (
      (consent.state === 'PENDING' && (await rejection.reject(consent.id, { code: 'REVOKED_AT_BANK' }))) ||
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

  async function sharedNow({ customerId, clientId }: CustomerCaller): Promise<Shared> {
    const grants = (await store.liveOf(customerId, clientId, world.clock.now())).flatMap(mint)
    return { grants, accounts: await store.accounts(grants.flatMap(({ accountIds }) => accountIds)) }
  }

  /** The bank's own ids of accounts, in the order in which they are asked for. */
  async function refsOf(accountIds: readonly string[]): Promise<string[]> {
    const found = new Map(accountIds.map((id) => [id, refs.get(id)]))
    const unknown = accountIds.filter((id) => found.get(id) === undefined)
    if (unknown.length > 0)
      for (const { id, refDigest, sealedRef } of await store.refs(unknown)) {
        const ref = String(await seal.open(`account-ref:${refDigest}`, sealedRef))
        found.set(id, ref)
        refs.set(id, ref)
      }
    return accountIds.map((id) => {
      const ref = found.get(id)
      if (ref === undefined) throw new GatewayError('NOT_FOUND', { internal: 'no such account' })
      return ref
    })
  }

  return {
    ...optIn,
    ...bankReturn,
    ...activation,
    reject: rejection.reject,
    abandonVisit: rejection.abandonVisit,
    endSignIn: rejection.endSignIn,
    rejectAbandoned: rejection.rejectAbandoned,

    find: (id: string): Promise<Consent | null> => store.find(id),
    /** The consent, where it is the caller's own; another's answers as one that does not exist. */
    async ofCaller(caller: Caller, id: string): Promise<Consent | null> {
      const consent = await store.find(id)
      if (caller.kind === 'ANONYMOUS' || consent?.clientId !== caller.clientId) return null
      return caller.kind === 'CUSTOMER' && consent.customerId !== caller.customerId ? null : consent
    },
    receipts: (consentId: string): Promise<Receipt[]> => store.receipts(consentId),
    ofCustomer: (customerId: string, clientId?: string): Promise<Consent[]> => store.ofCustomer(customerId, clientId),

    /** The consent that the authorization server's grant stands for, while it is live. */
    async liveByOauthGrant(oauthGrantId: string): Promise<Consent | null> {
      const consent = await byGrant.get(oauthGrantId, () => store.byOauthGrant(oauthGrantId))
      return consent && isLive(consent, world.clock.now()) ? consent : null
    },

    /**
     * Names the authorization server's grant, which its code and tokens will belong to. False where the consent is not PENDING
     * any more.
     */
    bind: (consentId: string, oauthGrantId: string): Promise<boolean> =>
      database.transaction((tx) => store.change(tx, consentId, 'PENDING', { oauthGrantId })),

    /**
     * What a visit has come to: its consent, whether the platform holds tokens for it, and whether the customer is back from
     * the bank. Undefined where no bank was asked.
     */
    async outcomeOf(interactionUid: string): Promise<VisitOutcome | undefined> {
      const signIn = await store.signInOfVisit(interactionUid)
      const found = signIn && (await store.withRedemption(signIn.consentId))
      return found ? { ...found, isBack: signIn.usedAt !== null } : undefined
    },

    /** Rejects the consent of this grant where it is PENDING still; false where it is not. */
    async rejectUnfinished(oauthGrantId: string): Promise<boolean> {
      const consent = await store.byOauthGrant(oauthGrantId)
      return consent?.state === 'PENDING' && rejection.reject(consent.id, { code: 'CODE_NOT_ISSUED' })
    },

    /** The pairwise name of a customer: the same for one client for ever, and useless to any other. */
    subjectOf(clientId: string, customerId: string): string {
      const key = `${clientId}/${customerId}`
      let subject = subjects.get(key)
      if (subject === undefined) {
        subjects.set(key, (subject = seal.digest('subject', clientId, customerId)))
      }
      return subject
    },
    customerOf: (clientId: string, sub: string): Promise<string | undefined> => store.customerOf(clientId, sub),

    /** A grant for every live consent of the caller's customer with the caller's client, and the accounts that they open. */
    sharedWith(caller: CustomerCaller): Shared | Promise<Shared> {
      const key = `${caller.clientId}/${caller.customerId}`
      const current = (found: Shared): Shared | Promise<Shared> => {
        const now = world.clock.now()
        if (found.grants.every(({ expiresAt }) => expiresAt > now)) return found
        shared.forget(key)
        return sharedNow(caller)
      }
      const found = shared.get(key, () => sharedNow(caller), sharers(key))
      return found instanceof Promise ? found.then(current) : current(found)
    },

    /** What customers agreed to with a client, the newest first. Throws `INVALID_INPUT` for a cursor that is none. */
    async ofClient(clientId: string, filter: ConsentFilter, page: PageArguments): Promise<Connection<Consent>> {
      const after = page.after ? await store.find(page.after) : null
      if (page.after && after?.clientId !== clientId)
        throw new GatewayError('INVALID_INPUT', { faults: [cursorFault('after')] })
      return headOf(await store.ofClient(clientId, filter, after, rowsFor(page)), page, ({ id }) => id)
    },

    /** A grant for every live consent, of any client, that covers one of the accounts and holds the scope. */
    async holdersOf(accountIds: readonly string[], scope: CustomerScope, tx?: Transaction): Promise<Grant[]> {
      return (await store.liveOn(accountIds, scope, world.clock.now(), tx)).flatMap(mint)
    },

    /** Our accounts behind a bank's own ids, whoever shares them. */
    accountIdsByRef: (tx: Transaction, bankId: string, refs: readonly string[]): Promise<string[]> =>
      store.accountIdsByRef(
        tx,
        bankId,
        refs.map((ref) => seal.digest('account-ref', bankId, ref)),
      ),

    /**
     * Runs `work` at the bank with the customer's tokens, renewed where they are due, or where the bank refuses them before
     * their time: all within the time that the bank has for a read. Throws what the bank said.
     */
    async atBank<T>(
      grant: Grant,
      accountIds: readonly string[],
      work: (bank: BankInterface, access: BankAccess, refs: readonly string[]) => Promise<T>,
    ): Promise<T> {
      const { connectionId } = grant
      const [held, own] = await Promise.all([tokens.known(connectionId, grant.customerId), refsOf(accountIds)])
      const bank = await banks.reach(held.connection.connectorId)
      const began = performance.now()
      if (!tokens.areDue(held))
        try {
          return await work(bank, held.access, own)
        } catch (error) {
          if (asGatewayError(error).code !== 'RECONNECT_REQUIRED' || !tokens.refused(held)) throw error
        }
      const deadline = startDeadline(bank.deadlineMs - (performance.now() - began))
      try {
        const access = await deadline.race(tokens.renewed(held, bank))
        return await deadline.race(work(bank, access, own))
      } finally {
        deadline.stop()
      }
    },

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

    /** The connection that stands on the bank-side consent of this id and has not ended. */
    async connectionBehind(connectorId: string, consentRef: string): Promise<string | undefined> {
      const connection = await store.connectionByConsent(
        connectorId,
        seal.digest('bank-consent', connectorId, consentRef),
      )
      return connection?.sealedAccess ? connection.id : undefined
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
        'DONE',
        now,
      )
    },

    /** Resolves once all tokens that are being renewed are stored. */
    settled: (): Promise<void> => tokens.settled(),

    /** Ends the consents whose time is over, and those whose code was not redeemed in time; returns how many. */
    async expire(): Promise<number> {
      const due = await store.due(world.clock.now(), EXPIRE_BATCH)
      for (const consent of due) await end(consent, 'EXPIRED', 'SYSTEM')
      const unredeemed = await store.unredeemed(world.clock.now(), EXPIRE_BATCH)
      for (const consent of unredeemed) await end(consent, 'REVOKED', 'SYSTEM', true)
      return due.length + unredeemed.length
    },
  }
}

/** The tags of what a customer shares with a client, by `CLIENT/CUSTOMER`. */
function sharers(key: string): string[] {
  const [client, customer] = key.split('/')
  return [`client/${client}`, `customer/${customer}`]
}
