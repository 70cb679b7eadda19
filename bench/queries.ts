/** Twenty accounts with their balances and three alerts each: a response of about 18 kB. */
export const ACCOUNT_LIST_QUERY = `query List {
  customer {
    id
    accounts(first: 20) {
      totalCount
      nodes {
        id displayName maskedNumber type usage status currencies
        bank { id name country }
        balances(maxAgeSeconds: 21600) {
          __typename
          ... on ExactBalance { type value { amount currency } asOf freshness creditLineIncluded }
          ... on BalanceBand { type lowerBound { amount currency } upperBound { amount currency } asOf freshness }
          ... on BalanceUnavailable { reason { code category retryable retryAt resolvableBy } }
        }
        alerts(first: 3) {
          nodes { id type severity requestedAction occurredAt }
        }
      }
    }
  }
}`
