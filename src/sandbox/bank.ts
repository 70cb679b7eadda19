import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { exportJWK, generateKeyPair, importJWK, type CryptoKey, type JWK } from 'jose'
import type { Fault } from './faults.ts'
import { FraudDesk, type FraudDeskState } from './fraud-desk.ts'
import { createHistory, type HistoryEntry } from './history.ts'
import type { SandboxAccount, SandboxBankConfig } from './personas.ts'

/** A consent as the bank stores it. Each API maps `status` to its standard's own values. */
export interface BankConsent {
  readonly id: string
  readonly clientId: string
  readonly createdAt: string
  readonly expiresAt: string
  readonly permissions: readonly string[]
  /** The URL for notifications of status changes. */
  readonly notificationUri?: string
  status: 'AWAITING_AUTHORIZATION' | 'AUTHORIZED' | 'REJECTED' | 'REVOKED' | 'DELETED' | 'REPLACED'
  customer: string | null
  accounts: string[]
}

interface BankToken {
  readonly clientId: string
  readonly consentId: string | null
  readonly kind: 'ACCESS' | 'REFRESH'
  readonly expiresAt: number
}

/** A registered client of the bank, such as the gateway. */
export interface BankClient {
  readonly keys: JWK[]
  readonly redirectUri: string
  /** The URL to which the bank pushes signed events; also their audience. */
  readonly eventsUrl: string
  /** How this client deviates from the standard: the bank accepts nothing else from it. */
  readonly deviations?: ClientDeviations
}

/** How the bank's authorization server treats one client, in the words of RFC 7591. */
export interface ClientDeviations {
  /** `private_key_jwt` by default. */
  readonly authMethod?: 'private_key_jwt' | 'client_secret_basic' | 'client_secret_post'
  readonly secret?: string
  /** The algorithm of assertions and request objects; ES256 by default. */
  readonly signingAlgorithm?: 'ES256' | 'PS256' | 'EdDSA'
  /** The audience of assertions: the token endpoint, if true. */
  readonly expectsTokenEndpointAudience?: boolean
  /** The response mode of `code id_token`; a plain `code` if absent. */
  readonly hybridResponseMode?: 'fragment' | 'query'
  /** Authorization requests without signature and without PAR. */
  readonly usesPlainRequests?: boolean
  /** The audience of request objects; the issuer by default. */
  readonly requestAudience?: string
}

interface BankState {
  signingKey: JWK
  clients: Record<string, BankClient>
  consents: Record<string, BankConsent>
  tokens: Record<string, BankToken>
  /** Event subscriptions, by client id. */
  subscriptions?: Record<string, EventSubscription[]>
  /** Queued signed events, by client id and `jti`. */
  events?: Record<string, Record<string, string>>
  fraudDesk?: FraudDeskState
  /** Streams of events, by client id. */
  streams?: Record<string, EventStreamState>
}

/** A client's stream of events (Shared Signals Framework 1.0, 8.1). */
export interface EventStreamState {
  readonly id: string
  readonly status: 'enabled' | 'paused' | 'disabled'
}

/** A client's event subscription, in the form of Open Banking. */
export interface EventSubscription {
  readonly EventSubscriptionId: string
  readonly CallbackUrl?: string
  readonly Version: string
}

/** Options of a sandbox bank. */
export interface SandboxBankOptions {
  readonly config: SandboxBankConfig
  readonly stateFile: string
  /** The seed of the generated transactions. */
  readonly seed: string
  /** Text that all purchase data contains, so that any leak can be recognised. */
  readonly canary: string | undefined
  readonly now: () => Date
  /** Whether the bank also queues its events for polling, if it supports that. */
  readonly queuesEvents: boolean
}

/** A sandbox bank. Its state is stored in one file, so that it survives a restart. */
export class SandboxBank {
  readonly config: SandboxBankConfig
  readonly now: () => Date
  readonly queuesEvents: boolean
  readonly fraudDesk: FraudDesk
  canary: string | undefined
  /** The bank's own origin; empty until the server listens. */
  origin = ''
  readonly #seed: string
  readonly #file: string
  readonly #state: BankState

  private constructor(options: SandboxBankOptions, state: BankState) {
    this.config = options.config
    this.now = options.now
    const { standard, usesSharedSignals = false } = options.config
    this.queuesEvents = options.queuesEvents && (standard === 'OBIE' || usesSharedSignals)
    this.canary = options.canary
    this.#seed = options.seed
    this.#file = options.stateFile
    this.#state = state
    this.fraudDesk = new FraudDesk((state.fraudDesk ??= {}), () => this.save())
  }

  /** Loads the bank from its state file, or creates the file with a new signing key. */
  static async open(options: SandboxBankOptions): Promise<SandboxBank> {
    if (existsSync(options.stateFile))
      return new SandboxBank(options, JSON.parse(readFileSync(options.stateFile, 'utf8')) as BankState)
    const { privateKey } = await generateKeyPair('ES256', { extractable: true })
    const signingKey = { ...(await exportJWK(privateKey)), kid: `${options.config.id}-1`, alg: 'ES256', use: 'sig' }
    const bank = new SandboxBank(options, { signingKey, clients: {}, consents: {}, tokens: {} })
    bank.save()
    return bank
  }

