import { join } from 'node:path'
import {
  callLoad,
  callReceiver,
  countAccepted,
  deliveryDelaysOf,
  describeStatuses,
  latenciesOf,
  percentile,
  shortMs,
  sleep,
  waitForWebhooks,
  type AlertRig,
} from './alert-rig.ts'
import type { LoadResult } from './bank-load.ts'
import { startChild, type Child } from './child.ts'
import type { Arrivals } from './webhook-receiver.ts'

/** What the gateway accepts of one bank: `LIMIT` of src/entrypoints/bank-events/sender-limit.ts. */
const LIMIT_PER_SECOND = 300
const FLOOD_PER_SECOND = 10 * LIMIT_PER_SECOND
const QUIET_PER_SECOND = 20
const ROUND_SECONDS = 10
const ROUNDS = 5
/** After each round, so that the bank that floods has its burst again. */
const PAUSE_MS = 3_000

interface Samples {
  readonly intakeMs: number[]
  readonly deliveryMs: number[]
}

/** One bank sends 20 alerts a second, in turns alone and beside another bank that sends ten times its limit. */
export async function measureFairness(rig: AlertRig): Promise<void> {
  const { environment, print } = rig
  const children: Child[] = []
  async function startLoad(bankIndex: number): Promise<Child> {
    const child = startChild(join(import.meta.dirname, 'bank-load.ts'))
    children.push(child)
    await callLoad(child, { kind: 'senders', senders: [environment.senders[bankIndex]!] })
    return child
  }
  const [flooding, quiet] = [await startLoad(0), await startLoad(1)]
  const samples: Record<'alone' | 'beside', Samples> = {
    alone: { intakeMs: [], deliveryMs: [] },
    beside: { intakeMs: [], deliveryMs: [] },
  }
  let floodStatuses = ''
  try {
    for (let round = 0; round < ROUNDS; round++)
      for (const name of ['alone', 'beside'] as const) {
        const { result, flood } = await runRound(rig, quiet, name === 'beside' ? flooding : undefined)
        samples[name].intakeMs.push(...latenciesOf(result))
        samples[name].deliveryMs.push(
          ...(await deliveryDelaysOf(rig, result, await callReceiver<Arrivals>(rig.receiver, { kind: 'take' }))),
        )
        if (flood) floodStatuses = describeStatuses(flood)
        await sleep(PAUSE_MS)
      }
  } finally {
    for (const child of children) child.stop()
  }
  print(
    `\na bank with ${QUIET_PER_SECOND}/s, alone and beside one that sends ${FLOOD_PER_SECOND}/s (last round ${floodStatuses})`,
  )
  for (const [title, key] of [
    ['response', 'intakeMs'],
    ['202 to webhook', 'deliveryMs'],
  ] as const) {
    const [alone, beside] = [samples.alone[key], samples.beside[key]]
    print(
      `  ${title}: p50 ${shortMs(percentile(alone, 0.5))}, ${shortMs(percentile(beside, 0.5))}; p99 ${shortMs(percentile(alone, 0.99))}, ${shortMs(percentile(beside, 0.99))}` +
        (key === 'intakeMs' ? ' (bar: 10 % or 5 ms more)' : ''),
    )
  }
}

async function runRound(
  rig: AlertRig,
  quiet: Child,
  flooding: Child | undefined,
): Promise<{ result: LoadResult; flood: LoadResult | undefined }> {
  await callLoad(quiet, { kind: 'sign', count: QUIET_PER_SECOND * ROUND_SECONDS, severity: 'URGENT' })
  if (flooding)
    await callLoad(flooding, { kind: 'sign', count: FLOOD_PER_SECOND * (ROUND_SECONDS + 2), severity: 'URGENT' })
  await callReceiver(rig.receiver, { kind: 'take' })
  const flood = flooding && callLoad<LoadResult>(flooding, { kind: 'send', perSecond: FLOOD_PER_SECOND })
  // The flood begins a second earlier and ends a second later.
  await sleep(1_000)
  const result = await callLoad<LoadResult>(quiet, { kind: 'send', perSecond: QUIET_PER_SECOND })
  const ended = await flood
  await waitForWebhooks(rig, countAccepted(result) + (ended ? countAccepted(ended) : 0))
  return { result, flood: ended }
}
