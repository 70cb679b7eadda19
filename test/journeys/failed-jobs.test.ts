import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { OutboundError } from '../../src/kernel/outbound-error.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const scrape = async (): Promise<string> => (await fetch(gateway.app.metricsUrl()!)).text()

describe('a message of the outbox that fails', () => {
  test('a failed message has the code of its last error, and is counted in the metrics by its topic', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    gateway.intercept = ({ url }) =>
      url.startsWith(gateway.sandbox.banks.northbank)
        ? Promise.reject(new OutboundError('OUTBOUND_UNREACHABLE', 'CONNECTION_REFUSED'))
        : undefined
    await gateway.ask(token, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
    const failed = await eventually('a failed attempt', async () => {
      const [row] = await gateway.database.query(
        `select topic, last_error_code as code, processed_at as "processedAt" from outbox_message where attempt_count > 0`,
      )
      return row
    })
    expect(failed).toEqual({ topic: 'connection.end', code: 'BANK_UNAVAILABLE', processedAt: null })
    expect(await scrape()).toMatch(/^guichet_job_failures_total\{job="connection.end"\} [1-9]/m)
    gateway.intercept = undefined
  })
})

describe('a background job that keeps failing', () => {
  const QUERY =
    '{ backgroundJobs { name nextRunAt lastSucceededAt failingSince failureCount lastErrorCode failingMessageCount } }'
  const find = async (name: string) => {
    const { data } = await gateway.ask(await gateway.own('admin', 'clients:manage'), QUERY)
    return (data as { backgroundJobs: { name: string; failingSince: string | null }[] }).backgroundJobs.find(
      (job) => job.name === name,
    )!
  }
  const runNow = () =>
    gateway.database.query(`update scheduled_job set next_run_at = now() - interval '1 s' where name = 'retention'`)
  const failingSeconds = async (name: string): Promise<number> =>
    Number(new RegExp(`^guichet_job_failing_seconds\\{job="${name}"\\} (\\S+)$`, 'm').exec(await scrape())?.[1])

  test('operators see a scheduled job that fails in the graph and in the metrics, until a run succeeds', async () => {
    await gateway.database.query('alter table mail_message rename to hidden_message')
    await runNow()
    const failing = await eventually('a failed run', async () => {
      const job = await find('retention')
      return job.failingSince === null ? undefined : job
    })
    await gateway.database.query('alter table hidden_message rename to mail_message')
    expect(failing).toMatchObject({ lastErrorCode: 'INTERNAL', failingMessageCount: 0 })
    expect(failing).toMatchObject({
      failureCount: 1,
      nextRunAt: expect.any(String) as string,
      failingSince: expect.any(String) as string,
    })
    expect(await failingSeconds('retention')).toBeGreaterThanOrEqual(1)
    expect(await scrape()).toMatch(/^guichet_job_failures_total\{job="retention"\} 1/m)
    await runNow()
    await eventually('a run without failure', async () => (await find('retention')).failingSince === null)
    expect(await find('retention')).toMatchObject({
      lastErrorCode: null,
      lastSucceededAt: expect.any(String) as string,
    })
    expect(await failingSeconds('retention')).toBe(0)
  })

  test('operators see the messages that failed ten times, by topic, with the code of the oldest', async () => {
    const add = (topic: string, attempts: number, code: string, age: string) =>
      gateway.database.query(
        `insert into outbox_message (id, topic, subject_id, next_attempt_at, created_at, attempt_count, last_error_code)
         values ('msg_' || md5($1 || $4), $1, 'x', now() + interval '1 hour', now() - $4::interval, $2, $3)`,
        [topic, attempts, code, age],
      )
    await add('sign-in.end', 9, 'INTERNAL', '3 hours')
    expect(await find('sign-in.end')).toMatchObject({ failingMessageCount: 0, failingSince: null, failureCount: 0 })
    expect(await failingSeconds('sign-in.end')).toBe(0)
    await add('sign-in.end', 12, 'BANK_UNAVAILABLE', '2 hours')
    await add('sign-in.end', 10, 'INTERNAL', '1 hour')
    const messages = { failingMessageCount: 2, failureCount: 12, lastErrorCode: 'BANK_UNAVAILABLE', nextRunAt: null }
    expect(await find('sign-in.end')).toMatchObject(messages)
    expect(await failingSeconds('sign-in.end')).toBeGreaterThanOrEqual(7_200)
  })
})
