/**
 * A message to everything that listens at this moment, in all processes; who does not listen misses it. It names what changed
 * and contains no data, because any database role can read and send it. A listener may receive one more than once.
 */
export type Signal =
  /** From now on, these alerts are shown: subscriptions send them, and lists of the customers' alerts are stale. */
  | {
      readonly kind: 'ALERTS_SHOWN'
      readonly alerts: readonly { readonly id: string; readonly customerId: string }[]
    }
  /** These customers have new alerts: lists of their alerts are stale. */
  | { readonly kind: 'ALERTS_CHANGED'; readonly customerIds: readonly string[] }
  /** The client marked alerts of the customer as read: the client's list of them is stale. No other client's list is. */
  | { readonly kind: 'ALERTS_READ'; readonly clientId: string; readonly customerId: string }
  /** The customer's accounts changed. */
  | { readonly kind: 'ACCOUNTS'; readonly customerId: string }
  /** The consent changed its status. `customerId` is null if no customer is known. */
  | { readonly kind: 'CONSENT'; readonly id: string; readonly customerId: string | null }
  /** An enrollment of an admin was opened; `id` is its reason. */
  | { readonly kind: 'ADMIN_ENROLLMENT'; readonly id: string }
  /** The client, its registered operations or its keys changed. */
  | { readonly kind: 'CLIENT'; readonly id: string }
  /** The access token with this digest was revoked. */
  | { readonly kind: 'TOKEN'; readonly id: string }
  /** The tokens of this OAuth grant were revoked. */
  | { readonly kind: 'OAUTH_GRANT'; readonly id: string }
  /** The bank, one of its connectors or its outages changed. */
  | { readonly kind: 'BANK'; readonly id: string }
  /** The connector has other certificates or another client secret. */
  | { readonly kind: 'CREDENTIALS'; readonly id: string }
