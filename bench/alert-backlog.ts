import { randomUUID } from 'node:crypto'
import type pg from 'pg'

/** Alerts whose rows are copied. */
const TEMPLATES = 1_000

/**
 * Adds `count` deliveries that wait to be sent, as copies of delivered alerts and their deliveries. Columns that are not named
 * here are copied as they are.
 */
export async function insertBacklog(database: pg.Client, count: number): Promise<void> {
  const copies = count / TEMPLATES
  // The place among all copies becomes a part of each ID, so that the backlog of another call has other IDs.
  const batch = randomUUID().slice(0, 8)
  const templates = `(select id, alert_id, row_number() over (order by id) as place from delivery
    where status = 'DELIVERED' order by id limit ${TEMPLATES}) as chosen cross join generate_series(1, ${copies}) as copy`
  const copyId = (prefix: string): string =>
    `'${prefix}_${batch}' || lpad(((place - 1) * ${copies} + copy)::text, 14, '0')`
  await database.query('begin')
  await database.query(
    `insert into alert select (jsonb_populate_record(template, jsonb_build_object('id', ${copyId('alrt')}))).*
     from ${templates} join alert as template on template.id = alert_id`,
  )
  await database.query(
    `insert into delivery select (jsonb_populate_record(template, jsonb_build_object('id', ${copyId('dlvr')},
       'alert_id', ${copyId('alrt')}, 'status', 'PENDING', 'attempt_count', 0, 'last_attempt_number', 0,
       'claimed_until', null, 'ended_at', null, 'created_at', now(), 'schedule_started_at', now(),
       'next_attempt_at', now()))).*
     from ${templates} join delivery as template on template.id = chosen.id`,
  )
  await database.query('commit')
  await database.query('analyze alert, delivery')
}
