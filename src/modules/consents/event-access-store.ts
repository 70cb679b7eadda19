import type { Sql } from '../../storage/database.ts'
import { SERVES_CLIENT_SQL } from '../banks/index.ts'
import { toConsent, type ConsentRow } from './consent-row.ts'
import type { Consent } from './model.ts'

const ACTIVE_SQL = `
  select consent.id, consent.client_id as "clientId", consent.customer_id as "customerId", consent.bank_id as "bankId",
    consent.connection_id as "connectionId", consent.status, consent.scopes, consent.purposes,
    consent.activated_at as "activatedAt", consent.expires_at as "expiresAt"
  from consent join client on client.id = consent.client_id join bank on bank.id = consent.bank_id
  where consent.id = any($1::text[]) and (consent.status = 'ACTIVE') is true and consent.expires_at > $2
    and client.status = 'ACTIVE' and ${SERVES_CLIENT_SQL}
  order by consent.expires_at, consent.id`

/** Those of these consents that authorize something at `now`, of active clients that the bank serves; by their end. */
export const findActiveConsents = async (sql: Sql, ids: readonly string[], now: Date): Promise<Consent[]> =>
  (await sql.query<ConsentRow>('active-consents', ACTIVE_SQL, [ids, now])).map(toConsent)
