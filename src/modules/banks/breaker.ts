import type { BankInterface } from '../../connectors/index.ts'
import { createCache, type Cache } from '../../kernel/cache.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { startDeadline, type Deadline } from '../../kernel/deadline.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import type { World } from '../../kernel/world.ts'
import { isTroubleOfTheBank } from './model.ts'

/** A bank behind its breakers. */
export interface ProtectedBank extends BankInterface {
  /** How long a read takes at most, in milliseconds. */
  readonly deadlineMs: number
}

/** Keeps one bank's bad day from being anybody else's. */
export interface Breakers {
  /** The same interface, with deadlines, a bounded number of calls at once, and no calls at all while they are of no use. */
  protect(connectorId: string, bank: BankInterface, deadlineMs: number): ProtectedBank
}

/**
 * So many failures of one kind of call in a row open its breaker: when nobody answers at all; or, where the bank answers
 * with an error, when it does so about several accounts, for one account's trouble is not the bank's.
 */
const FAILURES_TO_OPEN = 5
const ACCOUNTS_TO_OPEN = 3
const OPEN_MS = { first: 5 * SECOND_MS, most: 120 * SECOND_MS }
/** Calls at once, per bank, process and kind: grows by one for each full round that went well, halves with each timeout. */
const AT_ONCE = { first: 24, least: 2, most: 64 }
const MAX_WAITING = 500
/** Of each bank's accounts that are spent for the day. */
const SPENT_BYTES = 2_097_152
/** A read that broke off early is tried once more. */
const RETRY = { withinMs: 400, waitMs: 60 }

/** Reads may be made again and are wanted at once; the others change something, or have a person waiting at the bank. */
const READS: ReadonlySet<keyof BankInterface> = new Set(['accounts', 'balances', 'bulkBalances'])
const CHANGES_DEADLINE_MS = 10 * SECOND_MS

interface Circuit {
  failures: number
  /** Failures in which nobody answered. */
  silences: number
  /** What the failures were about. */
  readonly about: Set<string>
  isOpen: boolean
  openUntilMs: number
  openForMs: number
  probing: boolean
}

interface Room {
  readonly waiting: (() => void)[]
  limit: number
  running: number
}

interface Lane {
  readonly circuits: Map<keyof BankInterface, Circuit>
  /** Each kind of call has room of its own: where sign-ins stand still, balances are still told, and the other way round. */
  readonly reads: Room
  readonly changes: Room
  /** The bank said that it wants no calls before this. */
  pausedUntilMs: number
  /** What the bank answers no more until then while the customer is away: its own count, not its health. */
  readonly spentUntilMs: Cache<number>
}

/** What a call is about: the account or the consent, and whether the customer is there. */
interface About {
  readonly id: string
  readonly attended: boolean
}

