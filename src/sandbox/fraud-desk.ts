/** An answer of a customer to an alert, as the bank has it. */
export interface ReceivedAnswer {
  readonly jti: string
  /** The `jti` of the alert. */
  readonly alert: string
  readonly answer: string
  readonly account: string | null
  readonly isConfirmed: boolean
}

/** What the fraud desk has stored. */
export interface FraudDeskState {
  /** The newest alerts that were sent, by `jti`, with their accounts; the newest last. */
  alerts?: Record<string, string>
  /** The responses of customers, oldest first. */
  responses?: ReceivedAnswer[]
  frozenAccounts?: string[]
}

/** Alerts that the desk remembers. */
const MAX_ALERTS = 100

/** The fraud desk of a bank: which alerts it sent, what customers answered, and which accounts it froze. */
export class FraudDesk {
  readonly #state: FraudDeskState
  readonly #save: () => void

  constructor(state: FraudDeskState, save: () => void) {
    this.#state = state
    this.#save = save
  }

  /** Remembers the alert that a client is sent. */
  recordAlert(jti: string, account: string): void {
    const newest = Object.entries({ ...this.#state.alerts, [jti]: account }).slice(-MAX_ALERTS)
    this.#state.alerts = Object.fromEntries(newest)
    this.#save()
  }

  /** The alerts about these accounts, newest first. */
  alertsAbout(accounts: readonly string[]): string[] {
    const entries = Object.entries(this.#state.alerts ?? {}).filter(([, account]) => accounts.includes(account))
    return entries.map(([jti]) => jti).reverse()
  }

  /** The account of an alert that was sent with this `jti`. */
  accountOf(jti: string): string | undefined {
    const { alerts = {} } = this.#state
    return Object.hasOwn(alerts, jti) ? alerts[jti] : undefined
  }

  get responses(): readonly ReceivedAnswer[] {
    return this.#state.responses ?? []
  }

  /** Adds an answer. Returns false if it was received before. */
  addAnswer(answer: ReceivedAnswer): boolean {
    if (this.responses.some(({ jti }) => jti === answer.jti)) return false
    this.#state.responses = [...this.responses, answer]
    this.#save()
    return true
  }

  confirm(jti: string): void {
    this.#state.responses = this.responses.map((answer) =>
      answer.jti === jti ? { ...answer, isConfirmed: true } : answer,
    )
    this.#save()
  }

  get frozenAccounts(): readonly string[] {
    return this.#state.frozenAccounts ?? []
  }

  /** Freezes an account or card; its API then states it as blocked, where the standard can. */
  freeze(account: string): void {
    this.#state.frozenAccounts = [...new Set([...this.frozenAccounts, account])]
    this.#save()
  }

  isFrozen(account: string): boolean {
    return this.frozenAccounts.includes(account)
  }

  /** Forgets the responses and the freezes. */
  reset(): void {
    this.#state.responses = []
    this.#state.frozenAccounts = []
    this.#save()
  }
}
