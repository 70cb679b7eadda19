import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Sql } from '../../storage/database.ts'
import { SERVES_CLIENT_SQL } from '../banks/index.ts'
import { toConsent, type ConsentRow } from './consent-row.ts'
import type { Consent } from './model.ts'

/** What an alert is about. */
export interface AlertSubject {
  readonly bankId: string
  readonly customerId: string
  /** Null if it is about no single account. */
  readonly accountId: string | null
  /**
   * The only client that sees the alert: the one for which the customer drew the line that it is about. Its consent must share the
   * balance, too. Null for an alert of a bank, which every client with a consent sees.
   */
  readonly clientId: string | null
}

const SCOPE = 'alerts:read' satisfies CustomerScope
/** An alert about a line depends on the bands of the balance, so it needs one of these, too. */
export const BAND_SCOPES = ['balances:band', 'balances:exact'] as const satisfies readonly CustomerScope[]

const MATCH_ACCOUNTS_SQL = `
  select subject.index::int - 1 as index, account.id as "accountId", account.customer_id as "customerId"
  from unnest($1::text[], $2::text[]) with ordinality as subject (bank_id, ref_digest, index)
  join account on account.bank_id = subject.bank_id and account.ref_digest = subject.ref_digest`

const MATCH_CUSTOMERS_SQL = `
  select distinct subject.index::int - 1 as index, connection.customer_id as "customerId"
  from unnest($1::text[], $2::text[]) with ordinality as subject (connector_id, customer_digest, index)
  join connection on connection.connector_id = subject.connector_id and connection.customer_digest = subject.customer_digest`

const ACTIVE_CONSENTS_SQL = `
  select subject.index::int - 1 as index, consent.id, consent.client_id as "clientId", consent.customer_id as "customerId",
    consent.bank_id as "bankId", consent.connection_id as "connectionId", consent.status, consent.scopes, consent.purposes,
    consent.activated_at as "activatedAt", consent.expires_at as "expiresAt"
  from unnest($1::text[], $2::text[], $3::text[], $5::text[]) with ordinality
    as subject (bank_id, customer_id, account_id, client_id, index)
  join consent on consent.customer_id = subject.customer_id and consent.bank_id = subject.bank_id
  join client on client.id = consent.client_id
  join bank on bank.id = consent.bank_id
  where consent.status = 'ACTIVE' and consent.expires_at > $4 and '${SCOPE}' = any(consent.scopes)
    and client.status = 'ACTIVE' and ${SERVES_CLIENT_SQL}
    and (subject.client_id is null or (consent.client_id = subject.client_id and consent.scopes && '{${BAND_SCOPES.join()}}'))
    and (subject.account_id is null or exists (
      select from consent_account shared where shared.consent_id = consent.id and shared.account_id = subject.account_id))
  order by subject.index, consent.activated_at, consent.id`

/** Accounts by the IDs of their banks, of all customers; `index` is the place of the reference in the list. */
export const matchAccounts = (
  sql: Sql,
  refs: readonly { readonly bankId: string; readonly refDigest: string }[],
): Promise<{ index: number; accountId: string; customerId: string }[]> =>
  sql.query('match-accounts', MATCH_ACCOUNTS_SQL, [
    refs.map(({ bankId }) => bankId),
    refs.map(({ refDigest }) => refDigest),
  ])

/** Customers by the IDs of the persons at their banks; `index` is the place of the reference in the list. */
export const matchCustomers = (
  sql: Sql,
  refs: readonly { readonly connectorId: string; readonly customerDigest: string }[],
): Promise<{ index: number; customerId: string }[]> =>
  sql.query('match-customers', MATCH_CUSTOMERS_SQL, [
    refs.map(({ connectorId }) => connectorId),
    refs.map(({ customerDigest }) => customerDigest),
  ])

/** The consents, of all clients, that open alerts about each subject at `now`, oldest first; `index` is the subject's place. */
export async function findConsentsForAlerts(
  sql: Sql,
  subjects: readonly AlertSubject[],
  now: Date,
): Promise<{ index: number; consent: Consent }[]> {
  const rows = await sql.query<ConsentRow & { index: number }>('consents-for-alerts', ACTIVE_CONSENTS_SQL, [
    subjects.map(({ bankId }) => bankId),
    subjects.map(({ customerId }) => customerId),
    subjects.map(({ accountId }) => accountId),
    now,
    subjects.map(({ clientId }) => clientId),
  ])
  return rows.map(({ index, ...row }) => ({ index, consent: toConsent(row) }))
}
