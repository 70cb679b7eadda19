import { berlinGroup } from './berlin-group/index.ts'
import type { Standard, StandardId } from './connector.ts'
import { obie } from './obie/index.ts'

/** Every bank standard, one line each. */
export const STANDARDS: Readonly<Record<StandardId, Standard>> = {
  OBIE: obie,
  BERLIN_GROUP: berlinGroup,
}

/** Whether this version speaks the standard of that id. */
export const isStandardId = (text: string): text is StandardId => Object.hasOwn(STANDARDS, text)

export type {
  BankAccess,
  BankAccount,
  BankBalance,
  BankInterface,
  Registration,
  Resume,
  StandardId,
} from './connector.ts'
