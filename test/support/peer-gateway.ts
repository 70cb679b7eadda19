import { request } from 'node:http'
import { createApp, type App } from '../../src/app.ts'
import { readConfig } from '../../src/config.ts'
import type { GraphqlResponse, Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { createWorld } from '../../src/kernel/world.ts'
import { openDatabase, type DatabaseUrls } from '../../src/storage/database.ts'
import type { TestGateway } from './gateway.ts'
import { patientTimers } from './patient-time.ts'

export interface PeerGateway {
  readonly app: App
  /** Sends an operation to this process, under the name that both have. */
  send(token: Token | undefined, query: string): Promise<Response>
  /** GET of a path such as `/readyz`. */
  get(path: string): Promise<Response>
  isConnected(): boolean
  close(): Promise<void>
}

export interface Response {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: GraphqlResponse & { error?: { code: string } }
}

/** A peer: a second process of the same installation, in this one: no worker, and its own way to the database. */
export async function startPeerGateway(
  gateway: TestGateway,
  urls: string | DatabaseUrls = gateway.database.url,
): Promise<PeerGateway> {
  const config = readConfig({
    GUICHET_ROLE: 'gateway',
    ISSUER: gateway.issuer,
    PORT: '0',
    METRICS_PORT: '0',
    GUICHET_DATA_DIR: gateway.dataDir,
    DATABASE_URL: gateway.database.url,
  })
  const database = openDatabase(urls, 4, patientTimers)
  const log = createLog(
    'error',
    () => new Date(),
    () => undefined,
  )
  const app = await createApp(
    config,
    {
      ...createWorld(log, createOutboundHttp(config.egress, undefined, { timers: patientTimers })),
      timers: patientTimers,
    },
    database,
  )
  const port = await app.start()

  function call(method: string, path: string, headers: Record<string, string>, sent?: string): Promise<Response> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        { port, host: '127.0.0.1', path, method, headers: { host: new URL(gateway.issuer).host, ...headers } },
        (answer) => {
          let text = ''
          answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
          answer.on('end', () =>
            resolve({
              status: answer.statusCode!,
              headers: answer.headers,
              body: JSON.parse(text || '{}') as Response['body'],
            }),
          )
        },
      )
      outgoing.on('error', reject)
      outgoing.end(sent)
    })
  }

  return {
    app,
    send: (token, query) =>
      call(
        'POST',
        '/graphql',
        { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token.accessToken}` }) },
        JSON.stringify({ query }),
      ),
    get: (path) => call('GET', path, {}),
    isConnected: () => app.services.signals.coherence() !== false,
    async close() {
      await app.stop()
      await database.close()
    },
  }
}
