import { constants, setPriority } from 'node:os'
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

/** What the gateway accepts of an address of a bank: `LIMIT` of src/entrypoints/bank-events/sender-limit.ts. */
const LIMIT_PER_SECOND = 50
const FLOOD_PER_SECOND = 10 * LIMIT_PER_SECOND
const QUIET_PER_SECOND = 20
const ROUND_SECONDS = 10
const ROUNDS = 8
/** After each round, so that the bank that floods has its burst again. */
const PAUSE_MS = 3_000

interface Samples {
  readonly intakeMs: number[]
  readonly deliveryMs: number[]
}

/** What the bank with few alerts has beside it: nobody, a bank that sends as much as it may, and one that sends ten times as much. */
const NEIGHBOURS = { alone: 0, atLimit: LIMIT_PER_SECOND, flood: FLOOD_PER_SECOND } as const
type Neighbour = keyof typeof NEIGHBOURS
const NEIGHBOUR_NAMES = Object.keys(NEIGHBOURS) as Neighbour[]

/**
 * One bank sends 20 alerts a second, in turns alone, beside another bank that sends at its limit, and beside one that sends ten
 * times its limit. The difference of the last two is what the excess of the flood costs; the rest are alerts that are due.
 */
export async function measureFairness(rig: AlertRig): Promise<void> {
  const { environment, print } = rig
  const children: Child[] = []
  async function startLoad(bankIndex: number): Promise<Child> {
    const child = startChild(join(import.meta.dirname, 'bank-load.ts'))
    children.push(child)
    await callLoad(child, { kind: 'senders', senders: [environment.senders[bankIndex]!], addressCount: 1 })
    return child
  }
  const [flooding, quiet] = [await startLoad(0), await startLoad(1)]
  // A bank has processors of its own.
  setPriority(flooding.pid, constants.priority.PRIORITY_LOW)
  const samples: Record<Neighbour, Samples> = {
    alone: { intakeMs: [], deliveryMs: [] },
    atLimit: { intakeMs: [], deliveryMs: [] },
    flood: { intakeMs: [], deliveryMs: [] },
  }
  let floodStatuses = ''
  try {
    for (let round = 0; round < ROUNDS; round++)
      for (const name of NEIGHBOUR_NAMES) {
        const { result, flood } = await runRound(rig, quiet, flooding, NEIGHBOURS[name])
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
    `\na bank with ${QUIET_PER_SECOND}/s: alone, beside one that sends ${LIMIT_PER_SECOND}/s, and beside one that sends ${FLOOD_PER_SECOND}/s (last round ${floodStatuses})`,
  )
  for (const [title, key] of [
    ['response', 'intakeMs'],
    ['202 to webhook', 'deliveryMs'],
  ] as const) {
    const percentiles = (share: number): string =>
      NEIGHBOUR_NAMES.map((name) => shortMs(percentile(samples[name][key], share))).join(', ')
    print(
      `  ${title}: p50 ${percentiles(0.5)}; p99 ${percentiles(0.99)}` +
        (key === 'intakeMs' ? ' (bar: 10 % or 5 ms more)' : ''),
    )
  }
}

async function runRound(
  rig: AlertRig,
  quiet: Child,
  neighbour: Child,
  perSecond: number,
): Promise<{ result: LoadResult; flood: LoadResult | undefined }> {
  await callLoad(quiet, { kind: 'sign', count: QUIET_PER_SECOND * ROUND_SECONDS, severity: 'URGENT' })
  const isAlone = perSecond === 0
  if (!isAlone) await callLoad(neighbour, { kind: 'sign', count: perSecond * (ROUND_SECONDS + 2), severity: 'URGENT' })
  await callReceiver(rig.receiver, { kind: 'take' })
  const flood = isAlone ? undefined : callLoad<LoadResult>(neighbour, { kind: 'send', perSecond })
  // The neighbour begins a second earlier and ends a second later.
  await sleep(1_000)
  const result = await callLoad<LoadResult>(quiet, { kind: 'send', perSecond: QUIET_PER_SECOND })
  const ended = await flood
  await waitForWebhooks(rig, countAccepted(result) + (ended ? countAccepted(ended) : 0))
  return { result, flood: ended }
}
