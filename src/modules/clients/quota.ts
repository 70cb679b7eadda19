import { networkOf } from '../../kernel/addresses.ts'
import { createCache } from '../../kernel/cache.ts'
import { later, MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { Caller } from '../../kernel/request.ts'
import type { World } from '../../kernel/world.ts'
import type { QuotaStore } from './store.ts'
import type { Usage } from './usage.ts'

/** What is left of a minute's points. */
export interface Left {
  readonly limit: number
  readonly remaining: number
  /** ISO 8601. */
  readonly resetsAt: string
}

/** Points that were taken for a request. */
export interface Charge {
  /** Takes further points for the same request, at once where this process holds enough. Throws `RATE_LIMITED`. */
  add(points: number): undefined | Promise<undefined>
  /** Counts the request as one whose answer has an error; once, however often it is told. */
  fail(): void
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

/** What clients and customers have spent, in this process; one that is displaced loses what it held of its minute. */
const PURSES = { maxBytes: 8_388_608, bytesOf: () => 320 }
/** Addresses that are counted one by one in a minute, with 400 bytes each; those beyond share what one may spend. */
const MAX_ADDRESSES = 10_000
const OTHER_ADDRESSES = 'address:others'
/** How many times a minute's points are fetched from the common table, at most, by one process. */
const PORTIONS = 20
/** Without a token: for each IPv4 address or IPv6 network of 64 bits, in each process. */
const ANONYMOUS_PER_MINUTE = 3_000
const KEPT_MINUTES = 5

/**
 * Points are counted by the minute in one table for all processes. A process takes a portion at a time and spends it
 * from memory, so that most requests cost no statement and the limit is never exceeded.
 */
export function createQuotas(store: QuotaStore, { clock }: Pick<World, 'clock'>, usage: Pick<Usage, 'note'>): Quotas {
  const purses = createCache<Purse>(PURSES)
  /** Of one minute. None is displaced within it: whoever was would begin anew. */
  const addresses = new Map<string, Purse>()
  let addressesMs = 0

  const currentMinuteMs = (): number => Math.floor(clock.now().getTime() / MINUTE_MS) * MINUTE_MS

  const newPurse = (subject: string, minuteMs: number, limit: number, held: number): Purse => ({
    subject,
    minuteMs,
    limit,
    held,
    beyond: limit - held,
    resetsAt: new Date(minuteMs + MINUTE_MS).toISOString(),
    filling: undefined,
  })

  function purseOf(subject: string, limit: number): Purse {
    const minuteMs = currentMinuteMs()
    let purse = purses.get(subject)
    if (purse?.minuteMs !== minuteMs || purse.limit !== limit)
      purses.set(subject, (purse = newPurse(subject, minuteMs, limit, 0)))
    return purse
  }

  function purseOfAddress(address: string): Purse {
    const minuteMs = currentMinuteMs()
    if (minuteMs !== addressesMs) addresses.clear()
    addressesMs = minuteMs
    const own = `address:${networkOf(address)}`
    const subject = addresses.has(own) || addresses.size < MAX_ADDRESSES ? own : OTHER_ADDRESSES
    let purse = addresses.get(subject)
    if (!purse)
      addresses.set(subject, (purse = newPurse(subject, minuteMs, ANONYMOUS_PER_MINUTE, ANONYMOUS_PER_MINUTE)))
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

  /** From the client's and the customer's, or from neither. */
  function takeBoth(first: Purse, second: Purse | undefined, points: number): undefined | Promise<undefined> {
    const took = take(first, points)
    if (!took && !second) return undefined
    if (!took && second!.held >= points) return take(second!, points)
    return (async () => {
      await took
      try {
        if (second) await take(second, points)
      } catch (error) {
        first.held += points
        throw error
      }
      return undefined
    })()
  }

  function chargeOf(caller: Caller, points: number, purses: readonly [Purse, ...Purse[]]): Charge {
    const note: Usage['note'] = (id, counted) => {
      if (caller.kind !== 'ANONYMOUS') usage.note(id, counted)
    }
    const clientId = caller.kind === 'ANONYMOUS' ? '' : caller.clientId
    let hasFailed = false
    note(clientId, { requests: 1, points })
    const taken = (more: number): undefined => {
      note(clientId, { points: more })
      return undefined
    }
    return {
      add(more) {
        if (more <= 0) return undefined
        const took = takeBoth(purses[0], purses[1], more)
        return took ? took.then(() => taken(more)) : void taken(more)
      },
      fail() {
        if (!hasFailed) note(clientId, { errors: 1 })
        hasFailed = true
      },
      refund(unused) {
        for (const purse of purses) purse.held += unused
        note(clientId, { points: -unused })
      },
      left: () => leftOf(purses[0]),
    }
  }

  /** A request that found nothing left was a request, too. */
  function refused(caller: Caller, error: unknown): never {
    if (caller.kind !== 'ANONYMOUS') usage.note(caller.clientId, { requests: 1, errors: 1 })
    throw error
  }

  function pursesOf(caller: Caller): [Purse, Purse | undefined] {
    if (caller.kind === 'ANONYMOUS') return [purseOfAddress(caller.address), undefined]
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
      const took = takeBoth(first, second, points)
      const charge = (): Charge => chargeOf(caller, points, second ? [first, second] : [first])
      return took ? took.then(charge, (error: unknown) => refused(caller, error)) : charge()
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
