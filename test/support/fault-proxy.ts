import { createServer, connect, type Server, type Socket } from 'node:net'
import { patientTimers } from './patient-time.ts'

/** What a line to a bank can do to what is sent over it. */
export type LineFault =
  | { readonly kind: 'NONE' }
  /** The bank's answer comes so much later. */
  | { readonly kind: 'DELAY'; readonly ms: number }
  /** The connection is cut as soon as something is asked. */
  | { readonly kind: 'RESET' }
  /** The answer comes a byte at a time, with so long between. */
  | { readonly kind: 'TRICKLE'; readonly ms: number }
  /** What is asked goes nowhere, and nothing ever comes back. */
  | { readonly kind: 'BLACKHOLE' }
  /** Every hundredth byte of the answer's body is another. */
  | { readonly kind: 'CORRUPT' }

export interface FaultProxy {
  readonly url: string
  /** Where the bank really is. */
  target: string
  fault: LineFault
  /** Request lines that went through, such as `GET /open-banking/v4.0/aisp/balances`. */
  readonly requests: string[]
  close(): Promise<void>
}

const REQUEST = /^(GET|POST|PUT|DELETE) (\S+) HTTP\/1\.1\r$/gm

/** A line between the gateway and a bank that does what it is told, to every connection, from the moment it is told. */
export async function startFaultProxy(port = 0): Promise<FaultProxy> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((near) => {
    const { hostname, port: far } = new URL(proxy.target)
    const bank = connect(Number(far), hostname)
    for (const socket of [near, bank]) {
      sockets.add(socket.setNoDelay(true))
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        near.destroy()
        bank.destroy()
      })
    }
    near.on('data', (chunk: Buffer) => {
      for (const [, method, path] of chunk.toString('latin1').matchAll(REQUEST))
        proxy.requests.push(`${method!} ${path!}`)
      if (proxy.fault.kind === 'RESET') return void near.resetAndDestroy()
      if (proxy.fault.kind === 'BLACKHOLE') return
      bank.write(chunk)
    })
    let line = Promise.resolve()
    bank.on('data', (chunk: Buffer) => {
      line = line.then(() => deliver(near, chunk))
    })
  })

  async function deliver(near: Socket, chunk: Buffer): Promise<void> {
    const { fault } = proxy
    if (fault.kind === 'BLACKHOLE') return
    if (fault.kind === 'DELAY') await wait(fault.ms)
    if (fault.kind === 'TRICKLE')
      for (const byte of chunk) {
        if (near.destroyed) return
        near.write(Buffer.of(byte))
        await wait(fault.ms)
      }
    else if (!near.destroyed) near.write(fault.kind === 'CORRUPT' ? corrupted(chunk) : chunk)
  }

  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const address = server.address()
  const proxy: FaultProxy = {
    url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    target: '',
    fault: { kind: 'NONE' },
    requests: [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
  return proxy
}

const wait = patientTimers.sleep

function corrupted(chunk: Buffer): Buffer {
  const changed = Buffer.from(chunk)
  const body = changed.indexOf('\r\n\r\n')
  for (let at = Math.max(0, body) + 10; at < changed.length; at += 100) changed[at] = changed[at]! ^ 0x55
  return changed
}
