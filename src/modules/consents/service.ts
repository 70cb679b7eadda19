import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import { bytesOfText, createBoundedCache } from '../../kernel/cache.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { faultAt } from '../../kernel/input-faults.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import type { Caller, CustomerCaller } from '../../kernel/request-context.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { createActivation } from './activation.ts'
import { createBankAccess } from './bank-access.ts'
import { createBankCallback } from './bank-callback.ts'
import { createEnding } from './ending.ts'
import { createExpiry } from './expiry.ts'
import { CONSENTS_KEY, Grant, type AccountAccess } from './grant.ts'
import {
  isActive,
  type Consent,
  type ConsentFilter,
  type ConsentOwner,
  type ConsentPosition,
  type Receipt,
  type SharedAccess,
  type SharedAccount,
  type VisitOutcome,
} from './model.ts'
import { createOptIn } from './opt-in.ts'
import { createRejection } from './rejection.ts'
import { createRevocation } from './revocation.ts'
import { createStores } from './stores.ts'
import { createTokens } from './tokens.ts'

/** What customers agreed to, and the grants that come of it. */
export type Consents = ReturnType<typeof createConsents>

const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
/** Filters that take IDs, and how many each. */
const ID_FILTERS = ['bankIds', 'customerIds', 'grantIds'] as const
const MAX_FILTER_IDS = 50
/** Of names that never change. */
const ID_CACHE_OPTIONS = { maxBytes: 4_194_304, bytesOf: bytesOfText }

