import { Agent, request } from 'node:http'

/** A request that is sent repeatedly. */
export interface BenchRequest {
  readonly port: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 })

/** Sends one request and returns the response body. Throws if the status is not 200. */
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
          if (response.statusCode === 200) resolve(text)
          else reject(new Error(`${String(response.statusCode)}: ${text.slice(0, 300)}`))
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
