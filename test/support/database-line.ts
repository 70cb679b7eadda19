import { connect, createServer, type Socket } from 'node:net'

/**
 * How a database can be away: nothing listens, every connection is reset, or nothing passes and nobody notices. What was sent in
 * the silence arrives after it, as TCP sends it again.
 */
export const OUTAGE_KINDS = ['REFUSED', 'RESET', 'SILENT'] as const
/** One of `OUTAGE_KINDS`. */
export type OutageKind = (typeof OUTAGE_KINDS)[number]

/** A line to a database that can fail in each of these ways and come back. */
export interface DatabaseLine {
  /** The address of the database through the line. */
  readonly url: string
  fail(kind: OutageKind): Promise<void>
  restore(): Promise<void>
  close(): Promise<void>
}

/** A line to the database at `url`. */
export async function startDatabaseLine(url: string): Promise<DatabaseLine> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  let outage: OutageKind | undefined
  const server = createServer((near) => {
    if (outage === 'RESET') return void near.on('error', () => undefined).resetAndDestroy()
    const far = connect(Number(target.port || 5_432), target.hostname)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('error', () => undefined)
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
      from.on('data', (chunk) => to.write(chunk))
      if (outage === 'SILENT') from.pause()
    }
  })
  const listen = (port: number): Promise<void> =>
    new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve()))
  await listen(0)
  const { port } = server.address() as { port: number }
  const stopListening = (): Promise<void> => new Promise((resolve) => server.close(() => resolve()))

  return {
    url: Object.assign(new URL(url), { host: `127.0.0.1:${port}` }).href,
    async fail(kind) {
      outage = kind
      if (kind === 'SILENT') for (const socket of sockets) socket.pause()
      else for (const socket of sockets) socket.resetAndDestroy()
      if (kind === 'REFUSED') await stopListening()
    },
    async restore() {
      const ended = outage
      outage = undefined
      if (ended === 'REFUSED') await listen(port)
      if (ended === 'SILENT') for (const socket of sockets) socket.resume()
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      if (server.listening) await stopListening()
    },
  }
}
