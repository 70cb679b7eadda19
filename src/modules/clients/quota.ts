import { later, MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { Caller } from '../../kernel/request.ts'
import type { World } from '../../kernel/world.ts'
import type { QuotaStore } from './store.ts'

/** What is left of a minute's points. */
export interface Left {
  readonly limit: number
  readonly remaining: number
  /** ISO 8601. */
  readonly resetsAt: string
}

/** Points that were taken for a request. */
export interface Charge {
  /** Gives back what was not used; a negative number takes what was used beyond. */
  refund(points: number): void
  left(): Left
}

/** Everybody's points. */
export interface Quotas {
  /** Takes points from the caller's client and customer, at once where this process holds enough. Throws `RATE_LIMITED`. */
  charge(caller: Caller, points: number): Charge | Promise<Charge>
  /** What the caller has left. */
  leftOf(caller: Caller): Promise<{ client: Left; customer: Left | undefined }>
  /** Forgets the minutes that are over; returns how many rows. */
  sweep(): Promise<number>
}

interface Purse {
  readonly subject: string
  readonly minuteMs: number
  readonly limit: number
  /** Taken from the minute for this process, and not spent yet. */
  held: number
  /** What the minute has left beyond that, when it was last asked. */
  beyond: number
  resetsAt: string
  /** The portion that is on its way, for all who wait for one. */
  filling: Promise<void> | undefined
}

const MAX_PURSES = 20_000
/** How many times a minute's points are fetched from the common table, at most, by one process. */
const PORTIONS = 20
/** Without a token: for each address, in each process. */
const ANONYMOUS_PER_MINUTE = 3_000
const KEPT_MINUTES = 5

/**
 * Points are counted by the minute in one table for all processes. A process takes a portion at a time and spends it
 * from memory, so that most requests cost no statement and the limit is never exceeded.
 */
export function createQuotas(store: QuotaStore, { clock }: Pick<World, 'clock'>): Quotas {
  const purses = new Map<string, Purse>()

  function purseOf(subject: string, limit: number): Purse {
    const minuteMs = Math.floor(clock.now().getTime() / MINUTE_MS) * MINUTE_MS
    let purse = purses.get(subject)
    if (purse?.minuteMs !== minuteMs || purse.limit !== limit) {
      const local = subject.startsWith('address:')
      purse = {
        subject,
        minuteMs,
        limit,
        held: local ? limit : 0,
        beyond: local ? 0 : limit,
        resetsAt: new Date(minuteMs + MINUTE_MS).toISOString(),
        filling: undefined,
      }
      purses.delete(subject)
      purses.set(subject, purse)
      if (purses.size > MAX_PURSES) purses.delete(purses.keys().next().value!)
    }
    return purse
  }

  async function fill(purse: Purse, points: number): Promise<void> {
    const minute = new Date(purse.minuteMs)
    const portion = Math.max(points, Math.ceil(purse.limit / PORTIONS))
    for (const wanted of portion > points ? [portion, points] : [points]) {
      const spent = purse.subject.startsWith('address:')
        ? undefined
        : await store.take(purse.subject, minute, wanted, purse.limit)
      if (spent === undefined) continue
      purse.held += wanted
      purse.beyond = purse.limit - spent
      return
    }
    purse.beyond = 0
    const retryAfterS = Math.max(1, Math.ceil((purse.minuteMs + MINUTE_MS - clock.now().getTime()) / 1_000))
    throw new GatewayError('RATE_LIMITED', { retryAfterS })
  }

  function take(purse: Purse, points: number): undefined | Promise<undefined> {
    if (purse.held >= points) {
      purse.held -= points
      return undefined
    }
    purse.filling ??= fill(purse, points - purse.held).finally(() => (purse.filling = undefined))
    return purse.filling.then(() => take(purse, points))
  }

  const chargeOf = (purses: readonly Purse[]): Charge => ({
    refund(points) {
      for (const purse of purses) purse.held += points
    },
    left: () => leftOf(purses[0]!),
  })

  function pursesOf(caller: Caller): [Purse, Purse | undefined] {
    if (caller.kind === 'ANONYMOUS') return [purseOf(`address:${caller.address}`, ANONYMOUS_PER_MINUTE), undefined]
    return [
      purseOf(`client:${caller.clientId}`, caller.quota.perMinute),
      caller.kind === 'CUSTOMER'
        ? purseOf(`customer:${caller.clientId}/${caller.customerId}`, caller.quota.perCustomer)
        : undefined,
    ]
  }

  return {
    charge(caller, points) {
      const [first, second] = pursesOf(caller)
      const took = take(first, points)
      if (!second && !took) return chargeOf([first])
      if (!took && second!.held >= points) {
        second!.held -= points
        return chargeOf([first, second!])
      }
      return (async () => {
        await took
        try {
          if (second) await take(second, points)
        } catch (error) {
          first.held += points
          throw error
        }
        return chargeOf(second ? [first, second] : [first])
      })()
    },

    async leftOf(caller) {
      const [first, second] = pursesOf(caller)
      for (const purse of second ? [first, second] : [first])
        if (!purse.subject.startsWith('address:'))
          purse.beyond = purse.limit - (await store.spent(purse.subject, new Date(purse.minuteMs)))
      return { client: leftOf(first), customer: second && leftOf(second) }
    },

    sweep: () => store.sweep(later(clock.now(), -KEPT_MINUTES * MINUTE_MS)),
  }
}

const leftOf = ({ limit, held, beyond, resetsAt }: Purse): Left => ({
  limit,
  remaining: Math.max(0, Math.min(limit, held + beyond)),
  resetsAt,
})
