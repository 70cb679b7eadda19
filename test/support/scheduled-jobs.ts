import type { ScheduleName } from '../../src/kernel/schedules.ts'
import type { TestGateway } from './gateway.ts'

/** Claims a scheduled job for good, like a process that runs it, so that only the test does what it does. */
export async function holdJob({ database }: TestGateway, name: ScheduleName): Promise<void> {
  await database.query("update scheduled_job set claimed_until = now() + interval '10 years' where name = $1", [name])
}
