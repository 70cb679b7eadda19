import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import { digest } from '../../src/kernel/ids.ts'
import { createSeal } from '../../src/storage/seal.ts'

/** A copied customer with one account at one bank, whose alerts one client may read. */
export interface CopiedCustomer {
  readonly bankId: string
  readonly clientId: string
  /** The bank's own ID of the account, as events name it. */
  readonly accountRef: string
  readonly accountId: string
  readonly consentId: string
}

/** Which customers to copy. */
export interface CopyOptions {
  /** The folder of the gateway's keys. */
  readonly dataDir: string
  /** The bank at which an ACTIVE consent of `templateClientId` with `alerts:read` exists. */
  readonly bankId: string
  readonly templateClientId: string
  /** Copies are for these clients in turn. */
  readonly clientIds: readonly string[]
  /** The number of the first copy; the others follow. No two copies in a database may have the same number. */
  readonly first: number
  readonly count: number
  /** The number in the name of the first account: to copy customers who share their accounts with others. `first` by default. */
  readonly firstRef?: number
}

/** The rows of the customer that is copied, by their IDs. */
interface Template {
  readonly customer: string
  readonly connection: string
  readonly account: string
  readonly consent: string
}

const idOf = (prefix: string, number: number): string => `${prefix}_${String(number).padStart(22, '0')}`
/** The same in SQL, for copy `n`. */
const sqlIdOf = (prefix: string): string => `'${prefix}_' || lpad(n::text, 22, '0')`
const COPIES = 'generate_series($1::int, $1::int + $2::int - 1) as copies(n)'

/**
 * Copies the customer of an existing consent `count` times, with the rows that alerts depend on: in seconds, where as many
 * opt-ins would take minutes. Columns that are not named here are copied as they are.
 */
export async function copyCustomers(
  database: Pick<pg.Client, 'query'>,
  options: CopyOptions,
): Promise<CopiedCustomer[]> {
  const { bankId, clientIds, first, count, firstRef = first } = options
  const template = await findTemplate(database, options)
  const numbers = Array.from({ length: count }, (_, index) => first + index)
  const refOf = (number: number): string => `copied-${number - first + firstRef}`
  const digestOf = createRefDigest(options)
  const copy = (table: keyof Template, changes: string, ...values: readonly unknown[]): Promise<unknown> =>
    database.query(
      `insert into ${table} select (jsonb_populate_record(template, jsonb_build_object(${changes}))).*
       from ${table} as template, ${COPIES} where template.id = $3`,
      [first, count, template[table], ...values],
    )
  await copy('customer', `'id', ${sqlIdOf('cust')}`)
  await copy(
    'connection',
    `'id', ${sqlIdOf('conn')}, 'customer_id', ${sqlIdOf('cust')}, 'consent_digest', 'copied-' || n, 'customer_digest', null`,
  )
  await copy(
    'account',
    `'id', ${sqlIdOf('acct')}, 'customer_id', ${sqlIdOf('cust')}, 'number_digest', null,
     'sequence', nextval(pg_get_serial_sequence('account', 'sequence')), 'ref_digest', ($4::text[])[n - $1::int + 1]`,
    numbers.map((number) => digestOf(refOf(number))),
  )
  await copy(
    'consent',
    `'id', ${sqlIdOf('cons')}, 'customer_id', ${sqlIdOf('cust')}, 'connection_id', ${sqlIdOf('conn')},
     'oauth_grant_id', ${sqlIdOf('grnt')}, 'client_id', ($4::text[])[n % cardinality($4::text[]) + 1]`,
    clientIds,
  )
  await database.query(
    `insert into consent_account (consent_id, account_id) select ${sqlIdOf('cons')}, ${sqlIdOf('acct')} from ${COPIES}`,
    [first, count],
  )
  await database.query('analyze customer, connection, account, consent, consent_account')
  return numbers.map((number) => ({
    bankId,
    clientId: clientIds[number % clientIds.length]!,
    accountRef: refOf(number),
    accountId: idOf('acct', number),
    consentId: idOf('cons', number),
  }))
}

async function findTemplate(
  database: Pick<pg.Client, 'query'>,
  { bankId, templateClientId }: CopyOptions,
): Promise<Template> {
  const { rows } = await database.query<Template>(
    `select consent.customer_id as customer, connection_id as connection, consent.id as consent, account_id as account
     from consent join consent_account on consent_id = consent.id
     where bank_id = $1 and client_id = $2 and status = 'ACTIVE' and 'alerts:read' = any(scopes) limit 1`,
    [bankId, templateClientId],
  )
  if (!rows[0]) throw new Error(`${templateClientId} has no consent at ${bankId} to copy`)
  return rows[0]
}

/** How the gateway with these keys digests the account IDs of a bank. */
function createRefDigest({ dataDir, bankId }: CopyOptions): (ref: string) => string {
  const text = readFileSync(join(dataDir, 'sealing-key'), 'utf8')
  const seal = createSeal([{ id: digest(text).slice(0, 12), bytes: Buffer.from(text, 'base64url') }])
  return (ref) => seal.digest('account-ref', bankId, ref)
}
