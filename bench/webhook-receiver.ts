// Receives webhooks for `npm run bench -- --alerts` in a process of its own. It records what arrives and verifies nothing.
import { createServer } from 'node:http'
import { nowMs, serveCommands } from './child.ts'

/** Listens on each port, or sets the status of all later responses, or returns what has arrived. */
export type ReceiverCommand =
  | { readonly kind: 'listen'; readonly ports: readonly number[] }
  | { readonly kind: 'respond'; readonly status: number }
  | { readonly kind: 'count' }
  | { readonly kind: 'take' }

/** The webhooks since the last `take`, in the order of their arrival. */
export interface Arrivals {
  readonly ids: readonly string[]
  readonly atMs: Float64Array
}

let status = 204
let ids: string[] = []
let times: number[] = []
let distinct = new Set<string>()

serveCommands<ReceiverCommand>(async (command) => {
  switch (command.kind) {
    case 'listen':
      await Promise.all(command.ports.map(listen))
      return undefined
    case 'respond':
      status = command.status
      return undefined
    case 'count':
      return distinct.size
    case 'take': {
      const arrivals: Arrivals = { ids, atMs: Float64Array.from(times) }
      ids = []
      times = []
      distinct = new Set()
      return arrivals
    }
  }
})

const listen = (port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const server = createServer((request, response) => {
      request.resume().once('end', () => {
        const id = String(request.headers['webhook-id'])
        ids.push(id)
        times.push(nowMs())
        distinct.add(id)
        response.writeHead(status).end()
      })
    })
    server.keepAliveTimeout = 60_000
    server.once('error', reject).listen(port, '127.0.0.1', resolve)
  })
