import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Requests of one connection that are worked on at once, and that are begun in one turn of the event loop. */
const MAX_CONCURRENT = 4
/** With more requests waiting than this, nothing more is read from the connection. */
const MAX_QUEUED = 32

interface Pipeline {
  activeCount: number
  readonly queue: (() => void)[]
}

/**
 * Has the requests of each connection served a few at a time. Node parses what arrives in one read, which can be thousands
 * of pipelined requests (RFC 9112, 9.3.2), and begins all of them in one turn: every other connection would wait for the
 * last one. A connection that sends one request after the other never waits.
 */
export function createPipelineQueue(): (socket: Socket, response: ServerResponse, serve: () => void) => void {
  const pipelines = new WeakMap<Socket, Pipeline>()

  function pipelineOf(socket: Socket): Pipeline {
    let pipeline = pipelines.get(socket)
    if (!pipeline) {
      const { queue } = (pipeline = { activeCount: 0, queue: [] })
      pipelines.set(socket, pipeline)
      socket.once('close', () => queue.splice(0))
    }
    return pipeline
  }

  function startNext(socket: Socket, pipeline: Pipeline): void {
    const { queue } = pipeline
    pipeline.activeCount--
    queue.shift()?.()
    pauseIfFull(socket, pipeline)
    if (queue.length < MAX_CONCURRENT && socket.isPaused()) socket.resume()
  }

  /** Node resumes a connection by itself, whenever a response on it ends, so this is seen to each time. */
  function pauseIfFull(socket: Socket, { queue }: Pipeline): void {
    if (queue.length > MAX_QUEUED) socket.pause()
  }

  return (socket, response, serve) => {
    const pipeline = pipelineOf(socket)
    const start = (): void => {
      pipeline.activeCount++
      // In a turn of its own, in which other connections have theirs.
      response.once('close', () => setImmediate(startNext, socket, pipeline))
      serve()
    }
    if (pipeline.activeCount < MAX_CONCURRENT && pipeline.queue.length === 0) {
      start()
      return
    }
    pipeline.queue.push(start)
    pauseIfFull(socket, pipeline)
  }
}
