import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { startKilledPipeline, type KilledPipeline } from '../support/killed-pipeline.ts'
import { findPipelineFaults, type PipelineEvidence } from '../support/pipeline-faults.ts'

/** `GUICHET_KILLS=200` is the long form; docs/PERFORMANCE.md has its result. */
const KILLS = Number(process.env['GUICHET_KILLS'] ?? 10)
const EARLY_ACKNOWLEDGEMENT = join(import.meta.dirname, '../support/early-acknowledgement.ts')

let pipeline: KilledPipeline | undefined
afterEach(async () => {
  await pipeline?.close()
  pipeline = undefined
})

describe('a pipeline whose processes are killed under load', () => {
  test(
    'every acknowledged event becomes one alert and one webhook, and every stored attempt has happened',
    { timeout: 300_000 + KILLS * 30_000 },
    async () => {
      const { kill, underLoad, evidence } = (pipeline = await startKilledPipeline())
      await underLoad(async () => {
        // Both at least once.
        for (let index = 0; index < KILLS; index++)
          await kill(index === 0 ? 'worker' : index === 1 || randomInt(2) === 0 ? 'gateway' : 'worker')
      })
      const found = await evidence()
      expect(found.acknowledged.length).toBeGreaterThan(KILLS)
      expect(findPipelineFaults(found)).toEqual([])
    },
  )

  test('a gateway that acknowledges events before it stores them loses some, and the same checks find them', async () => {
    const { kill, underLoad, evidence } = (pipeline = await startKilledPipeline({
      NODE_OPTIONS: `--import ${EARLY_ACKNOWLEDGEMENT}`,
    }))
    await underLoad(async () => {
      for (let index = 0; index < 2; index++) await kill('gateway')
    })
    const faults = findPipelineFaults(await evidence())
    expect(faults.length).toBeGreaterThan(0)
    expect(faults.filter((fault) => !fault.startsWith('lost: '))).toEqual([])
  })
})

describe('the checks of a killed pipeline', () => {
  const occurredAt = new Date('2026-11-27T10:00:00Z')
  const attemptedAt = new Date('2026-11-27T11:00:00.500Z')
  const sentAtSeconds = Math.floor(attemptedAt.getTime() / 1_000)
  const request = {
    endpointId: 'e1',
    webhookId: 'd1',
    sentAtSeconds,
    alertId: 'public-1',
    customerId: 'c1',
    sequence: 1,
    status: 204,
    worker: 1,
  }
  const good: PipelineEvidence = {
    acknowledged: [{ accountIds: ['a1'], occurredAt }],
    alerts: [{ id: 'alert-1', accountId: 'a1', occurredAt, ledgerCount: 1 }],
    deliveries: [{ id: 'd1', alertId: 'alert-1', endpointId: 'e1', status: 'DELIVERED' }],
    attempts: [{ deliveryId: 'd1', attemptedAt, httpStatus: 204, outcome: 'ACCEPTED' }],
    requests: [request],
    endpointByAccount: new Map([['a1', 'e1']]),
    lastWorker: 2,
  }

  test('a run in which everything fits together has no fault', () => {
    expect(findPipelineFaults(good)).toEqual([])
  })

  test('a request of a killed worker whose outcome was not stored is no fault', () => {
    expect(findPipelineFaults({ ...good, requests: [{ ...request, status: 503 }, request] })).toEqual([])
  })

  test.each<[string, Partial<PipelineEvidence>, string]>([
    ['a lost event', { alerts: [], deliveries: [], attempts: [], requests: [] }, 'lost: the event of a1'],
    [
      'a doubled event',
      { alerts: [good.alerts[0]!, { ...good.alerts[0]!, id: 'alert-2' }] },
      'doubled: the event of a1',
    ],
    ['a missing ledger entry', { alerts: [{ ...good.alerts[0]!, ledgerCount: 0 }] }, 'ledger: 0 entries'],
    ['a missing delivery', { deliveries: [] }, 'deliveries: alert-1 has deliveries to '],
    [
      'a delivery that failed',
      { deliveries: [{ ...good.deliveries[0]!, status: 'FAILED' }] },
      'deliveries: d1 is FAILED',
    ],
    ['a delivery that nobody received', { requests: [] }, 'deliveries: no endpoint has accepted d1'],
    ['a new ID', { requests: [request, { ...request, webhookId: 'd2' }] }, 'ids: d2 is not in the database'],
    [
      'an ID that changes',
      { requests: [request, { ...request, webhookId: 'd2' }] },
      'ids: alert public-1 at e1 came under several IDs',
    ],
    [
      'a gap in the sequence',
      { requests: [{ ...request, sequence: 2 }] },
      'sequence: 1 alerts of customer c1 at e1 have the numbers 2',
    ],
    [
      'a number that changes',
      { requests: [request, { ...request, sequence: 2, status: 503 }] },
      'sequence: 1 alerts of customer c1 at e1 have the numbers 1, 2',
    ],
    [
      'two alerts with one number',
      { requests: [request, { ...request, webhookId: 'd2', alertId: 'public-2' }] },
      'sequence: 2 alerts of customer c1 at e1 have the numbers 1',
    ],
    [
      'an attempt that never happened',
      { requests: [{ ...request, sentAtSeconds: sentAtSeconds + 1 }] },
      'attempts: ACCEPTED of d1',
    ],
    [
      'a second attempt that never happened',
      { attempts: [good.attempts[0]!, good.attempts[0]!] },
      'attempts: ACCEPTED of d1',
    ],
    [
      'a request of the last worker without an attempt',
      { requests: [request, { ...request, worker: 2 }] },
      'attempts: 1 requests for d1 of worker 2 are not stored',
    ],
    [
      'two requests of one killed worker without an attempt',
      { requests: [request, request, request] },
      'attempts: 2 requests for d1 of worker 1 are not stored',
    ],
  ])('the checks report %s in a run', (_fault, changes, expected) => {
    expect(findPipelineFaults({ ...good, ...changes }).join('\n')).toContain(expected)
  })
})
