import { errorLogFields, toGatewayError } from '../../kernel/errors.ts'
import { RETRIES, retryAt } from '../../kernel/retry.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Stores } from './stores.ts'
import type { Tokens } from './tokens.ts'

/**
 * Creates the job that renews the tokens of connections that nobody has used for a week: banks end refresh tokens that stay unused,
 * and then the customer would have to sign in again. Each connection is tried once a day until its bank responds. Returns the number
 * of renewed ones. Stops early when `shouldContinue` returns false.
 */
export function createIdleTokenRenewal(
  { world: { clock, log, randomness }, banks }: Pick<ConsentsDependencies, 'world' | 'banks'>,
  { connections }: Pick<Stores, 'connections'>,
  tokens: Tokens,
) {
  async function renew(connectionId: string): Promise<boolean> {
    try {
      const access = await tokens.read(connectionId)
      if (access.access.refreshToken === null) return false
      const bank = await banks.getActiveBank(access.connection.connectorId)
      await tokens.renewTokens(access, bank)
      return true
    } catch (error) {
      // The bank has ended the consent: the connection has no tokens any more.
      if (toGatewayError(error).code !== 'RECONNECT_REQUIRED')
        log.warn('consent.idle_renewal_failed', { connectionId, ...errorLogFields(error) })
      return false
    }
  }

  return async function renewIdleTokens(shouldContinue: () => boolean = () => true): Promise<number> {
    let renewedCount = 0
    while (shouldContinue()) {
      const now = clock.now()
      const ids = await connections.claimIdle(now, retryAt(RETRIES.idleTokens, 1, randomness, now))
      if (ids.length === 0) break
      const renewed = await Promise.all(ids.map(renew))
      renewedCount += renewed.filter(Boolean).length
    }
    return renewedCount
  }
}
