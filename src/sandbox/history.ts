import { createHash } from 'node:crypto'
import type { SandboxAccount } from './personas.ts'

/** One transaction of an account. None of its data may ever pass through Guichet. */
export interface HistoryEntry {
  readonly id: string
  readonly merchant: string
  readonly note: string
  readonly categoryCode: string
  /** Cents; negative when spent. */
  readonly cents: number
  readonly at: string
  readonly pending: boolean
}

const MERCHANTS = [
  'Harbour Fishmonger',
  'Lantern Books',
  'Copper Kettle Cafe',
  'Bluebird Pharmacy',
  'Velvet Cinema',
  'Quayside Bakery',
  'Nordlicht Apotheke',
  'Spree Fahrrad',
  'Kleine Rakete Spielzeug',
  'Marlow Wine Cellar',
  'Hillside Clinic',
  'Tram and Metro',
]
const LAST_DAY = Date.UTC(2026, 9, 31)
const ENTRY_COUNT = 120

/**
 * Creates the transaction history of an account, which depends only on the account and the seed. If `canary` is set, every
 * merchant, note and id contains it, so that any leak can be recognised.
 */
export function createHistory(account: SandboxAccount, seed: string, canary: string | undefined): HistoryEntry[] {
  if (account.kind === 'SAVINGS' || account.kind === 'LOAN') return []
  return Array.from({ length: ENTRY_COUNT }, (_, index) => {
    const hash = createHash('sha256').update(`${seed}/${account.id}/${index}`).digest()
    const merchant = MERCHANTS[hash.readUInt16BE(0) % MERCHANTS.length]!
    const suffix = hash.toString('hex', 8, 14)
    const isSalary = account.kind === 'CURRENT' && index % 30 === 29
    return {
      id: `${canary ?? 'tx'}-${suffix}-id`,
      merchant: canary ? `${canary}-${suffix}-merchant` : `${merchant} ${suffix}`,
      note: canary ? `${canary}-${suffix}-note` : `card payment ${suffix}`,
      categoryCode: String(5000 + (hash.readUInt16BE(4) % 900)),
      cents: isSalary ? 95_000 : -(100 + (hash.readUInt16BE(2) % 4_900)),
      at: new Date(LAST_DAY - (ENTRY_COUNT - index) * 8 * 3_600_000 + hash.readUInt16BE(6) * 60).toISOString(),
      pending: index >= ENTRY_COUNT - 3,
    }
  })
}

/** The balances of a sandbox account. */
export interface SandboxBalances {
  /** Cents; negative when owed. */
  readonly booked: number
  readonly expected: number
  /** The amount that can be spent, including the credit line. */
  readonly available: number
}

/** Computes the balances of the account after its history. */
export function computeBalances(account: SandboxAccount, history: readonly HistoryEntry[]): SandboxBalances {
  const sum = (entries: readonly HistoryEntry[]) =>
    entries.reduce((total, entry) => total + entry.cents, account.openingBalance)
  const expected = sum(history)
  return { booked: sum(history.filter((entry) => !entry.pending)), expected, available: expected + account.creditLine }
}

/** Cents as a decimal string with two digits, without a sign. */
export function formatUnsigned(cents: number): string {
  const digits = String(Math.abs(cents)).padStart(3, '0')
  return `${digits.slice(0, -2)}.${digits.slice(-2)}`
}
