// Pushes alerts for `npm run bench -- --alerts` in a process of its own, as banks do. All events are signed before the first is sent.
import { createPrivateKey, randomUUID, sign, type JsonWebKeyInput, type KeyObject } from 'node:crypto'
import { Pool } from 'undici'
import { nowMs, serveCommands } from './child.ts'

/** A bank that sends events: its issuer and key, the gateway's address for its events, and its accounts. */
export interface EventSender {
  readonly issuer: string
  readonly eventsUrl: string
  readonly signingKey: JsonWebKeyInput['key'] & { readonly kid?: string }
  readonly accountRefs: readonly string[]
}

/** What the process does. `sign` prepares events, of the senders in turn, that the next `send` uses. */
export type LoadCommand =
  /** The banks, each with so many addresses of its own to send from: one bank's limit is for each of them. */
  | { readonly kind: 'senders'; readonly senders: readonly EventSender[]; readonly addressCount: number }
  | { readonly kind: 'sign'; readonly count: number; readonly severity: 'URGENT' | 'WARNING' }
  /** Sends every signed event, on average at this rate and at random times, whether or not the earlier ones have been answered. */
  | { readonly kind: 'send'; readonly perSecond: number }

/** What became of each event, in the order of sending. */
export interface LoadResult {
  readonly accountRefs: readonly string[]
  /** The HTTP status, or 0 if there was no response. */
  readonly statuses: Uint16Array
  /** When the event was due to be sent, so that a late load process counts as waiting, too. */
  readonly dueMs: Float64Array
  readonly respondedMs: Float64Array
}

interface SignedEvent {
  readonly pool: Pool
  readonly path: string
  readonly token: string
  readonly accountRef: string
}

const SECURITY_ALERT = 'urn:guichet:events:security-alert'
const CONNECTIONS = 256
const PACE_MS = 2
const HEADERS = { 'content-type': 'application/secevent+jwt' }

let senders: (Omit<EventSender, 'signingKey'> & { readonly kid: string; readonly key: KeyObject })[] = []
let events: SignedEvent[] = []
let pools: Pool[] = []
/** Which account of each sender is next. */
let nextAccount = 0

serveCommands<LoadCommand>(async (command) => {
  switch (command.kind) {
    case 'senders':
      senders = command.senders.map(({ signingKey, ...sender }) => ({
        ...sender,
        kid: String(signingKey.kid),
        key: createPrivateKey({ key: signingKey, format: 'jwk' }),
      }))
      pools = Array.from(
        { length: command.addressCount },
        (_, index) =>
          new Pool(new URL(senders[0]!.eventsUrl).origin, {
            connections: CONNECTIONS,
            pipelining: 1,
            localAddress: `127.0.0.${index + 1}`,
          }),
      )
      return undefined
    case 'sign':
      events = Array.from({ length: command.count }, (_, index) => signEvent(index, command.severity))
      nextAccount += Math.ceil(command.count / senders.length)
      return undefined
    case 'send':
      return sendAtRate(command.perSecond)
  }
})

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

function signEvent(index: number, severity: string): SignedEvent {
  const { issuer, eventsUrl, accountRefs, kid, key } = senders[index % senders.length]!
  const turn = Math.floor(index / senders.length)
  const accountRef = accountRefs[(nextAccount + turn) % accountRefs.length]!
  const pool = pools[turn % pools.length]!
  const iat = Math.floor(Date.now() / 1_000)
  const alert = {
    account: accountRef,
    type: 'CARD_SECURITY',
    severity,
    requested_action: 'CALL_BANK',
    occurred_at: iat,
  }
  const claims = {
    iss: issuer,
    aud: eventsUrl,
    iat,
    jti: randomUUID(),
    sub_id: { format: 'opaque', id: accountRef },
    events: { [SECURITY_ALERT]: alert },
  }
  const input = `${encode({ alg: 'ES256', typ: 'secevent+jwt', kid })}.${encode(claims)}`
  const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')
  return { pool, path: new URL(eventsUrl).pathname, token: `${input}.${signature}`, accountRef }
}

async function push({ pool, path, token }: SignedEvent): Promise<number> {
  try {
    const { statusCode, body } = await pool.request({ method: 'POST', path, headers: HEADERS, body: token })
    await body.dump()
    return statusCode
  } catch {
    return 0
  }
}

async function sendAtRate(perSecond: number): Promise<LoadResult> {
  const sent = events
  const result = {
    accountRefs: sent.map(({ accountRef }) => accountRef),
    statuses: new Uint16Array(sent.length),
    dueMs: new Float64Array(sent.length),
    respondedMs: new Float64Array(sent.length),
  }
  // Independent senders: a gap is as likely at any time, so that events also come in clusters.
  let dueMs = nowMs()
  for (let index = 0; index < sent.length; index++) {
    result.dueMs[index] = dueMs
    dueMs -= (Math.log(1 - Math.random()) * 1_000) / perSecond
  }
  const send = async (index: number): Promise<void> => {
    result.statuses[index] = await push(sent[index]!)
    result.respondedMs[index] = nowMs()
  }
  const sending: Promise<void>[] = []
  for (let index = 0; index < sent.length;) {
    for (; index < sent.length && result.dueMs[index]! <= nowMs(); index++) sending.push(send(index))
    await new Promise((resolve) => setTimeout(resolve, PACE_MS))
  }
  await Promise.all(sending)
  return result
}
