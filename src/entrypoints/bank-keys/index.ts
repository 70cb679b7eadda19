import type { AccessLimits } from '../../kernel/access-limits.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import { jsonResponse, route, type Route } from '../../kernel/http.ts'
import type { Banks } from '../../modules/banks/index.ts'

/** How long banks and directories may cache the keys: a new key is published for this long before it is needed. */
const CACHE_CONTROL = 'public, max-age=300'

/** Dependencies of the key routes. */
export interface BankKeyDependencies {
  readonly banks: Pick<Banks, 'publishedKeys'>
  readonly limits: AccessLimits
}

/** The public keys with which the gateway signs for one connector's bank (RFC 7517, 5), for banks and directories. */
export const bankKeyRoutes = ({ banks, limits }: BankKeyDependencies): Route[] => [
  route('GET', '/bank-keys/{connectorId}/jwks.json', async ({ params, remoteAddress }) => {
    limits.admit(remoteAddress)
    const keys = await banks.publishedKeys(params['connectorId']!).catch((error: unknown) => {
      if (toGatewayError(error).code === 'NOT_FOUND') limits.recordFailure(remoteAddress)
      throw error
    })
    return jsonResponse(200, keys, { 'content-type': 'application/jwk-set+json', 'cache-control': CACHE_CONTROL })
  }),
]
