// Generates test/support/statistics.json, the planner statistics of a large installation: fills a temporary PostgreSQL server
// with rows and analyses them. `node tools/statistics.ts --make` takes minutes and is run by hand. The number of rows is a
// fiftieth of that of the installation which the file describes.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { migrate } from '../src/storage/migrate.ts'
import { withTemporaryPostgres } from './temporary-postgres.ts'

const root = join(import.meta.dirname, '..')
const FILE = join(root, 'test/support/statistics.json')
/** The number of generated consents, and the factor by which measured sizes are multiplied. */
const CONSENT_COUNT = 20_000
const SCALE_FACTOR = 50
const CUSTOMER_COUNT = CONSENT_COUNT / 2
const ACCOUNT_COUNT = CONSENT_COUNT * 5
const DELIVERY_COUNT = CONSENT_COUNT * 2

/** SQL for a column with few distinct values, each up to a cumulative percentage of the rows. */
const caseByShare = (...shares: readonly (readonly [value: string, upTo: number])[]): string =>
  `case ${shares.map(([value, upTo]) => `when n % 100 < ${upTo} then '${value}'`).join(' ')} end`
/** SQL for distinct text of a realistic length. */
const text = (seed: string, length: number): string =>
  `substr(repeat(md5('${seed}' || n), ${Math.ceil(length / 32)}), 1, ${length})`
const id = (prefix: string, n = 'n'): string => `'${prefix}_' || md5((${n})::text)`
const ago = (unit: string, n = 'n'): string => `now() - (${n} % 86400) * interval '${unit}'`
const client = `'client_' || n % 40`
const bank = `'bank_' || n % 30`

