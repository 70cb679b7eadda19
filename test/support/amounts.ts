import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import type { TestGateway } from './gateway.ts'

/** Everything that can be asked about balances. */
export const BALANCE_SCOPES = ['accounts:read', 'balances:threshold', 'balances:band', 'balances:exact']

/** A balance as it was answered. */
export interface AnsweredBalance {
  __typename: string
  amount?: string
  from?: string
  to?: string
  reason?: string
  budget?: { remaining: number; resetsAt: string }
  because?: { reason: string; retryAt: string | null } | null
}

const RANGE = `__typename ... on BalanceBand { from to because { reason retryAt } }
  ... on BalanceUnavailable { reason retryAt }`
const AMOUNT = `${RANGE} ... on ExactBalance { amount budget { remaining resetsAt } }`

const rowsOf = (answer: Awaited<ReturnType<TestGateway['ask']>>): { currency: string; balance: AnsweredBalance }[] => {
  if (!answer.data) throw new Error(JSON.stringify(answer.errors))
  return (answer.data['customer'] as { accounts: { nodes: { currency: string; balance: AnsweredBalance }[] } }).accounts
    .nodes
}

/** The amounts of all of a customer's accounts, while the customer is present. */
export const amountsOf = async (gateway: TestGateway, token: Token, type = 'INTERIM_AVAILABLE') =>
  rowsOf(
    await gateway.ask(
      token,
      `{ customer { accounts { nodes { currency balance: balances(type: ${type}) { ${AMOUNT} } } } } }`,
    ),
  )

/** The amount of a customer's first account. */
export const amountOf = async (gateway: TestGateway, token: Token, type = 'INTERIM_AVAILABLE') =>
  (await amountsOf(gateway, token, type))[0]!.balance

/** The range of a customer's first account. */
export const rangeOf = async (gateway: TestGateway, token: Token, type = 'INTERIM_AVAILABLE') =>
  rowsOf(
    await gateway.askUnattended(
      token,
      `{ customer { accounts { nodes { currency balance: balanceBand(type: ${type}) { ${RANGE} } } } } }`,
    ),
  )[0]!.balance
