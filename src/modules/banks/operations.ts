import type { BankInterface } from '../../connectors/index.ts'

/** The operations that health is counted by. */
export type BankOperation = 'SIGN_IN' | 'ACCOUNTS' | 'BALANCES' | 'CONSENT' | 'TOKEN'

/** A method of a bank's interface. */
export type BankMethod = keyof BankInterface

/** What a call is about: an account or a consent, and whether its customer is present. */
export interface CallSubject {
  readonly id: string
  readonly isCustomerPresent: boolean
}

interface MethodDefinition<M extends BankMethod> {
  /** A READ may be repeated and is wanted at once. A CHANGE changes something at the bank, or a customer waits there. */
  readonly effect: 'READ' | 'CHANGE'
  /** What health counts it as. Null if no customer waits for it. */
  readonly operation: BankOperation | null
  readonly subjectOf: (...args: Parameters<NonNullable<BankInterface[M]>>) => CallSubject
}

const present = (id: string): CallSubject => ({ id, isCustomerPresent: true })
const read = (id: string, customer: unknown): CallSubject => ({ id, isCustomerPresent: customer !== null })

/** Every method of a bank's interface: what it does, what it counts as, and what a call of it is about. */
export const BANK_METHODS: { readonly [M in BankMethod]-?: MethodDefinition<M> } = {
  requestConsent: { effect: 'CHANGE', operation: 'CONSENT', subjectOf: ({ state }) => present(state) },
  completeSignIn: { effect: 'CHANGE', operation: 'SIGN_IN', subjectOf: (_callback, { state }) => present(state) },
  refresh: { effect: 'CHANGE', operation: 'TOKEN', subjectOf: ({ consentRef }) => present(consentRef) },
  revokeConsent: { effect: 'CHANGE', operation: 'CONSENT', subjectOf: (consentRef) => present(consentRef) },
  isConsentEnded: { effect: 'CHANGE', operation: 'CONSENT', subjectOf: (consentRef) => present(consentRef) },
  pollEvents: { effect: 'CHANGE', operation: null, subjectOf: () => present('events') },
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

/** The same interface with every call through `intercept`. A method that the bank does not have stays absent. */
export function interceptCalls(bank: BankInterface, intercept: CallInterceptor): BankInterface {
  const wrap = <M extends BankMethod>(method: M): BankInterface[M] => {
    const call = bank[method] as ((...args: unknown[]) => Promise<unknown>) | undefined
    const subjectOf = BANK_METHODS[method].subjectOf as (...args: unknown[]) => CallSubject
    return (call &&
      ((...args: unknown[]) => intercept(method, subjectOf(...args), () => call.apply(bank, args)))) as BankInterface[M]
  }
  return {
    requestConsent: wrap('requestConsent'),
    completeSignIn: wrap('completeSignIn'),
    refresh: wrap('refresh'),
    revokeConsent: wrap('revokeConsent'),
    accounts: wrap('accounts'),
    balances: wrap('balances'),
    bulkBalances: wrap('bulkBalances'),
    isConsentEnded: wrap('isConsentEnded'),
    pollEvents: wrap('pollEvents'),
  }
}
