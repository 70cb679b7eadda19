import { berlinGroup } from './berlin-group/index.ts'
import { cdr } from './cdr/index.ts'
import type { Standard, StandardId } from './connector.ts'
import { fdx } from './fdx/index.ts'
import { obie } from './obie/index.ts'

/** Every bank standard, one line each. */
export const STANDARDS: Readonly<Record<StandardId, Standard>> = {
  OBIE: obie,
  BERLIN_GROUP: berlinGroup,
  FDX: fdx,
  CDR: cdr,
}

/** Whether this version speaks the standard of that id. */
export const isStandardId = (text: string): text is StandardId => Object.hasOwn(STANDARDS, text)

export { endpointFaultOf } from './endpoints.ts'
export { addressBy } from './registration.ts'
export { PROBLEMS, type Problem } from './problems.ts'
export type {
  Balances,
  BankAccess,
  BankAccount,
  BankBalance,
  BankInterface,
  CollectEvents,
  ConnectorTools,
  DeliveredEvent,
  PresentCustomer,
  Registration,
  Resume,
  SettledEvents,
  StandardId,
} from './connector.ts'
