import type { CustomerOfClient } from '../../kernel/request-context.ts'
import type { Seal } from '../../storage/seal.ts'

/** The ID of an account for one client. It differs from client to client, so that clients cannot compare customers. */
export const publicAccountIdOf = (seal: Pick<Seal, 'digest'>, clientId: string, accountId: string): string =>
  `account_${seal.digest('public', 'account', clientId, accountId)}`

/** The cache key of what a customer shares with a client. */
export const sharedKeyOf = ({ clientId, customerId }: CustomerOfClient): string => `${clientId}/${customerId}`

/** The cache tags of what a customer shares with a client, by its `sharedKeyOf`. */
export function sharedTagsOf(key: string): string[] {
  const [client, customer] = key.split('/')
  return [`client/${client}`, `customer/${customer}`]
}
