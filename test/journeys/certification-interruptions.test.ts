import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { certifications, failuresOf } from '../support/certification.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterEach(() => {
  gateway.intercept = undefined
})
afterAll(() => gateway.close())

const { register, finished, certify, statusOf } = certifications(() => gateway)

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
  })
})
