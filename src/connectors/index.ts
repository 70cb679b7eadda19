import { berlinGroup } from './berlin-group/index.ts'
import type { Standard, StandardId } from './connector.ts'
import { obie } from './obie/index.ts'

/** Every bank standard, one line each. */
export const STANDARDS: Readonly<Record<StandardId, Standard>> = {
  OBIE: obie as unknown as Standard,
  BERLIN_GROUP: berlinGroup as unknown as Standard,
}

export const isStandardId = (text: string): text is StandardId => Object.hasOwn(STANDARDS, text)

export type {
  BankAccess, BankAccount, BankBalance, BankEvent, BankInterface, ConnectorTools, Registration, Resume, SignIn, Standard, StandardId,
} from './connector.ts'
