// npx guichet sandbox token --customer ada --json > ada.json
// npx node examples/typescript/balances.ts ada.json
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { guichetClient, type Access } from './client.ts'
import type { BalancesQuery, BalancesQueryVariables } from './generated.ts'

type Account = NonNullable<NonNullable<BalancesQuery['customer']>['accounts']>['nodes'][number]
type Balance = NonNullable<Account['balances']>[number]

/** An empty variable is as good as none. */
const setting = (name: string): string | undefined => (process.env[name] === '' ? undefined : process.env[name])
const [file = 'ada.json', gateway = setting('ISSUER') ?? `http://127.0.0.1:${setting('PORT') ?? '4000'}`] =
  process.argv.slice(2)
const access = JSON.parse(readFileSync(file, 'utf8')) as Access
const query = readFileSync(join(import.meta.dirname, 'balances.graphql'), 'utf8')

const client = guichetClient(gateway, access)
const { customer } = await client.ask<BalancesQuery, BalancesQueryVariables>(query, { first: 20 }, new Date())

for (const { bank, displayName, maskedNumber, balances } of customer?.accounts?.nodes ?? []) {
  const account = `${bank.name}, ${displayName} ${maskedNumber ?? ''}`
  for (const balance of balances ?? []) process.stdout.write(`${account}: ${describe(balance)}\n`)
}

function describe(balance: Balance): string {
  switch (balance.__typename) {
    case 'ExactBalance':
      return `${balance.value.amount} ${balance.value.currency}, ${balance.budget.remaining} more`
    case 'BalanceBand':
      return `${balance.lowerBound.amount} to ${balance.upperBound.amount} ${balance.upperBound.currency} (${balance.fallbackReason?.code ?? ''})`
    // The contract may add kinds of results.
    default:
      return `not known: ${balance.reason.code}`
  }
}
