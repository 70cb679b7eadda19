// npx guichet sandbox token --customer ada --json > ada.json
// npx node examples/typescript/balances.ts ada.json
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createGuichetClient, type Access } from './client.ts'
import type { BalancesQuery, BalancesQueryVariables } from './generated.ts'

type Account = NonNullable<NonNullable<BalancesQuery['customer']>['accounts']>['nodes'][number]
type Balance = NonNullable<Account['balances']>[number]

/** An empty variable counts as unset. */
const readSetting = (name: string): string | undefined => (process.env[name] === '' ? undefined : process.env[name])
const [file = 'ada.json', gateway = readSetting('ISSUER') ?? `http://127.0.0.1:${readSetting('PORT') ?? '4000'}`] =
  process.argv.slice(2)
const access = JSON.parse(readFileSync(file, 'utf8')) as Access
const query = readFileSync(join(import.meta.dirname, 'balances.graphql'), 'utf8')

const client = createGuichetClient(gateway, access)
const { customer } = await client.query<BalancesQuery, BalancesQueryVariables>(query, { first: 20 }, new Date())

for (const { bank, displayName, maskedNumber, balances } of customer?.accounts?.nodes ?? []) {
  const account = `${bank.name}, ${displayName} ${maskedNumber ?? ''}`
  for (const balance of balances ?? []) process.stdout.write(`${account}: ${formatBalance(balance)}\n`)
}

function formatBalance(balance: Balance): string {
  switch (balance.__typename) {
    case 'ExactBalance':
      return `${balance.value.amount} ${balance.value.currency}, ${balance.budget.remaining} more exact reads`
    case 'BalanceBand':
      return `${balance.lowerBound.amount} to ${balance.upperBound.amount} ${balance.upperBound.currency} (${balance.fallbackReason?.code ?? ''})`
    // New kinds of results can be added to the contract.
    default:
      return `unavailable: ${balance.reason.code}`
  }
}
