import { ACCOUNT_TYPE_NAMES, type AccountStatus, type BalanceType } from '../../kernel/bank-vocabulary.ts'
import { negate } from '../../kernel/money.ts'
import { parseAccountNumber, parseIban } from '../account-number.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { ISO_ACCOUNT_TYPES, ISO_BALANCE_TYPES, lastFourDigitsOf } from '../iso20022.ts'
import type { ResponseIssue } from '../response-issues.ts'
import { parseAccountCurrency, parseMoney, reconcileBalances, type ParseResult } from '../parsing.ts'
import { createCodeMap } from '../code-map.ts'
import { cardRef, findDebitAccounting, findLinkedId } from './quirks.ts'
import { parseWireAccount, parseWireBalance, type BalancesResponse } from './wire.ts'

/** An absent status means that the account is available (1.3.11, 14.1). */
const STATUSES = createCodeMap<AccountStatus>({ enabled: 'OPEN', blocked: 'RESTRICTED', deleted: 'CLOSED' })
/**
 * The standard's own names; banks also send ISO codes. `null` marks a type that is skipped: `forwardAvailable`,
 * `nonInvoiced` and `authorised` can reveal single payments, and `information` has no definition.
 */
const BALANCE_TYPES = createCodeMap<BalanceType | null>({
  interimAvailable: 'INTERIM_AVAILABLE',
  interimBooked: 'INTERIM_BOOKED',
  expected: 'EXPECTED',
  closingBooked: 'CLOSING_BOOKED',
  openingBooked: 'OPENING_BOOKED',
  forwardAvailable: null,
  nonInvoiced: null,
  authorised: null,
  information: null,
  ...Object.fromEntries(ISO_BALANCE_TYPES),
})

/** Maps one account to the domain. The currency `XXX` means several currencies and becomes `null`. */
export function parseAccount(raw: unknown, isCard: boolean): ParseResult<BankAccount> {
  const wire = parseWireAccount(raw)
  if (!wire) return { issue: 'INVALID_ACCOUNT' }
  const accountTypeCode = isCard ? 'CARD' : wire.cashAccountType
  const type = ISO_ACCOUNT_TYPES.get(accountTypeCode ?? '')
  const status = wire.status === undefined ? 'OPEN' : STATUSES.get(wire.status)
  const id = findLinkedId(wire) ?? wire.resourceId
  const { currency, issues } = parseAccountCurrency(wire.currency)
  return {
    value: {
      ref: isCard ? cardRef(id) : id,
      type: type ?? 'OTHER',
      usage: wire.usage === 'PRIV' ? 'PERSONAL' : wire.usage === 'ORGA' ? 'BUSINESS' : 'UNKNOWN',
      status: status ?? 'UNKNOWN',
      currency,
      // The bank states the number of the current account from which the card is paid.
      number: isCard ? null : (parseIban(wire.iban ?? '') ?? parseAccountNumber(wire.bban ?? '')),
      lastFourDigits: lastFourDigitsOf(wire.iban ?? wire.bban ?? wire.maskedPan),
      displayName: ACCOUNT_TYPE_NAMES[type ?? 'OTHER'],
    },
    issues: [
      ...(accountTypeCode !== undefined && !type ? (['UNKNOWN_ACCOUNT_TYPE'] as const) : []),
      ...(status ? [] : (['UNKNOWN_ACCOUNT_STATUS'] as const)),
      ...issues,
    ],
  }
}

/**
 * Maps the balances of one account. Amounts are signed from the customer's side, except on card accounts with
 * `debitAccounting`, where debits are positive. If a card account has no such flag, the sign is ambiguous and only zero
 * balances are used.
 */
export function parseBalances(
  response: BalancesResponse,
  isCard: boolean,
  report: (issue: ResponseIssue) => void,
): Balances {
  const debitAccounting = findDebitAccounting(response)
  return reconcileBalances(
    response.balances.map((raw): ParseResult<BankBalance> => {
      const wire = parseWireBalance(raw)
      if (!wire) return { issue: 'INVALID_BALANCE' }
      const type = BALANCE_TYPES.get(wire.balanceType)
      if (type === null) return 'SKIPPED'
      if (!type) return { issue: 'UNKNOWN_BALANCE_TYPE' }
      const money = parseMoney(wire.balanceAmount.amount, wire.balanceAmount.currency)
      if ('issue' in money) return { type, issue: money.issue }
      const { currency } = money
      if (isCard && debitAccounting === undefined && /[1-9]/.test(money.amount))
        return { type, issue: 'AMBIGUOUS_SIGN' }
      const amount = isCard && debitAccounting ? negate(money.amount) : money.amount
      return {
        value: { type, amount, currency, creditLineIncluded: wire.creditLimitIncluded ?? null, creditLimit: null },
      }
    }),
    report,
  )
}
