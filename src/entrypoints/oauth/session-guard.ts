import type { KoaContextWithOIDC, Provider } from 'oidc-provider'
import type { Consents } from '../../modules/consents/index.ts'
import type { OauthStore } from './store.ts'

/** Dependencies of the session guard. */
export interface SessionGuardDependencies {
  readonly store: Pick<OauthStore, 'isSessionActive'>
  readonly consents: Pick<Consents, 'isGranted' | 'revokeByOauthGrant'>
}

/**
 * Lets a session begin, or continue under a new ID, only if an interaction ends with a consent. The library would also store a
 * session for a failed interaction, and would overwrite the newer session cookie of another tab.
 */
export function guardSessions(provider: Provider, { store, consents }: SessionGuardDependencies): void {
  provider.use(async (ctx, next) => {
    await next()
    // `oidc` is absent for paths that the provider does not serve.
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
