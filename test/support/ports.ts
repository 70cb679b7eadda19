import { connect, createServer } from 'node:net'

/**
 * Each test worker has ports of its own, below those that the system gives out by itself, so that between finding one
 * free and listening on it nobody else takes it.
 */
const RANGE = 2_500
/** As many as `maxWorkers` can be. */
const WORKERS = 8
const FIRST = 10_000 + (Number(process.env['VITEST_POOL_ID'] ?? 0) % WORKERS) * RANGE
let next = Math.floor(Math.random() * RANGE)

/** A port that is free now, the first of `count` that are. */
export async function freePort(count = 1): Promise<number> {
  for (let tries = 0; tries < RANGE; tries++) {
    next = next + count >= RANGE ? 0 : next
    const port = FIRST + next
    next += count
    const free = await Promise.all(Array.from({ length: count }, (_, offset) => isFree(port + offset)))
    if (free.every(Boolean)) return port
  }
  throw new Error('no port is free')
}

/** Whether nobody listens on this port of loopback. */
export const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })

/** Whether somebody listens on this port of loopback. */
export const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(port, '127.0.0.1')
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
