import { connect, type Socket } from 'node:net'
import { openSandbox, optInAtBanks } from '../src/entrypoints/cli/sandbox.ts'
import { SANDBOX_BANKS } from '../src/sandbox/personas.ts'
import type { BenchGateway } from './gateway.ts'

/** The cost of live subscriptions. */
export interface StreamMetrics {
  readonly streams: number
  readonly idleKiB: number
  /** CPU per delivery of an alert to a subscriber, in addition to the cost of an alert without subscribers. */
  readonly fanOutUs: number
  readonly deliveredCount: number
}

/** Its tokens do not identify the person, so each opt-in in a new browser creates a new customer (decision 11). */
const BANK_ID = 'westbank'
const PERSONA = 'fay'
const CUSTOMER_COUNT = 100
const STREAMS_PER_CUSTOMER = 100
const PUSH_ROUNDS = 5
const QUERY = 'subscription { alertReceived { id type severity } }'

/** Opens ten thousand idle streams, then pushes one alert that is delivered to all of them. */
export async function measureStreams(gateway: BenchGateway): Promise<StreamMetrics> {
  const sandbox = openSandbox(gateway.issuer, gateway.dataDir)
  const tokens: string[] = []
  for (let index = 0; index < CUSTOMER_COUNT; index++) {
    const options = { clientId: 'chatterbox-bearer', bearer: true, scopes: ['alerts:read'], banks: [BANK_ID] }
    tokens.push((await optInAtBanks(sandbox, PERSONA, options)).accessToken)
  }
  let deliveredCount = 0
  const sockets: Socket[] = []
  const bank = SANDBOX_BANKS.find(({ id }) => id === BANK_ID)!
  const account = bank.accounts.find(({ owners }) => owners.includes(PERSONA))!
  /** CPU seconds of one pushed alert, including its deliveries. */
  async function pushAlert(): Promise<number> {
    const before = gateway.cpuS()
    await fetch(`${sandbox.addresses.banks[BANK_ID]!}/sandbox/alerts`, {
      method: 'POST',
      body: JSON.stringify({ account: account.id, type: 'UNUSUAL_ACTIVITY_REVIEW' }),
    })
    if (sockets.length === 0) await sleep(2_500)
    for (let waited = 0; deliveredCount < sockets.length && waited < 20_000; waited += 20) await sleep(20)
    return gateway.cpuS() - before
  }
  const medianPushCpu = async (): Promise<number> => {
    const costs: number[] = []
    for (let round = 0; round < PUSH_ROUNDS; round++) {
      deliveredCount = 0
      costs.push(await pushAlert())
    }
    return costs.sort((a, b) => a - b)[PUSH_ROUNDS >> 1]!
  }
  // The cost of an alert without subscribers; the first pushes are the warm-up.
  await medianPushCpu()
  const baselineCpuS = await medianPushCpu()
  const before = gateway.rssMiB()
  for (const token of tokens)
    sockets.push(
      ...(await Promise.all(
        Array.from({ length: STREAMS_PER_CUSTOMER }, () => openStream(gateway.port, token, () => deliveredCount++)),
      )),
    )
  await sleep(3_000)
  const idleKiB = ((gateway.rssMiB() - before) * 1_024) / sockets.length

  const withListenersCpuS = await medianPushCpu()
  const fanOutUs = ((withListenersCpuS - baselineCpuS) / Math.max(1, deliveredCount)) * 1e6
  for (const socket of sockets) socket.destroy()
  return { streams: sockets.length, idleKiB, fanOutUs, deliveredCount }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

function openStream(port: number, token: string, onEvent: () => void): Promise<Socket> {
  const body = JSON.stringify({ query: QUERY })
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () =>
      socket.write(
        `POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${token}\r\nAccept: text/event-stream\r\n` +
          `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      ),
    )
    socket.on('error', reject)
    socket.on('data', (chunk: Buffer) => {
      const text = chunk.toString()
      if (text.startsWith('HTTP/1.1 200')) resolve(socket)
      else if (text.startsWith('HTTP/1.1')) {
        const [head = '', body = ''] = text.split('\r\n\r\n')
        reject(new Error(`port ${port} rejected a stream: ${head.split('\r\n')[0]!}: ${body.slice(0, 300)}`))
      }
      if (text.includes('event: next')) onEvent()
    })
  })
}
