import type { JSONWebKeySet } from 'jose'
import { HOUR_MS, MINUTE_MS, SECOND_MS, type Clock } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import type { OutboundHttp } from '../kernel/outbound-http.ts'
import { filterAcceptedKeys, toVerificationKeys } from '../kernel/public-keys.ts'
import { parseJson, skipByteOrderMark } from '../kernel/wire.ts'
import type { EventKeys } from './bank-event.ts'
import type { EventSender } from './event-rules.ts'
import { eventRejected } from './security-events.ts'
import { sendToBank } from './send-to-bank.ts'

const TIMEOUT_MS = 4_000
const MAX_BYTES = 262_144
const MAX_KEYS = 100
/** Published keys are used for this long, so that a key that the bank withdraws is refused after it. */
const KEYS_TTL_MS = HOUR_MS
/** Published keys of this age are fetched again while they are used, so that no event waits for a slow bank. */
const REFRESH_AGE_MS = 50 * MINUTE_MS
/**
 * Events of one connector that wait for a fetch. Each occupies a place among the events that the process stores, so that slow
 * addresses of keys must not get many.
 */
const MAX_WAITING = 4
/** Keys are fetched at most once in this interval. Anybody can send an event that names an unknown key. */
const FETCH_INTERVAL_MS = 30 * SECOND_MS

/** Keys that a registration states, in the form in which they verify signatures. */
interface StatedKeys {
  /** The keys of the registration as JSON. */
  readonly text: string
  readonly keys: JSONWebKeySet
}

/** Where a bank publishes its keys, and for which algorithm outside the policy they may be, too. */
interface KeySource {
  readonly url: string
  readonly furtherAlgorithm: string | undefined
}

/** What was fetched from one source. */
interface PublishedKeys {
  readonly source: KeySource
  fetched: { readonly keys: JSONWebKeySet; readonly atMs: number } | undefined
  requestedAtMs: number
  pending: Promise<void> | undefined
  waitingCount: number
}

/**
 * Creates the lookup for one bank. Keys of the registration are used as they are, and are the same object until they change, even
 * if the registration is loaded again. Published keys are fetched when they are first needed, once an hour, and when an event
 * names a key that is not among them, at most every 30 seconds: an event that would need them before is not rejected but fails
 * with `BANK_UNAVAILABLE`, so that no forged event can delay a rotation for good. If too many events wait for a fetch, further ones
 * fail so as well. Such a failure counts against the sender if there are keys, and the one that the event names is not among them.
 * Keys of another source are never used.
 */
export function createEventKeys(clock: Clock, getHttp: () => Promise<Pick<OutboundHttp, 'send'>>): EventKeys {
  let published: PublishedKeys | undefined
  let stated: StatedKeys | undefined

  /** If the registration names another source, its keys are fetched without a wait. */
  function publishedOf(source: KeySource): PublishedKeys {
    const { url, furtherAlgorithm } = published?.source ?? {}
    if (!published || url !== source.url || furtherAlgorithm !== source.furtherAlgorithm)
      published = { source, fetched: undefined, requestedAtMs: -Infinity, pending: undefined, waitingCount: 0 }
    return published
  }

  const waitMsOf = ({ requestedAtMs }: PublishedKeys): number =>
    requestedAtMs + FETCH_INTERVAL_MS - clock.now().getTime()

  const startRefresh = (current: PublishedKeys): Promise<void> =>
    (current.pending ??= refresh(current).finally(() => {
      current.pending = undefined
    }))

  async function awaitRefresh(current: PublishedKeys): Promise<void> {
    const waitMs = waitMsOf(current)
    if (!current.pending && waitMs > 0) throw keysUnavailable('the keys were fetched just before', waitMs)
    if (current.waitingCount >= MAX_WAITING) throw keysUnavailable('too many events wait for the keys', SECOND_MS)
    current.waitingCount++
    await startRefresh(current).finally(() => current.waitingCount--)
  }

  async function refresh(current: PublishedKeys): Promise<void> {
    const atMs = (current.requestedAtMs = clock.now().getTime())
    current.fetched = { keys: await fetchKeys(current.source, await getHttp()), atMs }
  }

  async function findPublished(source: KeySource, keyId: string): Promise<JSONWebKeySet> {
    const current = publishedOf(source)
    const hasKey = (): boolean => current.fetched?.keys.keys.some(({ kid }) => kid === keyId) ?? false
    const ageMs = current.fetched ? clock.now().getTime() - current.fetched.atMs : Infinity
    const isFresh = ageMs <= KEYS_TTL_MS
    if (!isFresh || !hasKey())
      await awaitRefresh(current).catch((error: unknown) => {
        throw isFresh ? countAgainstSender(error) : error
      })
    // Its failure costs nothing: the keys are used until they expire, and each event can start another one.
    else if (ageMs >= REFRESH_AGE_MS && !current.pending && waitMsOf(current) <= 0)
      startRefresh(current).catch(() => undefined)
    if (!current.fetched || !hasKey()) throw eventRejected('unknown key')
    return current.fetched.keys
  }

  function findStated(keys: NonNullable<EventSender['keys']>): JSONWebKeySet {
    const text = JSON.stringify(keys)
    if (stated?.text !== text) stated = { text, keys: toVerificationKeys(keys) }
    return stated.keys
  }

  return {
    find({ keys, keysUrl: url, acceptsRs256 }: EventSender, keyId) {
      if (keys) return Promise.resolve(findStated(keys))
      if (url === undefined || keyId === undefined) return Promise.reject(eventRejected('no key'))
      return findPublished({ url, furtherAlgorithm: acceptsRs256 ? 'RS256' : undefined }, keyId)
    },
  }
}

/** The accepted keys at `url`; keys for other purposes are left out. Throws if there is no key set. */
async function fetchKeys(
  { url, furtherAlgorithm }: KeySource,
  http: Pick<OutboundHttp, 'send'>,
): Promise<JSONWebKeySet> {
  const { status, text } = await sendToBank(http, {
    method: 'GET',
    url,
    headers: { accept: 'application/jwk-set+json, application/json' },
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_BYTES,
  })
  // Redirects are not followed, so that only the registered address can name the bank's keys.
  if (status !== 200) throw keysUnavailable(`the address of the keys returned ${status}`)
  const { keys } = (parseJson(skipByteOrderMark(text)) ?? {}) as { keys?: unknown }
  if (!Array.isArray(keys) || keys.length > MAX_KEYS) throw keysUnavailable('the address of the keys returned none')
  return toVerificationKeys({ keys: filterAcceptedKeys(keys, furtherAlgorithm) as Record<string, unknown>[] })
}

const keysUnavailable = (internalMessage: string, waitMs = FETCH_INTERVAL_MS): GatewayError =>
  new GatewayError('BANK_UNAVAILABLE', { internalMessage, retryAfterSeconds: Math.ceil(waitMs / SECOND_MS) })

/** Anybody can name an unknown key. */
function countAgainstSender(error: unknown): unknown {
  if (!(error instanceof GatewayError)) return error
  const { code, internalMessage, retryAfterSeconds, failureCause } = error
  return new GatewayError(code, {
    ...(internalMessage !== undefined && { internalMessage }),
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    ...(failureCause && { failureCause }),
    cause: error,
    countsAgainstSender: true,
  })
}
