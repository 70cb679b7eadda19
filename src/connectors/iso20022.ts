import type { AccountType, BalanceType } from '../kernel/bank-vocabulary.ts'
import { createCodeMap, readCode, type ReadCode } from './code-map.ts'

/** ISO 20022 ExternalCashAccountType1Code. Codes without a matching account type become OTHER. */
const ISO_ACCOUNT_TYPES = createCodeMap<AccountType>({
  CACC: 'CURRENT',
  TRAN: 'CURRENT',
  SLRY: 'CURRENT',
  NFCA: 'CURRENT',
  SVGS: 'SAVINGS',
  LLSV: 'SAVINGS',
  MOMA: 'SAVINGS',
  ONDP: 'SAVINGS',
  CARD: 'CARD',
  WALT: 'PREPAID_OR_WALLET',
  LOAN: 'LOAN',
  ODFT: 'LOAN',
  MGLD: 'LOAN',
  MORT: 'MORTGAGE',
  ...Object.fromEntries(
    ['CASH', 'CHAR', 'CISH', 'COMM', 'CPAC', 'NREX', 'OTHR', 'SACC', 'TAXE', 'TRAS', 'VACC'].map((code) => [
      code,
      'OTHER' as const,
    ]),
  ),
})

/** Account types in the words of earlier versions of the standards, mapped to ISO 20022 codes; banks still send them. */
export const ACCOUNT_TYPE_WORDS = createCodeMap<string>({
  CurrentAccount: 'CACC',
  Current: 'CACC',
  Savings: 'SVGS',
  SavingsAccount: 'SVGS',
  CreditCard: 'CARD',
  ChargeCard: 'CARD',
  CardAccount: 'CARD',
  Loan: 'LOAN',
  LoanAccount: 'LOAN',
  Mortgage: 'MORT',
  EMoney: 'WALT',
  PrePaidCard: 'WALT',
  Wallet: 'WALT',
})

/**
 * ISO 20022 ExternalBalanceType1Code. `null` marks a type that is skipped: FWAV reveals future payments, and INFO has no
 * definition.
 */
export const ISO_BALANCE_TYPES = createCodeMap<BalanceType | null>({
  ITAV: 'INTERIM_AVAILABLE',
  ITBD: 'INTERIM_BOOKED',
  XPCD: 'EXPECTED',
  CLBD: 'CLOSING_BOOKED',
  CLAV: 'CLOSING_AVAILABLE',
  OPBD: 'OPENING_BOOKED',
  OPAV: 'OPENING_AVAILABLE',
  PRCD: 'PREVIOUSLY_CLOSED_BOOKED',
  FWAV: null,
  INFO: null,
})

/** Reads an account type: an ISO 20022 code, or a word of an earlier version of a standard. */
export function readAccountType(code: string): ReadCode<AccountType> | undefined {
  // A word can differ from a code by its case only, as Loan does.
  const word = ISO_ACCOUNT_TYPES.has(code) ? undefined : readCode(ACCOUNT_TYPE_WORDS, code)
  const type = readCode(ISO_ACCOUNT_TYPES, word?.value ?? code)
  return type && { value: type.value, issues: [...(word?.issues ?? []), ...type.issues] }
}

/** The last four digits of an account number, which may be masked before them; `null` if it does not end in four digits. */
export const lastFourDigitsOf = (number: string | undefined): string | null =>
  /[0-9]{4}$/.exec(number ?? '')?.[0] ?? null
