import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { DAY_MS } from '../../src/kernel/clock.ts'
import { balanceLineStore, moveLines } from '../../src/modules/accounts/balance-line-store.ts'
import { disclosureStore } from '../../src/modules/accounts/disclosure-store.ts'
import type { Database } from '../../src/storage/database.ts'
import type { Seal } from '../../src/storage/seal.ts'
import type { UserError } from '../../src/kernel/user-errors.ts'
import { isBalances } from './balance-reads.ts'
import { eventually, type TestGateway } from './gateway.ts'

/** The accounts of the customer, which are fetched in one call if several are read. */
const ACCOUNTS = ['nb-10001', 'nb-10002']
/** The width of a band in pounds. */
export const GBP_BAND_WIDTH = 50

/** The payload of `createBalanceLine`. */
export interface Payload {
  readonly balanceLine: {
    readonly id: string
    readonly line: { amount: string; currency: string }
    readonly direction: string
  } | null
  readonly userErrors: readonly UserError[]
}

const CREATE = `mutation ($input: CreateBalanceLineInput!) { createBalanceLine(input: $input) {
  balanceLine { id line { amount currency } direction } userErrors { code path message } } }`
const DELETE = `mutation ($id: ID!) { deleteBalanceLine(input: { balanceLineId: $id }) { deletedId userErrors { code path } } }`
const LINES = `{ customer { accounts { nodes { id type balanceLines { id line { amount currency } direction type } } } } }`
const BAND = `{ customer { accounts { nodes { id type balances(detail: BAND) { ... on BalanceBand { lowerBound { amount } upperBound { amount } freshness } } } } } }`

interface AccountNode {
  readonly id: string
  readonly type: string
  readonly balanceLines?: readonly { readonly id: string; readonly line: { amount: string } }[]
  readonly balances?: readonly { readonly lowerBound?: { amount: string }; readonly upperBound?: { amount: string } }[]
}

/** Lines on the current account of a customer of northbank, whose balance the test sets. */
export function createLines(gateway: TestGateway) {
  let balance = 0
  gateway.intercept = (request) => {
    if (!isBalances(request)) return undefined
    const [, named] = /\/accounts\/([^/]+)\/balances$/.exec(request.url) ?? []
    const items = (named === undefined ? ACCOUNTS : [named]).map((account) => ({
      AccountId: account,
      CreditDebitIndicator: balance < 0 ? 'Debit' : 'Credit',
      Type: 'InterimAvailable',
      DateTime: new Date().toISOString(),
      Amount: { Amount: Math.abs(balance).toFixed(2), Currency: 'GBP' },
    }))
    return Promise.resolve({
      status: 200,
      headers: { 'content-type': 'application/json' },
      text: JSON.stringify({ Data: { Balance: items }, Links: { Self: request.url }, Meta: { TotalPages: 1 } }),
    })
  }

  async function currentAccount(token: Token, query: string): Promise<AccountNode> {
    const { data, errors } = await gateway.ask(token, query)
    if (errors) throw new Error(JSON.stringify(errors))
    const { nodes } = (data!['customer'] as { accounts: { nodes: AccountNode[] } }).accounts
    return nodes.find(({ type }) => type === 'CURRENT')!
  }
  const accountIdOf = async (token: Token): Promise<string> => (await currentAccount(token, LINES)).id

  return {
    setBalance: (pounds: number): void => void (balance = pounds),
    accountIdOf,
    /** The band of the account, as the client sees it. */
    async band(token: Token): Promise<{ lower: number; upper: number }> {
      const [found] = (await currentAccount(token, BAND)).balances!
      return { lower: Number(found!.lowerBound!.amount), upper: Number(found!.upperBound!.amount) }
    },
    lines: async (token: Token) => (await currentAccount(token, LINES)).balanceLines!,
    async create(token: Token, amount: number | string, direction = 'FALLING', more: object = {}): Promise<Payload> {
      const input = {
        accountId: await accountIdOf(token),
        line: { amount: String(amount), currency: 'GBP' },
        direction,
        ...more,
      }
      const { data, errors } = await gateway.ask(token, CREATE, { input })
      if (errors) throw new Error(JSON.stringify(errors))
      return data!['createBalanceLine'] as Payload
    },
    async delete(token: Token, id: string): Promise<{ deletedId: string | null; userErrors: Payload['userErrors'] }> {
      const { data, errors } = await gateway.ask(token, DELETE, { id })
      if (errors) throw new Error(JSON.stringify(errors))
      return data!['deleteBalanceLine'] as { deletedId: string | null; userErrors: Payload['userErrors'] }
    },
    /** Lets all lines become due, and checks them. */
    async check(): Promise<void> {
      await gateway.database.query("update balance_line set check_due_at = '2000-01-01'")
      await gateway.app.services.accounts.checkLines(() => true)
    },
    /** The alerts about lines that are stored, shown or not, oldest first. */
    alerts: () =>
      gateway.database.query<{ line: string; client: string; direction: string }>(
        `select balance_line_id as line, client_id as client, balance_line_direction as direction from alert
         where type = 'BALANCE_LINE_CROSSED' order by created_at, id`,
      ),
    /** As if a day had passed since the last change of each account. */
    async forgetChanges(): Promise<void> {
      await gateway.database.query('update disclosure set line_changed_at = null')
    },
    async removeAll(): Promise<void> {
      await gateway.database.query('delete from balance_line')
      for (const table of ['delivery_attempt', 'delivery', 'alert', 'outbox_message'])
        await gateway.database.query(`delete from ${table}`)
      await gateway.database.query('update disclosure set line_changed_at = null')
      await gateway.database.query('delete from snapshot')
    },
    async forwardDay(): Promise<void> {
      gateway.forward(DAY_MS + 1_000)
      await eventually('an idle outbox', async () => (await gateway.app.services.outbox.countPending()) === 0)
    },
  }
}
/** The lines of one gateway. */
export type Lines = ReturnType<typeof createLines>

/** Calls every function of the store, so that its statements are sent. */
export async function callLineStore(
  database: Database,
  seal: Seal,
  { clientId, accountId }: { clientId: string; accountId: string },
  now: Date,
): Promise<void> {
  const lines = balanceLineStore(database, seal)
  const disclosures = disclosureStore(database)
  const amount = { amount: '100', currency: 'GBP' } as never
  const drawn = { id: 'line_test', clientId, accountId, type: 'INTERIM_AVAILABLE', line: amount, side: null } as const
  await database.transaction(async (tx) => {
    await disclosures.reserveLineChange(tx, 'key', now)
    await disclosures.recordLineChange(tx, 'key', now)
    const times = { createdAt: now, checkDueAt: now }
    await lines.add(tx, { ...drawn, direction: 'FALLING', disclosureKey: 'key', ...times })
    await moveLines(tx, 'key', 'key')
  })
  await lines.find(clientId, [accountId])
  await lines.takeDue(new Date(), 1, () => now)
  await lines.setSide(database.delivery, { ...drawn, sealed: 'x' } as never, 'ABOVE', null)
  await database.transaction((tx) => lines.delete(tx, clientId, drawn.id))
}
