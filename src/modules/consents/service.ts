import type { BankAccess, BankInterface } from '../../connectors/index.ts'
import { bytesOfText, createCache } from '../../kernel/cache.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { cursorFault, headOf, rowsFor, type Connection, type PageArguments } from '../../kernel/connection.ts'
import { startDeadline } from '../../kernel/deadline.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { Caller, CustomerCaller } from '../../kernel/request.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { createActivation } from './activation.ts'
import { createBankReturn } from './bank-return.ts'
import { createEnding } from './ending.ts'
import { Grant, MINT } from './grant.ts'
import { isLive, type Consent, type ConsentFilter, type Receipt, type Shared, type VisitOutcome } from './model.ts'
import { createOptIn } from './opt-in.ts'
import { createRejection } from './rejection.ts'
import { consentStore } from './store.ts'
import { createTokens } from './tokens.ts'

/** What customers agreed to, and the grants that come of it. */
export type Consents = ReturnType<typeof createConsents>

const REMEMBERED = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
/** Of names that never change. */
const NAMES = { maxBytes: 4_194_304, bytesOf: bytesOfText }

/** Leads consents from wish to end, mints grants from the live ones, and holds the bank tokens. */
export function createConsents(dependencies: ConsentsDependencies) {
  const { database, world, seal, banks, outbox } = dependencies
  const store = consentStore(database)
  const rejection = createRejection(dependencies, store)
  const optIn = createOptIn(dependencies, store, rejection)
  const bankReturn = createBankReturn(dependencies, store, rejection)
  const tokens = createTokens(dependencies, store)
  const ending = createEnding(dependencies, store, rejection, tokens)
  const activation = createActivation(dependencies, store, ending.hasConnectionEnded)
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
    ...ending,
    reject: rejection.reject,
    abandonVisit: rejection.abandonVisit,
    rejectBegun: rejection.rejectBegun,
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

    /** Whether the consent of this grant is ACTIVE. */
    isGranted: async (oauthGrantId: string): Promise<boolean> =>
      (await store.byOauthGrant(oauthGrantId))?.status === 'ACTIVE',

    /** Rejects the consent of this grant where it is PENDING still; false where it is not. */
    async rejectUnfinished(oauthGrantId: string): Promise<boolean> {
      const consent = await store.byOauthGrant(oauthGrantId)
      return consent?.status === 'PENDING' && rejection.reject(consent.id, { code: 'CODE_NOT_ISSUED' })
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

    /** What customers agreed to with a client, the newest first. Throws `INVALID_INPUT` with every fault of `page`. */
    async ofClient(clientId: string, filter: ConsentFilter, page: PageArguments): Promise<Connection<Consent>> {
      const after = page.after ? await store.find(page.after) : null
      const limit = rowsFor(page, page.after && after?.clientId !== clientId ? [cursorFault('after')] : [])
      return headOf(await store.ofClient(clientId, filter, after, limit), page, ({ id }) => id)
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

    /** The connection that stands on the bank-side consent of this id and has not ended. */
    async connectionBehind(connectorId: string, consentRef: string): Promise<string | undefined> {
      const connection = await store.connectionByConsent(
        connectorId,
        seal.digest('bank-consent', connectorId, consentRef),
      )
      return connection?.sealedAccess ? connection.id : undefined
    },

    /** Resolves once all tokens that are being renewed are stored. */
    settled: (): Promise<void> => tokens.settled(),
  }
}

/** The tags of what a customer shares with a client, by `CLIENT/CUSTOMER`. */
function sharers(key: string): string[] {
  const [client, customer] = key.split('/')
  return [`client/${client}`, `customer/${customer}`]
}
