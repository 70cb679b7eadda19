import type { Problem, Registration, StandardId } from '../../connectors/index.ts'
import type { GatewayError } from '../../kernel/errors.ts'

/** A bank as customers know it. */
export interface Bank {
  readonly id: string
  readonly name: string
  readonly country: string
}

/** DRAFT → CERTIFIED → LIVE; SUSPENDED stops everything of its bank and can be lifted to LIVE again. */
export type ConnectorState = 'DRAFT' | 'CERTIFIED' | 'LIVE' | 'SUSPENDED'

/** A bank's registered interface. */
export interface Connector {
  readonly id: string
  readonly bankId: string
  /** The bank partner's client that registered it. */
  readonly clientId: string
  readonly standard: StandardId
  readonly state: ConnectorState
  readonly registration: Registration
  /** What the bank needs to recognise the gateway by. */
  readonly publicKeys: unknown
}

/** When a bank announced that it will not answer. */
export interface MaintenanceWindow {
  readonly id: string
  readonly bankId: string
  readonly from: Date
  readonly to: Date
}

/** One thing that was tried, and the code of what went wrong. */
export interface CertificationCheck {
  readonly name: 'CONSENT' | 'REVOCATION'
  readonly passed: boolean
  readonly reason: string | null
}

/** One run against a bank's interface. */
export interface CertificationReport {
  readonly id: string
  readonly connectorId: string
  readonly at: Date
  readonly passed: boolean
  readonly checks: readonly CertificationCheck[]
}

/** The kinds of calls at a bank. */
export type BankOperation = 'SIGN_IN' | 'ACCOUNTS' | 'BALANCES' | 'CONSENT' | 'TOKEN'

/** How often a part of a bank's answers could not be used. */
export interface ProblemCount {
  readonly problem: Problem
  readonly count: number
}

/** How many calls of one kind there were in a minute, and how they went. */
export interface CallCount {
  readonly connectorId: string
  readonly operation: BankOperation
  readonly minute: Date
  readonly calls: number
  readonly failures: number
  readonly totalMs: number
}

/** How one kind of call went lately. */
export interface OperationHealth {
  readonly operation: BankOperation
  /** HEALTHY: less than 5 % failed. DEGRADED: less than half. DOWN: half or more. */
  readonly state: 'HEALTHY' | 'DEGRADED' | 'DOWN'
  readonly calls: number
  readonly failures: number
  readonly meanMs: number
}

/** Temporary, and yet an answer about one customer or account that says nothing of how the bank is. */
const ANSWERS: ReadonlySet<string> = new Set(['BANK_QUOTA_SPENT', 'ACCOUNT_UNAVAILABLE'])

/** Whether an error shows that the bank itself is not well; a no to one customer does not. */
export const isTroubleOfTheBank = ({ code, facts }: GatewayError): boolean =>
  facts.category === 'BANK' && facts.retryable && !ANSWERS.has(code)
