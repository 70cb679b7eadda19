import type { AccountType, BalanceType } from '../kernel/bank-vocabulary.ts'
import { createCodeMap } from './code-map.ts'

/** ISO 20022 ExternalCashAccountType1Code, as European standards use it; codes that are none of our kinds read OTHER. */
export const ISO_ACCOUNT_TYPES = createCodeMap<AccountType>({
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

/**
 * ISO 20022 ExternalBalanceType1Code. FWAV and INFO have no kind on purpose: the one tells of payments to come, the
 * other of nothing defined.
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

/** The last four digits of an account's number, also of one that is masked before them; `null` where they are not digits. */
export const lastFourDigitsOf = (number: string | undefined): string | null =>
  /[0-9]{4}$/.exec(number ?? '')?.[0] ?? null
