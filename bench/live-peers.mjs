// What people would write instead, against the same banks with the same bank tokens: named by the first argument, on the
// port of the second, with the customers of the file that the third names. Each customer has twenty accounts at three banks.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'

const [name, port, file] = process.argv.slice(2)
const { banks, people } = JSON.parse(readFileSync(file, 'utf8'))
let customers = people
// The bench renews the banks' tokens now and then.
process.on('SIGUSR2', () => (customers = JSON.parse(readFileSync(file, 'utf8')).people))

const customerOf = (authorization) => {
  const customer = customers[/^Bearer (.+)$/.exec(authorization ?? '')?.[1]]
  if (!customer) throw new Error('no token')
  return customer
}

const typeDefs = `#graphql
  type Query { customer: Customer }
  type Customer { accounts(first: Int): Accounts }
  type Accounts { nodes: [Account!]! }
  type Account { id: ID! displayName: String! currency: String bank: Bank! balances: ExactBalanceAnswer }
  type Bank { id: ID! name: String! }
  union ExactBalanceAnswer = ExactBalance | BalanceUnavailable
  type ExactBalance { type: String! amount: String! currency: String! asOf: String! }
  type BalanceUnavailable { reason: String! }
`

/** Where each bank's accounts and balances are, and how to find the available one in its answer. */
const STANDARDS = {
  OBIE: {
    list: '/accounts',
    listed: ({ Data }) => Data.Account.map(({ AccountId, Currency }) => ({ id: AccountId, currency: Currency })),
    one: (id) => `/accounts/${id}/balances`,
    all: () => '/balances',
    told: ({ Data }) =>
      Data.Balance.filter(({ Type }) => Type === 'ITAV').map(({ AccountId, CreditDebitIndicator, Amount }) => ({
        id: AccountId,
        amount: `${CreditDebitIndicator === 'Debit' ? '-' : ''}${Amount.Amount}`,
        currency: Amount.Currency,
      })),
  },
  FDX: {
    list: '/accounts?resultType=lightweight&limit=200',
    listed: ({ accounts }) =>
      accounts.map(({ accountId, currency }) => ({ id: accountId, currency: currency.currencyCode })),
    one: (id) => `/accounts/${id}`,
    all: (ids) => `/accounts?resultType=details&accountIds=${ids.join(',')}&limit=200`,
    told: (answer) =>
      (answer.accounts ?? [answer]).map(({ accountId, availableBalance, currency }) => ({
        id: accountId,
        amount: String(availableBalance),
        currency: currency.currencyCode,
      })),
  },
  CDR: {
    list: '/banking/accounts?page-size=1000',
    listed: ({ data }) => data.accounts.map(({ accountId }) => ({ id: accountId, currency: 'AUD' })),
    one: (id) => `/banking/accounts/${id}/balance`,
    all: () => '/banking/accounts/balances?page-size=1000',
    told: ({ data }) =>
      (data.balances ?? [data]).map(({ accountId, availableBalance, currency = 'AUD' }) => ({
        id: accountId,
        amount: availableBalance,
        currency,
      })),
  },
}

const headersFor = (standard, token, version) => ({
  authorization: `Bearer ${token}`,
  accept: 'application/json',
  'x-fapi-interaction-id': crypto.randomUUID(),
  ...(standard === 'FDX' && { 'fdx-api-actor-type': 'BATCH' }),
  ...(standard === 'CDR' && { 'x-v': version, 'x-fapi-auth-date': new Date().toUTCString() }),
})

const shown = (told) => ({
  __typename: 'ExactBalance',
  type: 'INTERIM_AVAILABLE',
  asOf: new Date().toISOString(),
  ...told,
})
const unavailable = { __typename: 'BalanceUnavailable', reason: 'BANK_UNAVAILABLE' }
const typeName = { ExactBalanceAnswer: { __resolveType: (value) => value.__typename } }

async function apollo(resolvers, tuned) {
  const { ApolloServer } = await import('@apollo/server')
  const { makeExecutableSchema } = await import('@graphql-tools/schema')
  const schema = makeExecutableSchema({ typeDefs, resolvers: { ...resolvers, ...typeName } })
  const context = async ({ req }) => ({ customer: customerOf(req.headers.authorization) })
  if (!tuned) {
    const { startStandaloneServer } = await import('@apollo/server/standalone')
    return startStandaloneServer(new ApolloServer({ schema }), {
      listen: { port: Number(port), host: '127.0.0.1' },
      context,
    })
  }
  const disabled = await import('@apollo/server/plugin/disabled')
  const { expressMiddleware } = await import('@as-integrations/express5')
  const { default: express } = await import('express')
  const plugins = [
    disabled.ApolloServerPluginCacheControlDisabled(),
    disabled.ApolloServerPluginLandingPageDisabled(),
    disabled.ApolloServerPluginUsageReportingDisabled(),
  ]
  const server = new ApolloServer({ schema, plugins, csrfPrevention: false, persistedQueries: false })
  await server.start()
  const app = express()
  app.disable('etag').disable('x-powered-by')
  app.use('/graphql', express.json(), expressMiddleware(server, { context }))
  app.listen(port, '127.0.0.1')
}

