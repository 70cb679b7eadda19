import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { certifications, failuresOf } from '../support/certification.ts'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { startStepwiseBank, type StepwiseBank } from '../support/stepwise-bank.ts'

let gateway: TestGateway
let appBank: StepwiseBank
beforeAll(async () => {
  gateway = await startGateway()
  appBank = await startStepwiseBank('appbank', 'DECOUPLED')
})
afterEach(() => {
  gateway.intercept = undefined
})
afterAll(async () => {
  await gateway.close()
  await appBank.close()
})

const { register, registerStepwise, finished, certify, attend, statusOf } = certifications(() => gateway)

/** Hangs the next request with this ending, as in a process that has stopped, until it is let go. */
async function interrupt(ending: string, begin: () => Promise<unknown>) {
  const held = gateway.holdNext(ending)
  await begin()
  await held.reached
  await gateway.database.query(
    "update certification_run set claimed_until = now() - interval '1 second' where finished_at is null",
  )
  return held
}

describe('a certification run that cannot be completed', () => {
  test('a run whose report cannot be stored ends FAILED with a code, and its connector can be certified again', async () => {
    const { banks } = gateway.app.services
    const id = await register('lakebank')
    const constraint = 'add constraint no_report check (signed_report is null) not valid'
    await gateway.database.query(`alter table certification_run ${constraint}`)
    const run = await certify('lakebank', id, 'STATIC')
    await gateway.database.query('alter table certification_run drop constraint no_report')
    expect(run).toMatchObject({ status: 'FAILED', failureCode: 'INTERNAL', signedReport: null })
    expect(failuresOf(run)).toEqual([])
    expect(await statusOf(id)).toBe('DRAFT')
    expect(gateway.log.some((line) => line.includes('certification.run_failed'))).toBe(true)
    const query = 'query ($id: ID!) { node(id: $id) { ... on CertificationRun { status failureCode } } }'
    const token = await gateway.own('lakebank-partner', 'connectors:read')
    expect((await gateway.ask(token, query, { id: run.id })).data).toEqual({
      node: { status: 'FAILED', failureCode: 'INTERNAL' },
    })
    const { id: runId } = await banks.startCertification('lakebank-partner', id, 'STATIC')
    expect(await finished(runId)).toMatchObject({ status: 'PASSED', failureCode: null })
  })

  test('a scheduled run that cannot be completed says nothing about the bank, which keeps accepting consents', async () => {
    const { banks } = gateway.app.services
    const [{ id } = { id: '' }] = await gateway.database.query<{ id: string }>(
      "select id from connector where bank_id = 'westbank' and status = 'ACTIVE'",
    )
    const [{ sealedKey } = { sealedKey: '' }] = await gateway.database.query<{ sealedKey: string }>(
      'select sealed_key as "sealedKey" from connector where id = $1',
      [id],
    )
    const setKey = (key: string) =>
      gateway.database.query('update connector set sealed_key = $2 where id = $1', [id, key])
    await gateway.database.query("update certification_run set created_at = created_at - interval '25 hours'")
    await setKey('unreadable')
    expect(await banks.scheduleCertifications()).toBeGreaterThan(0)
    const run = await eventually('the scheduled run', async () => {
      const [newest] = (await banks.certificationRuns(id, { first: 1 })).nodes
      return newest?.trigger === 'SCHEDULED' && newest.finishedAt ? newest : undefined
    })
    await setKey(sealedKey)
    expect(run).toMatchObject({ status: 'FAILED', failureCode: 'INTERNAL', checks: [] })
    expect(await banks.findConnector(id)).toMatchObject({ status: 'ACTIVE', acceptsNewConsents: true })
    // Those of the other banks make the same requests as the runs below.
    await eventually('the end of all scheduled runs', async () => {
      const running = await gateway.database.query('select 1 from certification_run where finished_at is null')
      return running.length === 0
    })
  })
})

describe('a certification run whose process stops in the middle', () => {
  test('a run of the static checks is repeated by another process, and the first one changes nothing afterwards', async () => {
    const { banks } = gateway.app.services
    const id = await register('eastbank')
    let runId = ''
    const held = await interrupt('/account-access-consents', async () => {
      runId = (await banks.startCertification('eastbank-partner', id, 'STATIC')).id
    })
    const run = await finished(runId)
    expect(run.status).toBe('PASSED')
    held.letGo()
    await eventually('the end of the first consent', () => Promise.resolve(openCount() === 0))
    expect(await banks.findCertificationRun(runId)).toEqual(run)
  })

  test('an attended run fails, and its consent and tokens are ended at the bank', async () => {
    appBank.consentStatus = 'valid'
    const id = await registerStepwise(appBank)
    const { runId, link } = await attend('rheinbank', id)
    const held = await interrupt('/v1/accounts', async () => {
      const browser = createBrowser()
      const { url } = await browser.open(`${link}/bank`)
      await eventually('the end of the sign-in', async () => (await browser.open(url)).text.includes('Thank you'))
    })
    const run = await finished(runId)
    expect([run.failureCode, failuresOf(run)]).toEqual([null, ['SIGN_IN RUN_INTERRUPTED']])
    expect([await statusOf(id), appBank.openConsents]).toEqual(['DRAFT', new Set()])
    held.letGo()
  })
})

describe('what certification runs have at banks', () => {
  test('a run ends every consent that it has created', async () => {
    const id = await register('eastbank')
    gateway.sent.length = 0
    expect((await certify('eastbank', id, 'AUTOMATIC')).status).toBe('PASSED')
    expect([openCount(), await remaining()]).toEqual([0, 0])
  })

  test('a new attempt of a sign-in ends the consent of the one before it', async () => {
    appBank.consentStatus = 'received'
    const { runId, link } = await attend('rheinbank', await registerStepwise(appBank))
    await createBrowser().open(`${link}/bank`)
    const [first] = appBank.openConsents
    const page = await createBrowser().open(`${link}/bank`)
    await eventually('the end of the first consent', () => Promise.resolve(!appBank.openConsents.has(first!)))
    expect(appBank.openConsents.size).toBe(1)
    await createBrowser().submit(page, [['decision', 'cancel']])
    await eventually('the end of the second consent', () => Promise.resolve(appBank.openConsents.size === 0))
    await gateway.database.query("update certification_sign_in set expires_at = now() - interval '1 day'")
    await finished(runId)
  })

  test('a consent that cannot be ended during the run is ended when the bank responds again', async () => {
    const id = await register('eastbank')
    gateway.sent.length = 0
    gateway.intercept = ({ method }) =>
      method === 'DELETE' ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
    expect((await certify('eastbank', id, 'STATIC')).status).toBe('PASSED')
    expect(await remaining()).toBe(1)
    gateway.intercept = undefined
    await eventually('the end of the consent', async () => {
      await gateway.database.query(
        "update outbox_message set next_attempt_at = now() where topic = 'certification-access.end'",
      )
      return (await remaining()) === 0
    })
  })
})

/** Consents that the gateway created at Eastbank and has not ended. */
const openCount = (): number => {
  const of = (method: string) =>
    gateway.sent.filter((one) => one.method === method && one.url.includes('/account-access-consents'))
  return of('POST').length - of('DELETE').length
}
const remaining = async () => (await gateway.database.query('select 1 from certification_access')).length