/** The rows of each table: how many per consent, and an SQL expression of the row number `n` for each column. */
const TABLES: readonly (readonly [table: string, perConsent: number, columns: Readonly<Record<string, string>>])[] = [
  ['customer', 0.5, { id: id('cust'), created_at: ago('6 minutes') }],
  [
    'pairwise_subject',
    0.8,
    { client_id: client, customer_id: id('cust', `n % ${CUSTOMER_COUNT}`), sub: text('sub', 43) },
  ],
  [
    'consent',
    1,
    {
      id: id('cons'),
      client_id: client,
      customer_id: id('cust', `n % ${CUSTOMER_COUNT}`),
      bank_id: bank,
      connection_id: id('conn'),
      status: caseByShare(['ACTIVE', 70], ['REVOKED', 82], ['EXPIRED', 95], ['REJECTED', 99], ['PENDING', 100]),
      scopes: `array['accounts:read', 'balances:exact', 'alerts:read']`,
      purposes: `array['CHAT_BALANCE']`,
      expires_at: `${ago('6 minutes')} + interval '180 days'`,
      created_at: ago('6 minutes'),
      activated_at: ago('6 minutes'),
      oauth_grant_id: text('grant', 43),
      redeem_by: `case when n % 100 between 70 and 72 then ${ago('6 minutes')} end`,
      reminder_due_at: `case when n % 100 < 70 then ${ago('6 minutes')} + interval '150 days' end`,
    },
  ],
  [
    'connection',
    1,
    {
      id: id('conn'),
      customer_id: id('cust', `n % ${CUSTOMER_COUNT}`),
      connector_id: `'connector_' || n % 30`,
      status: caseByShare(['OPEN', 75], ['ENDED', 98], ['RECONNECT', 100]),
      sealed_access: text('access', 900),
      consent_digest: text('digest', 43),
      customer_digest: text('person', 43),
      token_expires_at: `now() + (n % 3600) * interval '1 second'`,
      renewal_due_at: `now() + interval '7 days' + (n % 3600) * interval '1 second'`,
      created_at: ago('6 minutes'),
    },
  ],
  [
    'account',
    5,
    {
      id: id('acct'),
      customer_id: id('cust', `n % ${CUSTOMER_COUNT}`),
      bank_id: bank,
      ref_digest: text('ref', 43),
      sealed_ref: text('sealed', 220),
      number_digest: text('number', 43),
      display_name: `'Current account'`,
      last_four_digits: `lpad((n % 10000)::text, 4, '0')`,
      type: caseByShare(['CURRENT', 60], ['SAVINGS', 80], ['CARD', 95], ['LOAN', 100]),
      usage: `'PERSONAL'`,
      status: `'ENABLED'`,
      currency: `'EUR'`,
      created_at: ago('6 minutes'),
    },
  ],
  ['consent_account', 5, { consent_id: id('cons', `n % ${CONSENT_COUNT}`), account_id: id('acct') }],
  [
    'snapshot',
    4,
    {
      bank_account_key: `'bank_' || n % 30 || '/' || ${text('ref', 43)}`,
      sealed: `case when n % 1000 > 0 then ${text('snapshot', 575)} end`,
      fetched_at: ago('1 minute'),
      disclosed_type: `case when n % 2 = 0 then 'INTERIM_AVAILABLE' end`,
      claimed_until: `case when n % 1000 = 0 then ${ago('1 second')} end`,
    },
  ],
  [
    'disclosure',
    1,
    {
      disclosure_key: `'bank_' || n % 30 || '/' || ${text('number', 43)}`,
      exact_at: `array[${ago('1 second')}]`,
      exact_type: `'INTERIM_AVAILABLE'`,
      threshold_at: `array[]::timestamptz[]`,
      updated_at: ago('1 second'),
    },
  ],
  ['receipt', 4, receiptColumns()],
  [
    'bank_sign_in',
    1.3,
    {
      state_digest: text('state', 43),
      consent_id: id('cons', `n % ${CONSENT_COUNT}`),
      connector_id: `'connector_' || n % 30`,
      interaction_uid: text('uid', 43),
      choice_digest: text('choice', 43),
      sealed_data: `case when n % 100 < 1 then ${text('signin', 700)} else '' end`,
      expires_at: ago('6 minutes'),
      used_at: ago('6 minutes'),
    },
  ],
  [
    'alert',
    2,
    {
      id: id('alrt'),
      account_id: id('acct', `(n * 7) % ${ACCOUNT_COUNT}`),
      type: caseByShare(['SUSPECTED_FRAUD', 30], ['CARD_SECURITY', 70], ['NEW_PAYEE', 100]),
      severity: caseByShare(['WARNING', 80], ['CRITICAL', 100]),
      requested_action: `'REVIEW_WITH_BANK'`,
      occurred_at: ago('6 minutes'),
      created_at: ago('6 minutes'),
    },
  ],
  [
    'bank_event',
    3,
    { issuer: `'https://' || ${bank} || '.example'`, jti_digest: text('jti', 43), received_at: ago('8 seconds') },
  ],
  [
    'delivery',
    2,
    {
      id: id('dlvr'),
      alert_id: id('alrt'),
      webhook_endpoint_id: `'whep_' || n % 60`,
      consent_id: id('cons', `n % ${CONSENT_COUNT}`),
      status: caseByShare(['DELIVERED', 96], ['FAILED', 98], ['DROPPED', 99], ['PENDING', 100]),
      next_attempt_at: ago('6 minutes'),
      created_at: ago('6 minutes'),
    },
  ],
  [
    'delivery_attempt',
    2.4,
    {
      id: id('atpt'),
      delivery_id: id('dlvr', `n % ${DELIVERY_COUNT}`),
      number: `1 + n / ${DELIVERY_COUNT}`,
      attempted_at: ago('6 minutes'),
      http_status: '204',
      outcome: caseByShare(['ACCEPTED', 92], ['REFUSED', 97], ['UNREACHABLE', 100]),
    },
  ],
  [
    'ledger_entry',
    10,
    {
      occurred_at: ago('6 minutes'),
      action: caseByShare(['READ_BALANCES', 70], ['READ_ALERTS', 85], ['ALERT_RECEIVED', 92], ['CONSENT_GRANTED', 100]),
      request_id: id('req'),
      client_id: client,
      customer_id: id('cust', `n % ${CUSTOMER_COUNT}`),
      consent_id: id('cons', `n % ${CONSENT_COUNT}`),
      account_ids: `array[${id('acct', `n % ${ACCOUNT_COUNT}`)}]`,
      subject_id: `case when n % 10 = 0 then ${id('alrt', 'n / 10')} end`,
      purposes: `array['CHAT_BALANCE']`,
    },
  ],
  [
    'outbox_message',
    0.5,
    {
      id: id('msg'),
      topic: caseByShare(['alert.received', 60], ['consent.changed', 80], ['connection.end', 100]),
      subject_id: id('alrt'),
      group_id: `case when n % 5 = 0 then ${bank} end`,
      next_attempt_at: ago('7 seconds'),
      created_at: ago('7 seconds'),
      processed_at: `case when n % 500 > 0 then ${ago('7 seconds')} end`,
    },
  ],
  [
    'oauth_artifact',
    6,
    {
      kind: caseByShare(
        ['AccessToken', 20],
        ['RefreshToken', 50],
        ['Grant', 80],
        ['Session', 90],
        ['ClientCredentials', 100],
      ),
      id: text('token', 43),
      payload: `jsonb_build_object('clientId', ${client}, 'text', ${text('payload', 500)})`,
      grant_id: `case when n % 100 < 80 then ${text('grant', 43)} end`,
      uid: `case when n % 100 between 80 and 89 then ${text('uid', 43)} end`,
      expires_at: `now() + (n % 86400) * interval '15 seconds'`,
    },
  ],
  ['used_proof', 3, { id: text('proof', 43), expires_at: `now() + (n % 600) * interval '1 second'` }],
  [
    'quota_window',
    1,
    { subject: `'client_' || n % 40 || '/' || md5(n::text)`, minute: ago('1 second'), spent: 'n % 500' },
  ],
  [
    'idempotency_record',
    0.2,
    {
      client_id: client,
      mutation: `'revokeConsent'`,
      idempotency_key: text('key', 36),
      input_digest: text('input', 43),
      result_id: id('cons'),
      created_at: ago('1 second'),
    },
  ],
]

