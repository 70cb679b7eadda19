import { Agent, request } from 'node:http'

/** A request that is sent repeatedly. */
export interface BenchRequest {
  readonly port: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Thrown if the status of a response is not 200. The message has the port, the query, the status and the response. */
export class RequestRefused extends Error {
  readonly status: number
  constructor({ port, body }: BenchRequest, status: number, text: string, retryAfter: string | undefined) {
    const { query } = JSON.parse(body) as { query: string }
    const wait = retryAfter === undefined ? '' : `; retry after ${retryAfter} s`
    super(`port ${port} returned ${status} for ${query.slice(0, 80)}${wait}: ${text.slice(0, 300)}`)
    this.name = 'RequestRefused'
    this.status = status
  }
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 })

/** Sends one request and returns the response body. Throws `RequestRefused` unless the status is 200. */
export function sendRequest(benchRequest: BenchRequest): Promise<string> {
  const { port, headers, body } = benchRequest
  return new Promise((resolve, reject) => {
    const clientRequest = request(
      {
        agent,
        host: '127.0.0.1',
        port,
        path: '/graphql',
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers },
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          const { statusCode = 0, headers: fields } = response
          if (statusCode === 200) resolve(text)
          else reject(new RequestRefused(benchRequest, statusCode, text, fields['retry-after']))
        })
      },
    )
    clientRequest.on('error', (error: NodeJS.ErrnoException) => {
      // The server closed an idle connection just when it was reused.
      if (clientRequest.reusedSocket && error.code === 'ECONNRESET') resolve(sendRequest(benchRequest))
      else reject(error)
    })
    clientRequest.end(body)
  })
}

/** Sends `count` requests, at most `concurrency` at a time. */
export async function sendRepeatedly(benchRequest: BenchRequest, count: number, concurrency = 64): Promise<void> {
  let remaining = count
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (remaining-- > 0) await sendRequest(benchRequest)
    }),
  )
}
