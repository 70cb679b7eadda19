import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Requests of one connection that are served at once, and that start in one turn of the event loop. */
const MAX_CONCURRENT = 4
/** If more requests than this are queued, reading from the connection pauses. */
const MAX_QUEUED = 32

interface Pipeline {
  activeCount: number
  readonly queue: (() => void)[]
}

/**
 * Limits how many requests of one connection are served at once. One read can hold thousands of pipelined requests (RFC 9112,
 * 9.3.2), and node starts all of them in one turn of the event loop, while every other connection waits. A connection that
 * sends one request at a time is never queued.
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

  /** Called after each response, because node resumes the connection whenever a response ends. */
  function pauseIfFull(socket: Socket, { queue }: Pipeline): void {
    if (queue.length > MAX_QUEUED) socket.pause()
  }

  return (socket, response, serve) => {
    const pipeline = pipelineOf(socket)
    const start = (): void => {
      pipeline.activeCount++
      // In a new turn of the event loop, so that other connections are served in between.
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
