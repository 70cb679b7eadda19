import { Agent, request } from 'node:http'

/** What is sent again and again. */
export interface Shot {
  readonly port: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 })

/** One request; its answer's text. Throws where it was not 200. */
export function shoot(shot: Shot): Promise<string> {
  const { port, headers, body } = shot
  return new Promise((resolve, reject) => {
    const call = request(
      {
        agent,
        host: '127.0.0.1',
        port,
        path: '/graphql',
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers },
      },
      (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          if (answer.statusCode === 200) resolve(text)
          else reject(new Error(`${String(answer.statusCode)}: ${text.slice(0, 300)}`))
        })
      },
    )
    call.on('error', (error: NodeJS.ErrnoException) => {
      // The server closed an idle connection in the moment in which it was used again.
      if (call.reusedSocket && error.code === 'ECONNRESET') resolve(shoot(shot))
      else reject(error)
    })
    call.end(body)
  })
}

/** Keeps `at` requests under way until `count` are done. */
export async function volley(shot: Shot, count: number, at = 64): Promise<void> {
  let left = count
  await Promise.all(
    Array.from({ length: at }, async () => {
      while (left-- > 0) await shoot(shot)
    }),
  )
}
