import type { TestGateway } from '../support/gateway.ts'

/** Everything that left the gateway or stayed in it, gathered while journeys run. */
export interface Sinks {
  /** What each sink holds so far. */
  gather(): Promise<Record<string, string>>
  /** Adds the bytes of a live subscription. */
  heard(text: string): void
  stop(): void
}

/** Listens at every way out: the fetch of whoever asks the gateway, the gateway's own requests, its log, its metrics and its tables. */
export function watch(gateway: TestGateway): Sinks {
  const answers = { graphql: '', pages: '', oauth: '' }
  let subscriptions = ''
  const pending: Promise<unknown>[] = []
  const real = globalThis.fetch
  globalThis.fetch = async (input, init) => {
    const answer = await real(input, init)
    const url = new URL(input instanceof Request ? input.url : input)
    if (url.origin === gateway.issuer && !answer.headers.get('content-type')?.includes('event-stream')) {
      const sink = url.pathname === '/graphql' ? 'graphql' : url.pathname.startsWith('/oauth/') ? 'oauth' : 'pages'
      const copy = answer.clone()
      pending.push(copy.text().then((text) => (answers[sink] += `${JSON.stringify([...copy.headers])}\n${text}\n`)))
    }
    return answer
  }
  return {
    heard: (text) => (subscriptions += text),
    stop: () => (globalThis.fetch = real),
    async gather() {
      await Promise.all(pending)
      const webhooks = gateway.sent
        .filter(({ url }) => url.endsWith('/webhooks'))
        .map((request) => JSON.stringify(request))
      return {
        ...answers,
        subscriptions,
        webhooks: webhooks.join('\n'),
        tables: await dump(gateway),
        log: gateway.log.join('\n'),
        metrics: await (await real(gateway.app.metricsUrl()!)).text(),
      }
    },
  }
}

/** Every row of every table, as text. */
async function dump({ database }: TestGateway): Promise<string> {
  const tables = await database.query<{ name: string }>(
    "select table_name as name from information_schema.tables where table_schema = 'public'",
  )
  let text = ''
  for (const { name } of tables)
    for (const { row } of await database.query<{ row: string }>(`select t::text as row from "${name}" t`))
      text += `${name} ${row}\n`
  return text
}