const PEERS = {
  /** As one would write it first: built-in fetch, the list of accounts and then each account's balances. */
  plain: () => {
    const get = async (bank, token, path, version) => {
      const answer = await fetch(`${bank.base}${path}`, { headers: headersFor(bank.standard, token, version) })
      if (!answer.ok) throw new Error(`${bank.id} answered ${answer.status}`)
      return answer.json()
    }
    return apollo({
      Query: { customer: () => ({}) },
      Customer: {
        accounts: async (_viewer, _args, { customer }) => {
          const lists = await Promise.all(
            banks.map(async (bank) => {
              const { list, listed } = STANDARDS[bank.standard]
              const answer = await get(bank, customer.tokens[bank.id], list, '3')
              return listed(answer).map((account) => ({ ...account, displayName: 'Savings account', bank }))
            }),
          )
          return { nodes: lists.flat() }
        },
      },
      Account: {
        balances: async ({ id, bank }, _args, { customer }) => {
          const { one, told } = STANDARDS[bank.standard]
          const answer = await get(bank, customer.tokens[bank.id], one(id), '1')
          return shown(told(answer).find((balance) => balance.id === id))
        },
      },
    })
  },

  /** By somebody who knows their way: known accounts, bulk endpoints, a pool for each bank, checked answers, no extras. */
  tuned: async () => {
    const { Pool } = await import('undici')
    const { z } = await import('zod')
    const text = z.string()
    const money = z.object({ Amount: text, Currency: text })
    const line = z.object({ Included: z.boolean(), Type: text, Amount: money })
    const CHECKS = {
      OBIE: z.object({
        Data: z.object({
          Balance: z.array(
            z.object({
              AccountId: text,
              Type: text,
              CreditDebitIndicator: z.enum(['Credit', 'Debit']),
              DateTime: text,
              Amount: money,
              CreditLine: z.array(line).optional(),
            }),
          ),
        }),
      }),
      FDX: z.object({
        accounts: z.array(
          z.object({
            accountCategory: text,
            accountId: text,
            accountType: text,
            status: text,
            currency: z.object({ currencyCode: text }),
            balanceType: text,
            currentBalance: z.number(),
            availableBalance: z.number(),
          }),
        ),
      }),
      CDR: z.object({
        data: z.object({
          balances: z.array(
            z.object({
              accountId: text,
              currentBalance: text,
              availableBalance: text,
              creditLimit: text.optional(),
              currency: text.optional(),
            }),
          ),
        }),
      }),
    }
    const pools = new Map(banks.map(({ id, base }) => [id, new Pool(new URL(base).origin, { connections: 64 })]))
    const look = async (bank, token, ids) => {
      const { all, told } = STANDARDS[bank.standard]
      const path = `${new URL(bank.base).pathname}${all(ids)}`
      const headers = headersFor(bank.standard, token, '2')
      const { statusCode, body } = await pools.get(bank.id).request({ method: 'GET', path, headers })
      if (statusCode !== 200) throw new Error(`${bank.id} answered ${statusCode}`)
      const answer = CHECKS[bank.standard].parse(await body.json())
      return new Map(told(answer).map((balance) => [balance.id, balance]))
    }
    return apollo(
      {
        Query: { customer: () => ({}) },
        Customer: {
          accounts: (_viewer, _args, { customer }) => {
            const looks = new Map(
              banks.map((bank) => [
                bank.id,
                look(bank, customer.tokens[bank.id], customer.accounts[bank.id]).catch(() => null),
              ]),
            )
            return {
              nodes: banks.flatMap((bank) =>
                customer.accounts[bank.id].map((id) => ({
                  id,
                  displayName: 'Savings account',
                  currency: null,
                  bank,
                  look: looks.get(bank.id),
                })),
              ),
            }
          },
        },
        Account: {
          balances: async ({ id, look: looking }) => {
            const balance = (await looking)?.get(id)
            return balance ? shown(balance) : unavailable
          },
        },
      },
      true,
    )
  },

  /** No GraphQL, no checks: three calls, and their answers put together. */
  floor: async () => {
    const { Pool } = await import('undici')
    const pools = new Map(banks.map(({ id, base }) => [id, new Pool(new URL(base).origin, { connections: 64 })]))
    createServer((request, response) => {
      request.resume().on('end', async () => {
        const customer = customerOf(request.headers.authorization)
        const lists = await Promise.all(
          banks.map(async (bank) => {
            const { all, told } = STANDARDS[bank.standard]
            const path = `${new URL(bank.base).pathname}${all(customer.accounts[bank.id])}`
            const headers = headersFor(bank.standard, customer.tokens[bank.id], '2')
            const { body } = await pools.get(bank.id).request({ method: 'GET', path, headers })
            return told(await body.json()).map(({ id, ...balance }) => ({ id, bank, balances: shown(balance) }))
          }),
        )
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify({ data: { customer: { accounts: { nodes: lists.flat() } } } }))
      })
    }).listen(port, '127.0.0.1')
  },
}

await PEERS[name]()
process.stdout.write('ready\n')
