import type { BankInterface } from '../../connectors/index.ts'

/** The operations whose health is counted. */
export type BankOperation = 'SIGN_IN' | 'ACCOUNTS' | 'BALANCES' | 'CONSENT' | 'TOKEN'

/** A method of a bank's interface. */
export type BankMethod = keyof BankInterface

/** The subject of a call: an account or a consent, and whether its customer is present. */
export interface CallSubject {
  readonly id: string
  readonly isCustomerPresent: boolean
}

interface MethodDefinition<M extends BankMethod> {
  /**
   * A READ can be repeated and is needed immediately. A CHANGE changes data at the bank, or a customer is waiting there. A RESPONSE
   * is a CHANGE at the bank's fraud desk, which is a system of its own.
   */
  readonly effect: 'READ' | 'CHANGE' | 'RESPONSE'
  /** The operation as which it counts for health. Null if no customer waits for it. */
  readonly operation: BankOperation | null
  readonly subjectOf: (...args: Parameters<NonNullable<BankInterface[M]>>) => CallSubject
}

const present = (id: string): CallSubject => ({ id, isCustomerPresent: true })
const read = (id: string, customer: unknown): CallSubject => ({ id, isCustomerPresent: customer !== null })

/** Every method of a bank's interface with its kind, its operation for health, and the subject of a call. */
export const BANK_METHODS: { readonly [M in BankMethod]-?: MethodDefinition<M> } = {
  requestConsent: { effect: 'CHANGE', operation: 'CONSENT', subjectOf: ({ state }) => present(state) },
  continueSignIn: { effect: 'CHANGE', operation: 'SIGN_IN', subjectOf: (_input, { state }) => present(state) },
  refresh: { effect: 'CHANGE', operation: 'TOKEN', subjectOf: ({ consentRef }) => present(consentRef) },
  revokeConsent: { effect: 'CHANGE', operation: 'CONSENT', subjectOf: ({ consentRef }) => present(consentRef) },
  isConsentEnded: { effect: 'CHANGE', operation: 'CONSENT', subjectOf: (consentRef) => present(consentRef) },
  pollEvents: { effect: 'CHANGE', operation: null, subjectOf: () => present('events') },
  readEventStream: { effect: 'CHANGE', operation: null, subjectOf: () => present('events') },
  setEventStreamStatus: { effect: 'CHANGE', operation: null, subjectOf: () => present('events') },
  requestStreamVerification: { effect: 'CHANGE', operation: null, subjectOf: () => present('events') },
  sendAlertResponse: { effect: 'RESPONSE', operation: null, subjectOf: ({ id }) => present(id) },
  accounts: {
    effect: 'READ',
    operation: 'ACCOUNTS',
    subjectOf: ({ consentRef }, customer) => read(consentRef, customer),
  },
  balances: {
    effect: 'READ',
    operation: 'BALANCES',
    subjectOf: (_access, accountRef, customer) => read(accountRef, customer),
  },
  bulkBalances: {
    effect: 'READ',
    operation: 'BALANCES',
    subjectOf: ({ consentRef }, _accountRefs, customer) => read(consentRef, customer),
  },
}

/** Runs one call of a bank's interface. */
export type CallInterceptor = <T>(method: BankMethod, subject: CallSubject, execute: () => Promise<T>) => Promise<T>

/** Returns the same interface with every call through `intercept`. Methods that the bank does not have stay absent. */
export function interceptCalls(bank: BankInterface, intercept: CallInterceptor): BankInterface {
  const wrap = <M extends BankMethod>(method: M): BankInterface[M] => {
    const call = bank[method] as ((...args: unknown[]) => Promise<unknown>) | undefined
    const subjectOf = BANK_METHODS[method].subjectOf as (...args: unknown[]) => CallSubject
    return (call &&
      ((...args: unknown[]) => intercept(method, subjectOf(...args), () => call.apply(bank, args)))) as BankInterface[M]
  }
  return {
    requestConsent: wrap('requestConsent'),
    continueSignIn: wrap('continueSignIn'),
    refresh: wrap('refresh'),
    revokeConsent: wrap('revokeConsent'),
    accounts: wrap('accounts'),
    balances: wrap('balances'),
    bulkBalances: wrap('bulkBalances'),
    isConsentEnded: wrap('isConsentEnded'),
    pollEvents: wrap('pollEvents'),
    readEventStream: wrap('readEventStream'),
    setEventStreamStatus: wrap('setEventStreamStatus'),
    requestStreamVerification: wrap('requestStreamVerification'),
    sendAlertResponse: wrap('sendAlertResponse'),
  }
}
