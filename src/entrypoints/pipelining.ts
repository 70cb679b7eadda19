import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Requests of one connection that are worked on at once, and that are begun in one turn of the event loop. */
const AT_ONCE = 4
/** With more requests waiting than this, nothing more is read from the connection. */
const MAX_WAITING = 32

interface Pipeline {
  running: number
  readonly waiting: (() => void)[]
}

/**
 * Has the requests of each connection served a few at a time. Node parses what arrives in one read, which can be thousands
 * of pipelined requests (RFC 9112, 9.3.2), and begins all of them in one turn: every other connection would wait for the
 * last one. A connection that sends one request after the other never waits.
 */
export function createPipelining(): (socket: Socket, response: ServerResponse, serve: () => void) => void {
  const pipelines = new WeakMap<Socket, Pipeline>()

  function pipelineOf(socket: Socket): Pipeline {
    let pipeline = pipelines.get(socket)
    if (!pipeline) {
      const { waiting } = (pipeline = { running: 0, waiting: [] })
      pipelines.set(socket, pipeline)
      socket.once('close', () => waiting.splice(0))
    }
    return pipeline
  }

  function next(socket: Socket, pipeline: Pipeline): void {
    const { waiting } = pipeline
    pipeline.running--
    waiting.shift()?.()
    pauseIfFull(socket, pipeline)
    if (waiting.length < AT_ONCE && socket.isPaused()) socket.resume()
  }

  /** Node resumes a connection by itself, whenever a response on it ends, so this is seen to each time. */
  function pauseIfFull(socket: Socket, { waiting }: Pipeline): void {
    if (waiting.length > MAX_WAITING) socket.pause()
  }

  return (socket, response, serve) => {
    const pipeline = pipelineOf(socket)
    const begin = (): void => {
      pipeline.running++
      // In a turn of its own, in which other connections have theirs.
      response.once('close', () => setImmediate(next, socket, pipeline))
      serve()
    }
    if (pipeline.running < AT_ONCE && pipeline.waiting.length === 0) {
      begin()
      return
    }
    pipeline.waiting.push(begin)
    pauseIfFull(socket, pipeline)
  }
}
