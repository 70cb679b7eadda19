import { connect, createServer, type Server, type Socket } from 'node:net'

/** A line to a server that can fall silent: nothing passes any more, and not even the end of a connection is noticed. */
export interface SilentLine {
  readonly port: number
  /** From now on, for every connection, open and new. */
  silence(): void
  /** Cuts the connections that are silent; new ones pass again. */
  restore(): void
  close(): Promise<void>
}

export async function startSilentLine(host: string, port: number): Promise<SilentLine> {
  const sockets = new Set<Socket>()
  let silent = false
  const server: Server = createServer((near) => {
    const far = connect(port, host)
    near.pipe(far)
    far.pipe(near)
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        near.destroy()
        far.destroy()
      })
      if (silent) hold(socket)
    }
  })
  function hold(socket: Socket): void {
    socket.unpipe()
    socket.pause()
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    silence() {
      silent = true
      for (const socket of sockets) hold(socket)
    },
    restore() {
      silent = false
      for (const socket of sockets) socket.destroy()
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}
