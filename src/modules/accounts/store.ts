import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { AMOUNTS_PER_DAY, NOTHING_TOLD, QUESTIONS_PER_DAY, type Told } from './disclosure.ts'
import type { Snapshot } from './model.ts'

type Kept = Pick<Snapshot, 'balances' | 'bands' | 'toldType'>

/** The newest balances of each bank account, sealed; writing one overwrites the one before. */
export const snapshotStore = (database: Database, seal: Seal) => ({
  async find(bankAccount: string): Promise<Snapshot | undefined> {
    const row = await database.tables.snapshot.findUnique({ where: { bankAccount } })
    if (!row) return undefined
    const kept = (await seal.open(`snapshot:${bankAccount}`, row.sealed)) as Kept
    return { ...kept, fetchedAt: row.fetchedAt }
  },

  async keep(bankAccount: string, { balances, bands, toldType, fetchedAt }: Snapshot): Promise<void> {
    const kept: Kept = { balances, bands, toldType }
    const sealed = await seal.seal(`snapshot:${bankAccount}`, kept)
    // An answer that comes back from the bank after the customer stopped sharing is not kept.
    await database.tables.$executeRaw`
      insert into snapshot (bank_account, sealed, fetched_at)
      select ${bankAccount}, ${sealed}, ${fetchedAt}
      where exists (
        select 1 from account join consent_account shared on shared.account_id = account.id
        join consent on consent.id = shared.consent_id
        where account.bank_id || '/' || account.ref_digest = ${bankAccount} and consent.state = 'ACTIVE')
      on conflict (bank_account) do update set sealed = excluded.sealed, fetched_at = excluded.fetched_at`
  },
})

interface ToldRow {
  bank_account: string
  amount_count: number
  amount_type: string | null
  question_count: number
}

const toTold = (row: ToldRow): Told => ({
  amounts: row.amount_count,
  amountType: row.amount_type,
  questions: row.question_count,
})

/** What was told of each bank account on each day, whoever shares it. Takes are single statements, so that of many at once none goes over. */
export const disclosureStore = (database: Database) => ({
  /** Takes one amount of the day's; false where there is none left, or another kind was told. */
  async takeAmount(bankAccount: string, day: Date, type: string): Promise<boolean> {
    const taken = await database.tables.$executeRaw`
      insert into disclosure_day as told (bank_account, day, amount_count, amount_type)
      values (${bankAccount}, ${day}::date, 1, ${type})
      on conflict (bank_account, day) do update set amount_count = told.amount_count + 1, amount_type = ${type}
        where told.amount_count < ${AMOUNTS_PER_DAY} and coalesce(told.amount_type, ${type}) = ${type}`
    return taken === 1
  },

  /** Takes one question of the day's; false where there is none left. */
  async takeQuestion(bankAccount: string, day: Date): Promise<boolean> {
    const taken = await database.tables.$executeRaw`
      insert into disclosure_day as told (bank_account, day, question_count) values (${bankAccount}, ${day}::date, 1)
      on conflict (bank_account, day) do update set question_count = told.question_count + 1
        where told.question_count < ${QUESTIONS_PER_DAY}`
    return taken === 1
  },

  /** Gives back what was taken and not told. The kind of balance stays chosen only where an amount of it was told. */
  async giveBack(bankAccount: string, day: Date, what: 'AMOUNT' | 'QUESTION'): Promise<void> {
    await (what === 'AMOUNT'
      ? database.tables.$executeRaw`
          update disclosure_day set amount_count = amount_count - 1,
            amount_type = case when amount_count > 1 then amount_type end
          where bank_account = ${bankAccount} and day = ${day}::date and amount_count > 0`
      : database.tables.$executeRaw`
          update disclosure_day set question_count = question_count - 1
          where bank_account = ${bankAccount} and day = ${day}::date and question_count > 0`)
  },

  /** What each account has told on the day. */
  async told(bankAccounts: readonly string[], day: Date): Promise<Map<string, Told>> {
    const rows = await database.tables.$queryRaw<ToldRow[]>`
      select bank_account, amount_count, amount_type, question_count from disclosure_day
      where bank_account = any(${[...bankAccounts]}) and day = ${day}::date`
    const found = new Map(rows.map((row) => [row.bank_account, toTold(row)]))
    return new Map(bankAccounts.map((id) => [id, found.get(id) ?? NOTHING_TOLD]))
  },

  async sweep(before: Date): Promise<number> {
    return (await database.tables.disclosureDay.deleteMany({ where: { day: { lt: before } } })).count
  },
})
