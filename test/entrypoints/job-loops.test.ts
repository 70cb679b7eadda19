import { expect, test } from 'vitest'
import { createJobLoops, type Job } from '../../src/entrypoints/job-loops.ts'
import { createLog } from '../../src/kernel/log.ts'
import { RETRIES } from '../../src/kernel/retry.ts'
import { createFakeTime } from '../support/fake-time.ts'

const IDLE_MS = RETRIES.workerIdle.delaysMs[0]

type Name = 'FIRST' | 'SECOND'

/** Starts loops on a fake clock; `rounds` gets the name of each round as it starts. */
function startLoops(run: Job<Name>['run'] = () => Promise.resolve(false), spacingMs = 0) {
  const time = createFakeTime()
  const rounds: Name[] = []
  const lines: string[] = []
  const log = createLog('error', time.clock.now, (line) => void lines.push(line))
  const job = (name: Name, failureEvent: Job<Name>['failureEvent'], runRound: Job<Name>['run']): Job<Name> => ({
    name,
    failureEvent,
    spacingMs,
    run(wake) {
      rounds.push(name)
      return runRound(wake)
    },
  })
  const loops = createJobLoops(
    [
      job('FIRST', 'worker.outbox_failed', run),
      job('SECOND', 'worker.deliveries_failed', () => Promise.resolve(false)),
    ],
    { timers: time.timers, log },
  )
  loops.start()
  return { time, rounds, lines, loops }
}

test('a job without more work runs again after the idle time, or as soon as it is woken', async () => {
  const { time, rounds, loops } = startLoops()
  await time.advance(IDLE_MS - 1)
  expect(rounds).toEqual(['FIRST', 'SECOND'])
  loops.wake('SECOND')
  await time.advance(0)
  expect(rounds).toEqual(['FIRST', 'SECOND', 'SECOND'])
  await time.advance(1)
  expect(rounds).toEqual(['FIRST', 'SECOND', 'SECOND', 'FIRST'])
})

test('a job with more work runs again immediately, and can wake another', async () => {
  let roundsLeft = 3
  const { time, rounds } = startLoops((wake) => {
    wake('SECOND')
    return Promise.resolve(--roundsLeft > 0)
  })
  await time.advance(0)
  expect(rounds.filter((name) => name === 'FIRST')).toHaveLength(3)
  expect(rounds.filter((name) => name === 'SECOND').length).toBeGreaterThan(1)
})

test('a job that is woken during a round runs again right after it', async () => {
  const first = Promise.withResolvers<boolean>()
  let roundCount = 0
  const { time, rounds, loops } = startLoops(() => (++roundCount === 1 ? first.promise : Promise.resolve(false)))
  await time.advance(0)
  loops.wake('FIRST')
  expect(rounds).toEqual(['FIRST', 'SECOND'])
  first.resolve(false)
  await time.advance(0)
  expect(rounds).toEqual(['FIRST', 'SECOND', 'FIRST'])
})

test('a job with a spacing starts immediately when it is woken, and at most once in that time', async () => {
  const { time, rounds, loops } = startLoops(undefined, 10)
  await time.advance(10)
  rounds.length = 0
  loops.wake('FIRST')
  await time.advance(0)
  expect(rounds).toEqual(['FIRST'])
  for (let wake = 0; wake < 9; wake++) {
    loops.wake('FIRST')
    await time.advance(1)
  }
  expect(rounds).toEqual(['FIRST'])
  await time.advance(1)
  expect(rounds).toEqual(['FIRST', 'FIRST'])
})

test('a round that fails is logged with the event of its job, and the job continues', async () => {
  const { time, rounds, lines } = startLoops(() => Promise.reject(new Error('refused')))
  await time.advance(IDLE_MS)
  expect(rounds.filter((name) => name === 'FIRST')).toHaveLength(2)
  expect(lines.filter((line) => line.includes('worker.outbox_failed'))).toHaveLength(2)
})

test('stopping waits for the round in progress and starts no other', async () => {
  const round = Promise.withResolvers<boolean>()
  const { time, rounds, loops } = startLoops(() => round.promise)
  await time.advance(0)
  let hasStopped = false
  const stopping = loops.stop().then(() => (hasStopped = true))
  await time.advance(IDLE_MS)
  expect(hasStopped).toBe(false)
  round.resolve(true)
  await stopping
  expect(rounds).toEqual(['FIRST', 'SECOND'])
})
