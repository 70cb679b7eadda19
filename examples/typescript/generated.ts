/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
export type BalancesQueryVariables = Exact<{
  first: number;
}>;


export type BalancesQuery = { readonly customer: { readonly id: string, readonly accounts: { readonly nodes: ReadonlyArray<{ readonly id: string, readonly displayName: string, readonly maskedNumber: string | null, readonly bank: { readonly name: string }, readonly balances:
          | { readonly __typename: 'BalanceBand', readonly from: string, readonly to: string, readonly currency: string, readonly because: { readonly reason: string } | null }
          | { readonly __typename: 'BalanceUnavailable', readonly reason: string, readonly actor: string, readonly retryAt: string | null }
          | { readonly __typename: 'ExactBalance', readonly amount: string, readonly currency: string, readonly asOf: string, readonly budget: { readonly remaining: number } }
         | null }> } | null } | null };