  /** Writes the state atomically: a crash leaves the old or the new file, never a partial one. */
  save(): void {
    mkdirSync(dirname(this.#file), { recursive: true })
    writeFileSync(`${this.#file}.new`, JSON.stringify(this.#state), { mode: 0o600 })
    renameSync(`${this.#file}.new`, this.#file)
  }

  signingKey(): Promise<CryptoKey | Uint8Array> {
    return importJWK(this.#state.signingKey, 'ES256')
  }

  get keyId(): string {
    return this.#state.signingKey.kid!
  }

  /** The public key of the bank's tokens and events, as a JWK set. */
  publicKeys(): { keys: JWK[] } {
    const { kty, crv, x, y, kid, alg, use } = this.#state.signingKey as JWK & { x: string; y: string; crv: string }
    return { keys: [{ kty: kty!, crv, x, y, kid: kid!, alg: alg!, use: use! }] }
  }

  clients(): [string, BankClient][] {
    return Object.entries(this.#state.clients)
  }

  client(id: string): BankClient | undefined {
    return Object.hasOwn(this.#state.clients, id) ? this.#state.clients[id] : undefined
  }

  registerClient(id: string, client: BankClient): void {
    this.#state.clients[id] = client
    this.save()
  }

  removeClient(id: string): void {
    Reflect.deleteProperty(this.#state.clients, id)
    this.save()
  }

  addConsent(consent: Omit<BankConsent, 'id' | 'status' | 'customer' | 'accounts' | 'createdAt'>): BankConsent {
    const id = `${this.config.id}-consent-${randomBytes(9).toString('hex')}`
    const created: BankConsent = {
      ...consent,
      id,
      createdAt: this.now().toISOString(),
      status: 'AWAITING_AUTHORIZATION',
      customer: null,
      accounts: [],
    }
    this.#state.consents[id] = created
    this.save()
    return created
  }

  /** The consent with this id; an expired one has the status REVOKED. */
  consent(id: string): BankConsent | undefined {
    const consent = Object.hasOwn(this.#state.consents, id) ? this.#state.consents[id] : undefined
    if (consent?.status === 'AUTHORIZED' && Date.parse(consent.expiresAt) <= this.now().getTime())
      return { ...consent, status: 'REVOKED' }
    return consent
  }

  consentsOf(customer: string): BankConsent[] {
    return Object.values(this.#state.consents).filter((consent) => consent.customer === customer)
  }

  /** Sets the final status of a consent and deletes its tokens. */
  endConsent(consent: BankConsent, status: BankConsent['status']): void {
    consent.status = status
    for (const [token, { consentId }] of Object.entries(this.#state.tokens))
      if (consentId === consent.id) Reflect.deleteProperty(this.#state.tokens, token)
    this.save()
  }

  issueToken(kind: BankToken['kind'], clientId: string, consentId: string | null, seconds: number): string {
    const token = randomBytes(24).toString('base64url')
    this.#state.tokens[token] = { kind, clientId, consentId, expiresAt: this.now().getTime() + seconds * 1_000 }
    this.save()
    return token
  }

  /** The token with this value and kind, if it is valid now. */
  token(value: string, kind: BankToken['kind']): BankToken | undefined {
    const token = Object.hasOwn(this.#state.tokens, value) ? this.#state.tokens[value] : undefined
    return token?.kind === kind && token.expiresAt > this.now().getTime() ? token : undefined
  }

  accountsOf(customer: string): SandboxAccount[] {
    return this.config.accounts.filter((account) => account.owners.includes(customer))
  }

  account(id: string): SandboxAccount | undefined {
    return this.config.accounts.find((account) => account.id === id)
  }

  subscriptionsOf(clientId: string): EventSubscription[] {
    return this.#state.subscriptions?.[clientId] ?? []
  }

  subscribe(clientId: string, subscription: EventSubscription): void {
    this.#state.subscriptions = {
      ...this.#state.subscriptions,
      [clientId]: [...this.subscriptionsOf(clientId), subscription],
    }
    this.save()
  }

  queuedEvents(clientId: string): Readonly<Record<string, string>> {
    return this.#state.events?.[clientId] ?? {}
  }

  queueEvent(clientId: string, jti: string, token: string): void {
    this.#state.events = { ...this.#state.events, [clientId]: { ...this.queuedEvents(clientId), [jti]: token } }
    this.save()
  }

  acknowledgeEvent(clientId: string, jti: string): void {
    const { [jti]: _acknowledged, ...remaining } = this.queuedEvents(clientId)
    this.#state.events = { ...this.#state.events, [clientId]: remaining }
    this.save()
  }

  eventStream(clientId: string): EventStreamState | undefined {
    return this.#state.streams?.[clientId]
  }

  createEventStream(clientId: string): EventStreamState {
    return this.#storeStream(clientId, { id: randomBytes(12).toString('hex'), status: 'enabled' })
  }

  setEventStreamStatus(clientId: string, status: EventStreamState['status']): void {
    const stream = this.eventStream(clientId)
    if (stream) this.#storeStream(clientId, { ...stream, status })
  }

  #storeStream(clientId: string, stream: EventStreamState): EventStreamState {
    this.#state.streams = { ...this.#state.streams, [clientId]: stream }
    this.save()
    return stream
  }

  /** Injected faults, by account id or `ALL_ACCOUNTS`; set by `PUT /sandbox/faults`. */
  readonly #faults = new Map<string, Fault>()

  setFault(account: string, fault: Fault | undefined): void {
    if (fault) this.#faults.set(account, fault)
    else this.#faults.delete(account)
  }

  clearFaults(): void {
    this.#faults.clear()
  }

  faultFor(account: string): Fault | undefined {
    return this.#faults.get(account)
  }

  history(account: SandboxAccount): HistoryEntry[] {
    return createHistory(account, this.#seed, this.canary)
  }
}
