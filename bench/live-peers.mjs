// Runs one alternative implementation against the same banks with the same bank tokens. Arguments: name, port, file with the
// banks and customers. Each customer has twenty accounts at three banks.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'

const [name, port, file] = process.argv.slice(2)
const { banks, people } = JSON.parse(readFileSync(file, 'utf8'))
let customers = people
// The bench can replace the bank tokens in the file.
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
  type Account { id: ID! displayName: String! currencies: [String!]! bank: Bank! balances: [BalanceResult!] }
  type Bank { id: ID! name: String! }
  union BalanceResult = ExactBalance | BalanceUnavailable
  type Money { amount: String! currency: String! }
  type ExactBalance { type: String! value: Money! asOf: String! }
  type Problem { code: String! }
  type BalanceUnavailable { reason: Problem! }
`

/** The paths of each standard's accounts and balances, and the parsers of its responses. */
const STANDARDS = {
  OBIE: {
    accountsPath: '/accounts',
    parseAccounts: ({ Data }) =>
      Data.Account.map(({ AccountId, Currency }) => ({ id: AccountId, currencies: [Currency] })),
    balancePath: (id) => `/accounts/${id}/balances`,
    bulkBalancesPath: () => '/balances',
    parseBalances: ({ Data }) =>
      Data.Balance.filter(({ Type }) => Type === 'ITAV').map(({ AccountId, CreditDebitIndicator, Amount }) => ({
        id: AccountId,
        amount: `${CreditDebitIndicator === 'Debit' ? '-' : ''}${Amount.Amount}`,
        currency: Amount.Currency,
      })),
  },
  FDX: {
    accountsPath: '/accounts?resultType=lightweight&limit=200',
    parseAccounts: ({ accounts }) =>
      accounts.map(({ accountId, currency }) => ({ id: accountId, currencies: [currency.currencyCode] })),
    balancePath: (id) => `/accounts/${id}`,
    bulkBalancesPath: (ids) => `/accounts?resultType=details&accountIds=${ids.join(',')}&limit=200`,
    parseBalances: (body) =>
      (body.accounts ?? [body]).map(({ accountId, availableBalance, currency }) => ({
        id: accountId,
        amount: String(availableBalance),
        currency: currency.currencyCode,
      })),
  },
  CDR: {
    accountsPath: '/banking/accounts?page-size=1000',
    parseAccounts: ({ data }) => data.accounts.map(({ accountId }) => ({ id: accountId, currencies: ['AUD'] })),
    balancePath: (id) => `/banking/accounts/${id}/balance`,
    bulkBalancesPath: () => '/banking/accounts/balances?page-size=1000',
    parseBalances: ({ data }) =>
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

const toExactBalance = ({ amount, currency }) => ({
  __typename: 'ExactBalance',
  type: 'INTERIM_AVAILABLE',
  asOf: new Date().toISOString(),
  value: { amount, currency },
})
const unavailable = { __typename: 'BalanceUnavailable', reason: { code: 'BANK_UNAVAILABLE' } }
const typeName = { BalanceResult: { __resolveType: (value) => value.__typename } }

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
  /** A first version: built-in fetch, the list of accounts, then one request for each account's balances. */
  plain: () => {
    const get = async (bank, token, path, version) => {
      const response = await fetch(`${bank.base}${path}`, { headers: headersFor(bank.standard, token, version) })
      if (!response.ok) throw new Error(`${bank.id} returned ${response.status}`)
      return response.json()
    }
    return apollo({
      Query: { customer: () => ({}) },
      Customer: {
        accounts: async (_customer, _args, { customer }) => {
          const lists = await Promise.all(
            banks.map(async (bank) => {
              const { accountsPath, parseAccounts } = STANDARDS[bank.standard]
              const body = await get(bank, customer.tokens[bank.id], accountsPath, '3')
              return parseAccounts(body).map((account) => ({ ...account, displayName: 'Savings account', bank }))
            }),
          )
          return { nodes: lists.flat() }
        },
      },
      Account: {
        balances: async ({ id, bank }, _args, { customer }) => {
          const { balancePath, parseBalances } = STANDARDS[bank.standard]
          const body = await get(bank, customer.tokens[bank.id], balancePath(id), '1')
          return [toExactBalance(parseBalances(body).find((balance) => balance.id === id))]
        },
      },
    })
  },

  /** An optimised version: cached accounts, bulk endpoints, a connection pool per bank, validated responses. */
  tuned: async () => {
    const { Pool } = await import('undici')
    const { z } = await import('zod')
    const text = z.string()
    const money = z.object({ Amount: text, Currency: text })
    const creditLine = z.object({ Included: z.boolean(), Type: text, Amount: money })
    const SCHEMAS = {
      OBIE: z.object({
        Data: z.object({
          Balance: z.array(
            z.object({
              AccountId: text,
              Type: text,
              CreditDebitIndicator: z.enum(['Credit', 'Debit']),
              DateTime: text,
              Amount: money,
              CreditLine: z.array(creditLine).optional(),
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
    const fetchBalances = async (bank, token, ids) => {
      const { bulkBalancesPath, parseBalances } = STANDARDS[bank.standard]
      const path = `${new URL(bank.base).pathname}${bulkBalancesPath(ids)}`
      const headers = headersFor(bank.standard, token, '2')
      const { statusCode, body } = await pools.get(bank.id).request({ method: 'GET', path, headers })
      if (statusCode !== 200) throw new Error(`${bank.id} returned ${statusCode}`)
      const response = SCHEMAS[bank.standard].parse(await body.json())
      return new Map(parseBalances(response).map((balance) => [balance.id, balance]))
    }
    return apollo(
      {
        Query: { customer: () => ({}) },
        Customer: {
          accounts: (_customer, _args, { customer }) => {
            const balancesByBank = new Map(
              banks.map((bank) => [
                bank.id,
                fetchBalances(bank, customer.tokens[bank.id], customer.accounts[bank.id]).catch(() => null),
              ]),
            )
            return {
              nodes: banks.flatMap((bank) =>
                customer.accounts[bank.id].map((id) => ({
                  id,
                  displayName: 'Savings account',
                  currencies: [],
                  bank,
                  bankBalances: balancesByBank.get(bank.id),
                })),
              ),
            }
          },
        },
        Account: {
          balances: async ({ id, bankBalances }) => {
            const balance = (await bankBalances)?.get(id)
            return [balance ? toExactBalance(balance) : unavailable]
          },
        },
      },
      true,
    )
  },

  /** No GraphQL and no validation: three calls and their combined responses. */
  floor: async () => {
    const { Pool } = await import('undici')
    const pools = new Map(banks.map(({ id, base }) => [id, new Pool(new URL(base).origin, { connections: 64 })]))
    createServer((request, response) => {
      request.resume().on('end', async () => {
        const customer = customerOf(request.headers.authorization)
        const lists = await Promise.all(
          banks.map(async (bank) => {
            const { bulkBalancesPath, parseBalances } = STANDARDS[bank.standard]
            const path = `${new URL(bank.base).pathname}${bulkBalancesPath(customer.accounts[bank.id])}`
            const headers = headersFor(bank.standard, customer.tokens[bank.id], '2')
            const { body } = await pools.get(bank.id).request({ method: 'GET', path, headers })
            return parseBalances(await body.json()).map(({ id, ...balance }) => ({
              id,
              bank,
              balances: [toExactBalance(balance)],
            }))
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