function receiptColumns(): Record<string, string> {
  return {
    id: id('rcpt'),
    consent_id: id('cons', `n % ${CONSENT_COUNT}`),
    kind: caseByShare(['GRANTED', 50], ['REVOKED', 100]),
    party: caseByShare(['CUSTOMER', 34], ['CLIENT', 67], ['BANK', 100]),
    result: caseByShare(['DONE', 99], ['PENDING', 100]),
    issued_at: ago('6 minutes'),
  }
}

async function fillTables(database: pg.Client): Promise<void> {
  await database.query(`set session_replication_role = 'replica'; set synchronous_commit = off`)
  for (const [table, perConsent, columns] of TABLES) {
    process.stderr.write(`${table}\n`)
    const rows = Math.round(perConsent * CONSENT_COUNT)
    await database.query(
      `insert into ${table} (${Object.keys(columns).join(', ')})
       select ${Object.values(columns).join(', ')} from generate_series(0, ${rows - 1}) as n on conflict do nothing`,
    )
    await database.query(`vacuum (analyze) ${table}`)
  }
}

/** Rows and pages of each table and index, and the column statistics that the planner uses for unknown parameter values. */
async function readStatistics(database: pg.Client): Promise<object> {
  const { rows: relations } = await database.query<{ name: string; pages: number; rows: number }>(
    `select c.relname as name, c.relpages * $2::int as pages, (c.reltuples * $2::int)::float8 as rows
     from pg_class c left join pg_index i on i.indexrelid = c.oid
     where coalesce(i.indrelid, c.oid)::regclass::text = any($1::text[]) order by 1`,
    [TABLES.map(([table]) => table), SCALE_FACTOR],
  )
  const { rows: columns } = await database.query<Record<string, unknown> & { name: string }>(
    `select tablename || '.' || attname as name, null_frac, avg_width, correlation,
       case when n_distinct > 1000 then n_distinct * $2::int else n_distinct end as n_distinct,
       case when most_common_freqs[1] > 0.005 and array_length(most_common_freqs, 1) <= 50
         then most_common_vals::text end as most_common_vals,
       case when most_common_freqs[1] > 0.005 and array_length(most_common_freqs, 1) <= 50
         then most_common_freqs::text end as most_common_freqs
     from pg_stats where tablename = any($1::text[]) order by tablename, attname`,
    [TABLES.map(([table]) => table), SCALE_FACTOR],
  )
  return {
    relations: Object.fromEntries(relations.map(({ name, pages, rows }) => [name, [Math.round(rows), pages]])),
    columns: Object.fromEntries(
      columns.map(({ name, ...statistics }) => [
        name,
        Object.fromEntries(Object.entries(statistics).filter(([, value]) => value !== null)),
      ]),
    ),
  }
}

/** JSON with one line for each relation and column. */
function formatStatistics(statistics: object): string {
  const parts = Object.entries(statistics).map(([name, entries]) => {
    const lines = Object.entries(entries as object).map(([key, value]) => `    "${key}": ${JSON.stringify(value)}`)
    return `  "${name}": {\n${lines.join(',\n')}\n  }`
  })
  return `{\n${parts.join(',\n')}\n}\n`
}

if (!process.argv.includes('--make')) {
  process.stderr.write('usage: node tools/statistics.ts --make\n')
  process.exit(2)
}
await withTemporaryPostgres(async (url) => {
  await migrate(url, join(root, 'prisma/migrations'))
  const database = new pg.Client({ connectionString: url })
  await database.connect()
  try {
    await fillTables(database)
    writeFileSync(FILE, formatStatistics(await readStatistics(database)))
  } finally {
    await database.end()
  }
})
