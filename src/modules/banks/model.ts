import type { Registration, StandardId } from '../../connectors/index.ts'

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
