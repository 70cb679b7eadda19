// Runs one peer. Arguments: name, port, data file. Every peer checks the token in the same way and serves the same query
// from the same data in memory. Each follows the guide of its library.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { makeExecutableSchema } from '@graphql-tools/schema'

const [name, port, file] = process.argv.slice(2)
const { token, data, query } = JSON.parse(readFileSync(file, 'utf8'))
const typeDefs = readFileSync(new URL('../schema.graphql', import.meta.url), 'utf8')

/** The only check of every peer: the digest of an opaque token. */
const callersByDigest = new Map([[createHash('sha256').update(token).digest('base64url'), { customer: 'ada' }]])
function callerOf(authorization) {
  const match = /^Bearer (.+)$/.exec(authorization ?? '')
  const caller = match && callersByDigest.get(createHash('sha256').update(match[1]).digest('base64url'))
  if (!caller) throw new Error('no token')
  return caller
}

const typeName = { __resolveType: (value) => value.__typename }
const resolvers = {
  Query: { customer: () => data.customer },
  Customer: { accounts: (customer) => customer.accounts, alerts: (customer) => customer.alerts },
  Account: { balances: (account) => account.balances, alerts: (account) => account.alerts },
  BalanceResult: typeName,
  BalanceAtLeastResult: typeName,
  Node: typeName,
}
const schema = makeExecutableSchema({ typeDefs, resolvers })

const PEERS = {
  /** Apollo Server as in its guide, on Express 5. */
  async 'apollo-defaults'() {
    const { ApolloServer } = await import('@apollo/server')
    const { expressMiddleware } = await import('@as-integrations/express5')
    const { default: express } = await import('express')
    const server = new ApolloServer({ schema })
    await server.start()
    const app = express()
    app.use(
      '/graphql',
      express.json(),
      expressMiddleware(server, { context: async ({ req }) => callerOf(req.headers.authorization) }),
    )
    app.listen(port, '127.0.0.1')
  },

  /** The same without unneeded features: cache hints, landing page, usage reporting. */
  async 'apollo-tuned'() {
    const { ApolloServer } = await import('@apollo/server')
    const disabled = await import('@apollo/server/plugin/disabled')
    const { expressMiddleware } = await import('@as-integrations/express5')
    const { default: express } = await import('express')
    const server = new ApolloServer({
      schema,
      plugins: [
        disabled.ApolloServerPluginCacheControlDisabled(),
        disabled.ApolloServerPluginLandingPageDisabled(),
        disabled.ApolloServerPluginUsageReportingDisabled(),
      ],
      csrfPrevention: false,
      persistedQueries: false,
    })
    await server.start()
    const app = express()
    app.disable('etag').disable('x-powered-by')
    app.use(
      '/graphql',
      express.json(),
      expressMiddleware(server, { context: async ({ req }) => callerOf(req.headers.authorization) }),
    )
    app.listen(port, '127.0.0.1')
  },

  async yoga() {
    const { createYoga } = await import('graphql-yoga')
    const yoga = createYoga({
      schema,
      logging: false,
      context: ({ request }) => callerOf(request.headers.get('authorization')),
    })
    createServer(yoga).listen(port, '127.0.0.1')
  },

  mercurius: () => mercurius({}),
  'mercurius-jit': () => mercurius({ jit: 1 }),

  /** No GraphQL: the cost of reading the request, checking the token and writing the same bytes. */
  async floor() {
    createServer((request, response) => {
      const chunks = []
      request.on('data', (chunk) => chunks.push(chunk))
      request.on('end', () => {
        callerOf(request.headers.authorization)
        const input = JSON.parse(Buffer.concat(chunks).toString())
        if (input.query !== query) throw new Error('unexpected query')
        const body = JSON.stringify({ data })
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
        response.end(body)
      })
    }).listen(port, '127.0.0.1')
  },
}

async function mercurius(options) {
  const { default: fastify } = await import('fastify')
  const { default: plugin } = await import('mercurius')
  const app = fastify()
  app.register(plugin, { schema, ...options, context: (request) => callerOf(request.headers.authorization) })
  await app.listen({ port: Number(port), host: '127.0.0.1' })
}

await PEERS[name]()
process.stdout.write('ready\n')