/** One lane for each connector: what fills up or stands still in one is not felt in another. */
export function createBreakers({ clock, randomness }: Pick<World, 'clock' | 'randomness'>): Breakers {
  const lanes = new Map<string, Lane>()
  const nowMs = (): number => clock.now().getTime()
  const jitter = (ms: number): number => ms * (0.8 + 0.4 * (randomness.bytes(1)[0]! / 255))

  function laneOf(connectorId: string): Lane {
    let lane = lanes.get(connectorId)
    if (!lane) {
      lane = {
        circuits: new Map(),
        reads: { waiting: [], limit: AT_ONCE.first, running: 0 },
        changes: { waiting: [], limit: AT_ONCE.first, running: 0 },
        pausedUntilMs: 0,
        spentUntilMs: createCache({ maxBytes: SPENT_BYTES, bytesOf: () => 8 }),
      }
      lanes.set(connectorId, lane)
    }
    return lane
  }

  function circuitOf(lane: Lane, operation: keyof BankInterface): Circuit {
    let circuit = lane.circuits.get(operation)
    if (!circuit) {
      circuit = {
        failures: 0,
        silences: 0,
        about: new Set(),
        isOpen: false,
        openUntilMs: 0,
        openForMs: OPEN_MS.first,
        probing: false,
      }
      lane.circuits.set(operation, circuit)
    }
    return circuit
  }

  /** Throws where a call is of no use now. */
  function admit(lane: Lane, circuit: Circuit, { id, attended }: About): void {
    const at = nowMs()
    const spentMs = attended ? 0 : (lane.spentUntilMs.get(id) ?? 0) - at
    if (spentMs > 0) throw new GatewayError('BANK_QUOTA_EXHAUSTED', { retryAfterS: Math.ceil(spentMs / SECOND_MS) })
    if (lane.pausedUntilMs > at)
      throw new GatewayError('BANK_RATE_LIMITED', { retryAfterS: Math.ceil((lane.pausedUntilMs - at) / SECOND_MS) })
    if (!circuit.isOpen) return
    // Once its time is over, one call finds out for all.
    if (circuit.openUntilMs > at || circuit.probing)
      throw new GatewayError('BANK_UNAVAILABLE', {
        internal: 'breaker open',
        retryAfterS: Math.max(1, Math.ceil((circuit.openUntilMs - at) / SECOND_MS)),
      })
    circuit.probing = true
  }

  function succeeded(room: Room, circuit: Circuit): void {
    room.limit = Math.min(AT_ONCE.most, room.limit + 1 / room.limit)
    circuit.about.clear()
    Object.assign(circuit, {
      failures: 0,
      silences: 0,
      isOpen: false,
      openUntilMs: 0,
      openForMs: OPEN_MS.first,
      probing: false,
    })
  }

  function failed(lane: Lane, room: Room, circuit: Circuit, { id, attended }: About, thrown: unknown): void {
    const error = asGatewayError(thrown)
    circuit.probing = false
    if (error.code === 'BANK_RATE_LIMITED') {
      lane.pausedUntilMs = nowMs() + (error.retryAfterS ?? 30) * SECOND_MS
      return
    }
    if (error.code === 'BANK_QUOTA_EXHAUSTED' && !attended) {
      lane.spentUntilMs.set(id, nowMs() + (error.retryAfterS ?? 3_600) * SECOND_MS)
    }
    // What the bank answers, be it a no, shows that it is there.
    if (!isTroubleOfTheBank(error)) return void succeeded(room, circuit)
    if (error.code === 'BANK_TIMEOUT') room.limit = Math.max(AT_ONCE.least, room.limit / 2)
    circuit.failures++
    if (error.code === 'BANK_TIMEOUT' || error.cause !== undefined) circuit.silences++
    if (circuit.about.size < ACCOUNTS_TO_OPEN) circuit.about.add(id)
    const isBanks = circuit.silences >= FAILURES_TO_OPEN || circuit.about.size >= ACCOUNTS_TO_OPEN
    if (!circuit.isOpen && (circuit.failures < FAILURES_TO_OPEN || !isBanks)) return
    circuit.isOpen = true
    circuit.openUntilMs = nowMs() + jitter(circuit.openForMs)
    circuit.openForMs = Math.min(OPEN_MS.most, circuit.openForMs * 2)
  }

  /** Waits for room, for no longer than the deadline. */
  async function enter(room: Room, deadline: Deadline): Promise<void> {
    if (room.running >= Math.floor(room.limit)) {
      if (room.waiting.length >= MAX_WAITING) throw new GatewayError('BANK_UNAVAILABLE', { internal: 'bank is full' })
      let turn: () => void = () => undefined
      const free = new Promise<void>((resolve) => room.waiting.push((turn = resolve)))
      try {
        await deadline.race(free)
      } catch (error) {
        const index = room.waiting.indexOf(turn)
        if (index >= 0) room.waiting.splice(index, 1)
        // The turn came in the same moment: it is the next one's.
        else room.waiting.shift()?.()
        throw error
      }
    }
    room.running++
  }

  function leave(room: Room): void {
    room.running--
    if (room.running < Math.floor(room.limit)) room.waiting.shift()?.()
  }

  async function call<T>(
    lane: Lane,
    operation: keyof BankInterface,
    deadlineMs: number,
    about: About,
    work: () => Promise<T>,
  ): Promise<T> {
    const isRead = READS.has(operation)
    const room = isRead ? lane.reads : lane.changes
    const circuit = circuitOf(lane, operation)
    admit(lane, circuit, about)
    let deadline = startDeadline(deadlineMs)
    try {
      await enter(room, deadline)
      try {
        if (!isRead) {
          // What changes something has all its time once it begins: cut off, its answer would be lost.
          deadline.stop()
          deadline = startDeadline(deadlineMs)
        }
        const answer = await deadline.race(isRead ? retried(work, deadline) : work())
        succeeded(room, circuit)
        return answer
      } finally {
        leave(room)
      }
    } catch (error) {
      failed(lane, room, circuit, about, error)
      throw error
    } finally {
      deadline.stop()
    }
  }

  async function retried<T>(work: () => Promise<T>, deadline: Deadline): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (asGatewayError(error).code !== 'BANK_UNAVAILABLE' || deadline.elapsedMs() > RETRY.withinMs) throw error
      await new Promise((resolve) => setTimeout(resolve, jitter(RETRY.waitMs)))
      return work()
    }
  }

  return {
    protect(connectorId, bank, deadlineMs) {
      const lane = laneOf(connectorId)
      const change = <T>(operation: keyof BankInterface, id: string, work: () => Promise<T>) =>
        call(lane, operation, CHANGES_DEADLINE_MS, { id, attended: true }, work)
      const read = <T>(operation: keyof BankInterface, id: string, customer: unknown, work: () => Promise<T>) =>
        call(lane, operation, deadlineMs, { id, attended: customer !== null }, work)
      const { bulkBalances, collectEvents, hasEnded } = bank
      return {
        deadlineMs,
        requestConsent: (request) => change('requestConsent', request.state, () => bank.requestConsent(request)),
        completeSignIn: (url, resume) => change('completeSignIn', resume.state, () => bank.completeSignIn(url, resume)),
        refresh: (access) => change('refresh', access.consentRef, () => bank.refresh(access)),
        collectEvents:
          collectEvents && ((settled) => change('collectEvents', connectorId, () => collectEvents(settled))),
        hasEnded: hasEnded && ((ref) => change('hasEnded', ref, () => hasEnded(ref))),
        revokeConsent: (ref) => change('revokeConsent', ref, () => bank.revokeConsent(ref)),
        accounts: (access, customer) =>
          read('accounts', access.consentRef, customer, () => bank.accounts(access, customer)),
        balances: (access, ref, customer) =>
          read('balances', ref, customer, () => bank.balances(access, ref, customer)),
        bulkBalances:
          bulkBalances &&
          ((access, refs, customer) =>
            read('bulkBalances', access.consentRef, customer, () => bulkBalances(access, refs, customer))),
      }
    },
  }
}