/** Leads consents from wish to end, mints grants from the live ones, and holds the bank tokens. */
export function createConsents(dependencies: ConsentsDependencies) {
  const { database, world, seal, signals } = dependencies
  const stores = createStores(database)
  const { consents, receipts, customers, accounts, signIns } = stores
  const rejection = createRejection(dependencies, stores)
  const optIn = createOptIn(dependencies, stores, rejection)
  const bankReturn = createBankCallback(dependencies, stores, rejection)
  const tokens = createTokens(dependencies, stores.connections)
  const bankAccess = createBankAccess(dependencies, stores, tokens)
  const ending = createEnding(dependencies, stores, tokens)
  const revocation = createRevocation(dependencies, stores, rejection, ending, tokens)
  const expiry = createExpiry(dependencies, stores, rejection, ending)
  const activation = createActivation(dependencies, stores, revocation.hasEndedAtBank)
  const cacheOptions = { clock: world.clock, ...CACHE_OPTIONS, coherence: signals.coherence }
  const sharedCache = createLoadingCache<SharedAccess>({ ...cacheOptions, tagsOf: (_shared, key) => sharedTags(key) })
  const subjectCache = createBoundedCache<string>(ID_CACHE_OPTIONS)
  const consentByGrantCache = createLoadingCache<Consent | null>({
    ...cacheOptions,
    tagsOf: (consent) => (consent ? [consent.id] : []),
  })
  signals.onSignal((signal) => {
    if (signal.kind === 'CLIENT') sharedCache.invalidateTag(`client/${signal.id}`)
    if (signal.kind === 'ACCOUNTS') sharedCache.invalidateTag(`customer/${signal.customerId}`)
    if (signal.kind !== 'CONSENT') return
    consentByGrantCache.invalidateTag(signal.id)
    if (signal.customerId !== null) sharedCache.invalidateTag(`customer/${signal.customerId}`)
  })

  const mintGrants = (consent: Consent & { accountIds: string[] }): Grant[] =>
    consent.customerId && consent.connectionId && consent.activatedAt
      ? [
          new Grant(CONSENTS_KEY, {
            ...consent,
            consentId: consent.id,
            customerId: consent.customerId,
            connectionId: consent.connectionId,
            grantedAt: consent.activatedAt,
          }),
        ]
      : []

  async function loadShared({ customerId, clientId }: CustomerCaller): Promise<SharedAccess> {
    const grants = (await consents.findActiveByCustomer(customerId, clientId, world.clock.now())).flatMap(mintGrants)
    return { grants, accounts: await accounts.findMany(grants.flatMap(({ accountIds }) => accountIds)) }
  }

  /** The place that a cursor of the owner's list names; nothing for one of another list. */
  async function findPosition({ clientId, customerId }: ConsentOwner, cursor: string): Promise<ConsentPosition | null> {
    const consent = await consents.find(cursor)
    const isOwn = consent?.clientId === clientId && (customerId === undefined || consent.customerId === customerId)
    return isOwn ? consent : null
  }

  return {
    ...optIn,
    ...bankReturn,
    ...activation,
    ...ending,
    ...revocation,
    ...expiry,
    ...bankAccess,
    reject: rejection.reject,
    cancelVisit: rejection.abandonVisit,
    rejectStarted: rejection.rejectStarted,
    endSignIn: rejection.endSignIn,

    find: (id: string): Promise<Consent | null> => consents.find(id),
    /** The consent, where it is the caller's own; another's answers as one that does not exist. */
    async findForCaller(caller: Caller, id: string): Promise<Consent | null> {
      const consent = await consents.find(id)
      if (caller.kind === 'ANONYMOUS' || consent?.clientId !== caller.clientId) return null
      return caller.kind === 'CUSTOMER' && consent.customerId !== caller.customerId ? null : consent
    },
    receipts: (consentId: string): Promise<Receipt[]> => receipts.findByConsent(consentId),
    findByCustomer: (customerId: string, clientId?: string): Promise<Consent[]> =>
      consents.findByCustomer(customerId, clientId),

    /** The consent that the authorization server's grant stands for, while it is live. */
    async findActiveByOauthGrant(oauthGrantId: string): Promise<Consent | null> {
      const consent = await consentByGrantCache.get(oauthGrantId, () => consents.findByOauthGrant(oauthGrantId))
      return consent && isActive(consent, world.clock.now()) ? consent : null
    },

    /** Whether the consent can still become ACTIVE. */
    isPending: async (consentId: string): Promise<boolean> => (await consents.find(consentId))?.status === 'PENDING',

    /**
     * What a visit has come to: its consent, whether the platform holds tokens for it, and whether the customer is back from
     * the bank. Undefined where no bank was asked.
     */
    async findVisitOutcome(interactionUid: string): Promise<VisitOutcome | undefined> {
      const signIn = await signIns.findByVisit(interactionUid)
      const found = signIn && (await consents.findWithRedemption(signIn.consentId))
      return found ? { ...found, hasReturned: signIn.usedAt !== null } : undefined
    },

    /** Whether the consent of this grant is ACTIVE. */
    isGranted: async (oauthGrantId: string): Promise<boolean> =>
      (await consents.findByOauthGrant(oauthGrantId))?.status === 'ACTIVE',

    /** Rejects the consent of this grant where it is PENDING still; false where it is not. */
    async rejectUnfinished(oauthGrantId: string): Promise<boolean> {
      const consent = await consents.findByOauthGrant(oauthGrantId)
      return consent?.status === 'PENDING' && rejection.reject(consent.id, { code: 'CODE_NOT_ISSUED' })
    },

    /** The pairwise name of a customer: the same for one client for ever, and useless to any other. */
    subjectOf(clientId: string, customerId: string): string {
      const key = `${clientId}/${customerId}`
      let subject = subjectCache.get(key)
      if (subject === undefined) {
        subjectCache.set(key, (subject = seal.digest('subject', clientId, customerId)))
      }
      return subject
    },
    findCustomerBySubject: (clientId: string, sub: string): Promise<string | undefined> =>
      customers.findBySubject(clientId, sub),

    /** A grant for every live consent of the caller's customer with the caller's client, and the accounts that they open. */
    findShared(caller: CustomerCaller): MaybePromise<SharedAccess> {
      const key = `${caller.clientId}/${caller.customerId}`
      const reloadIfExpired = (found: SharedAccess): MaybePromise<SharedAccess> => {
        const now = world.clock.now()
        if (found.grants.every(({ expiresAt }) => expiresAt > now)) return found
        sharedCache.invalidate(key)
        return loadShared(caller)
      }
      return chain(
        sharedCache.get(key, () => loadShared(caller), sharedTags(key)),
        reloadIfExpired,
      )
    },

    /**
     * Consents of a client, or of one customer with it, newest first; a filter takes at most 50 IDs of a kind. Throws
     * `INVALID_INPUT` with every fault of `page` and `filter`.
     */
    list: (owner: ConsentOwner, filter: ConsentFilter, page: PageArguments): Promise<Connection<Consent>> =>
      connectionFromStore<Consent, ConsentPosition>(page, {
        idOf: ({ id }) => id,
        findCursor: (cursor) => findPosition(owner, cursor),
        read: ({ after = null, before = null, ...slice }) =>
          consents.findPage({ owner, filter, after, before, ...slice }),
        otherFaults: ID_FILTERS.filter((name) => (filter[name]?.length ?? 0) > MAX_FILTER_IDS).map((name) =>
          faultAt(['filter', name], `must have at most ${MAX_FILTER_IDS} items`),
        ),
      }),

    /** Access to these accounts for the scope under every active consent of any client that covers one of them. */
    async findAccess(
      accountIds: readonly string[],
      scope: CustomerScope,
      tx?: Transaction,
    ): Promise<readonly AccountAccess[]> {
      const now = world.clock.now()
      const grants = (await consents.findActiveByAccounts(accountIds, scope, now, tx)).flatMap(mintGrants)
      return grants.flatMap((grant) => accountIds.flatMap((id) => grant.open(scope, id, now) ?? []))
    },

    /** Our accounts behind a bank's own ids, whoever shares them. */
    findAccountIdsByRef: (tx: Transaction, bankId: string, refs: readonly string[]): Promise<string[]> =>
      accounts.findIdsByRef(
        tx,
        bankId,
        refs.map((ref) => seal.digest('account-ref', bankId, ref)),
      ),

    /** Appends currencies that a balance showed to the account at its bank, for everybody who shares it. */
    async addCurrencies(account: SharedAccount, currencies: readonly string[]): Promise<void> {
      const [bankId, refDigest] = account.bankAccountKey.split('/') as [string, string]
      await database.transaction(async (tx) => {
        for (const customerId of await accounts.addCurrencies(tx, bankId, refDigest, currencies))
          await signals.publish(tx, { kind: 'ACCOUNTS', customerId })
      })
    },
  }
}

/** The tags of what a customer shares with a client, by `CLIENT/CUSTOMER`. */
function sharedTags(key: string): string[] {
  const [client, customer] = key.split('/')
  return [`client/${client}`, `customer/${customer}`]
}
