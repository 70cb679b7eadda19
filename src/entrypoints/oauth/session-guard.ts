import type { KoaContextWithOIDC, Provider } from 'oidc-provider'
import type { Consents } from '../../modules/consents/index.ts'
import type { OauthStore } from './store.ts'

/** What sessions are guarded by. */
export interface SessionGuardDependencies {
  readonly store: Pick<OauthStore, 'isSessionActive'>
  readonly consents: Pick<Consents, 'isGranted' | 'revokeByOauthGrant'>
}

/**
 * Lets a session begin, or go on under a new id, by a visit that ends with a consent, and by nothing else. The library would
 * keep one of a visit that came to nothing, and would set the cookie that a request came with over a newer one of another tab.
 */
export function guardSessions(provider: Provider, { store, consents }: SessionGuardDependencies): void {
  provider.use(async (ctx, next) => {
    await next()
    // A path that is none of the provider's has no `oidc`.
    const { oidc } = ctx as unknown as Partial<KoaContextWithOIDC>
    if (!oidc || (oidc.route === 'resume' && (await isGranted(oidc)))) return
    const cookieName = provider.cookieName('session')
    const isNotSessionCookie = (cookie: string): boolean =>
      !cookie.startsWith(`${cookieName}=`) && !cookie.startsWith(`${cookieName}.sig=`)
    const cookies = [ctx.response.headers['set-cookie'] ?? []].flat().filter(isNotSessionCookie)
    if (cookies.length > 0) ctx.set('set-cookie', cookies)
    else ctx.remove('set-cookie')
  })

  async function isGranted({ result, session }: KoaContextWithOIDC['oidc']): Promise<boolean> {
    const grantId = result?.consent?.grantId
    if (!result?.login || grantId === undefined) return false
    const sessionUid = result['sessionUid']
    if (typeof sessionUid === 'string' && !(await store.isSessionActive(sessionUid)))
      await consents.revokeByOauthGrant(grantId, 'SYSTEM')
    if (await consents.isGranted(grantId)) return true
    await session?.destroy()
    return false
  }
}
