// npx guichet sandbox token --customer ada --json > ada.json
// npx node examples/typescript/balances.ts ada.json
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { guichetClient, type Access } from './client.ts'
import type { BalancesQuery, BalancesQueryVariables } from './generated.ts'

/** An empty variable is as good as none. */
const setting = (name: string): string | undefined => (process.env[name] === '' ? undefined : process.env[name])
const [file = 'ada.json', gateway = setting('ISSUER') ?? `http://127.0.0.1:${setting('PORT') ?? '4000'}`] =
  process.argv.slice(2)
const access = JSON.parse(readFileSync(file, 'utf8')) as Access
const query = readFileSync(join(import.meta.dirname, 'balances.graphql'), 'utf8')

const client = guichetClient(gateway, access)
const { customer } = await client.ask<BalancesQuery, BalancesQueryVariables>(query, { first: 20 }, new Date())

for (const { bank, displayName, maskedNumber, balances } of customer?.accounts?.nodes ?? []) {
  const line = `${bank.name}, ${displayName} ${maskedNumber ?? ''}: `
  switch (balances?.__typename) {
    case 'ExactBalance':
      process.stdout.write(`${line}${balances.amount} ${balances.currency}, ${balances.budget.remaining} more\n`)
      break
    case 'BalanceBand':
      process.stdout.write(
        `${line}${balances.from} to ${balances.to} ${balances.currency} (${balances.because?.reason ?? ''})\n`,
      )
      break
    default:
      process.stdout.write(`${line}not known: ${balances?.reason ?? 'not shared'}\n`)
  }
}
