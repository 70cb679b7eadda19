import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'
import type { Timers } from '../kernel/clock.ts'

/** How long a stopping server waits for its connections, in milliseconds. */
export interface DrainLimits {
  /** How long a connection must have been idle since the stop began before the server closes it. */
  readonly idleMs: number
  /** After this time, all connections are closed, also in the middle of a request. */
  readonly graceMs: number
}

/** The connections of a server, so that it can stop without losing a request. */
export interface ConnectionDrain {
  /** Registers a request that arrived, before anything is written to its response. */
  track(request: IncomingMessage, response: ServerResponse): void
  /** Stops accepting connections and closes the open ones. Resolves once all are closed. */
  drain(limits: DrainLimits): Promise<void>
}

interface Connection {
  /** Responses that have not ended, in the order of their requests. */
  readonly responses: Set<ServerResponse>
  bytesRead: number
  /** Consecutive sweeps in which it was idle. */
  idleSweeps: number
}

/** How often idle connections are looked for. */
const SWEEP_MS = 20
/** How long the server waits, while clients open connections all the time, for a moment in which none is waiting to be accepted. */
const ACCEPT_MS = 1_000

/**
 * Creates the drain of a server. Requests in progress end. The last response on a connection has `Connection: close`, so the
 * client sends no further request on it (RFC 9112, 9.6). An idle connection stays open for `idleMs`, because a request could be
 * on its way: it is served, and its response closes the connection.
 */
export function createConnectionDrain(server: Server, timers: Timers): ConnectionDrain {
  const connections = new Map<Socket, Connection>()
  let isDraining = false
  let acceptedCount = 0

  server.on('connection', (socket: Socket) => {
    acceptedCount++
    connections.set(socket, { responses: new Set(), bytesRead: 0, idleSweeps: 0 })
    socket.once('close', () => connections.delete(socket))
  })

  /** Only the last response may close the connection: the other pipelined requests would get none. */
  function announceClose({ responses }: Connection): void {
    const newest = [...responses].at(-1)
    for (const response of responses)
      if (response.headersSent) continue
      else if (response === newest) response.setHeader('connection', 'close')
      else response.removeHeader('connection')
  }

  /** Closing the listening socket resets connections that wait in its queue, of which libuv accepts one in each turn. */
  async function acceptWaiting(): Promise<void> {
    const untilMs = timers.monotonicMs() + ACCEPT_MS
    let previousCount: number
    do {
      previousCount = acceptedCount
      await new Promise((resolve) => setImmediate(resolve))
    } while (acceptedCount !== previousCount && timers.monotonicMs() < untilMs)
  }

  /**
   * Closes the connections that were idle in so many sweeps. Counts sweeps and not time, because requests that arrived while the
   * process did not run are read only between two of them.
   */
  function closeIdle(maxIdleSweeps: number): void {
    for (const [socket, connection] of connections) {
      // The number of bytes also changes while the head of a request arrives in parts.
      const isIdle = connection.responses.size === 0 && socket.bytesRead === connection.bytesRead
      connection.bytesRead = socket.bytesRead
      connection.idleSweeps = isIdle ? connection.idleSweeps + 1 : 0
      if (connection.idleSweeps > maxIdleSweeps) socket.destroySoon()
    }
  }

  return {
    track({ socket }, response) {
      const connection = connections.get(socket)
      if (!connection) return
      connection.responses.add(response)
      connection.idleSweeps = 0
      response.once('close', () => connection.responses.delete(response))
      if (isDraining) announceClose(connection)
    },

    async drain({ idleMs, graceMs }) {
      await acceptWaiting()
      // Not the method of the HTTP server, which closes idle connections at once.
      const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()))
      isDraining = true
      for (const connection of connections.values()) announceClose(connection)
      const forceCloseTimer = timers.setTimeout(() => server.closeAllConnections(), graceMs)
      // After the turn's input was read: timers come before it.
      const sweep = (): unknown => setImmediate(() => closeIdle(idleMs / SWEEP_MS))
      const sweepTimer = timers.setInterval(sweep, SWEEP_MS)
      sweep()
      await closed
      forceCloseTimer.clear()
      sweepTimer.clear()
      // Ends node's own checks of timeouts.
      server.close()
    },
  }
}
