import {
  callReceiver,
  countAccepted,
  describeStatuses,
  sendAlerts,
  sleep,
  waitForWebhooks,
  type AlertRig,
} from './alert-rig.ts'

const LOAD = { count: 5_000, perSecond: 200 }
/** The last outcomes are stored soon after their webhooks. */
const SETTLE_MS = 2_000

/** The bytes of each table with its indexes, without dead rows. */
async function readSizes({ running: { database } }: AlertRig): Promise<Map<string, number>> {
  // `vacuum full` writes each table and its indexes again, so that the difference is what stays.
  await database.query('vacuum full')
  const { rows } = await database.query<{ name: string; bytes: string }>(
    `select relname as name, pg_relation_size(oid) + pg_indexes_size(oid) + coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0)
       as bytes from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace`,
  )
  return new Map(rows.map(({ name, bytes }) => [name, Number(bytes)]))
}

/** What an alert with one delivery leaves in each table and its indexes: `bytesPerAlert` of src/kernel/retention.ts. */
export async function measureGrowth(rig: AlertRig): Promise<void> {
  await callReceiver(rig.receiver, { kind: 'take' })
  const before = await readSizes(rig)
  const result = await sendAlerts(rig, LOAD)
  const accepted = countAccepted(result)
  await waitForWebhooks(rig, accepted)
  await sleep(SETTLE_MS)
  const after = await readSizes(rig)
  const growth = [...after]
    .map(([table, bytes]) => ({ table, perAlert: (bytes - before.get(table)!) / accepted }))
    .filter(({ perAlert }) => perAlert >= 1)
    .sort((a, b) => b.perAlert - a.perAlert)
  const total = growth.reduce((sum, { perAlert }) => sum + perAlert, 0)
  rig.print(`\nbytes that an alert with one delivery leaves (${describeStatuses(result)}): ${total.toFixed(0)}`)
  for (const { table, perAlert } of growth) rig.print(`  ${table.padEnd(20)} ${perAlert.toFixed(0).padStart(6)}`)
}
