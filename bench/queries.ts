/** Twenty accounts with their balances and three alerts each: a response of about 18 kB. */
export const ACCOUNT_LIST_QUERY = `query List {
  customer {
    id
    accounts(first: 20) {
      totalCount
      nodes {
        id displayName maskedNumber type usage status currency
        bank { id name country }
        balances(maxAge: 21600) {
          __typename
          ... on ExactBalance { type amount currency asOf freshness creditLineIncluded }
          ... on BalanceBand { type from to currency asOf freshness }
          ... on BalanceUnavailable { reason category retryable retryAt actor }
        }
        alerts(first: 3) {
          nodes { id type severity requestedAction occurredAt }
        }
      }
    }
  }
}`
