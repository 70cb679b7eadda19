import { createHash, randomBytes } from 'node:crypto'
import type { SandboxBank } from './bank.ts'
import { oauthError, signJwt } from './oauth-messages.ts'
import type { AuthorizationProfile } from './oauth-profile.ts'
import { accountsPage, problemPage, signInPage } from './pages.ts'
import { SANDBOX_PASSWORD } from './personas.ts'
import { redirect, HttpError, type Routes, type SandboxResponse } from './server.ts'

/** A customer's visit to the bank's pages. */
export interface SignInSession {
  readonly clientId: string
  readonly consentId: string
  readonly redirectUri: string
  readonly state: string
  readonly nonce: string | undefined
  readonly codeChallenge: string
  customer: string | null
}

/** A code that the bank has issued and that was not redeemed yet. */
export interface AuthorizationCode {
  readonly session: SignInSession
  readonly expiresAt: number
}

/** The lifetime of an authorization code, in milliseconds. */
export const CODE_LIFETIME_MS = 60_000
/** Half of a SHA-256, as ES256 tokens contain it (OpenID Connect Core 1.0, 3.3.2.11). */
const halfHash = (text: string): string =>
  createHash('sha256').update(text).digest().subarray(0, 16).toString('base64url')
/** A page of the bank. */
export const html = (status: number, body: string): SandboxResponse => ({
  status,
  headers: { 'content-type': 'text/html; charset=utf-8' },
  body,
})

/** The bank's pages: sign in, choose accounts, return to the client. */
export function signInRoutes(
  bank: SandboxBank,
  profile: AuthorizationProfile,
  sessions: Map<string, SignInSession>,
  codes: Map<string, AuthorizationCode>,
): Routes {
  const redirectToClient = async (session: SignInSession, result: Record<string, string>): Promise<SandboxResponse> => {
    const target = new URL(session.redirectUri)
    const authorizationResponse = { ...result, state: session.state, iss: bank.origin }
    const { hybridResponseMode, usesPlainRequests = false } = bank.client(session.clientId)?.deviations ?? {}
    if (hybridResponseMode) return redirectHybrid(session, authorizationResponse, hybridResponseMode)
    if (profile.usesSignedRequests && !usesPlainRequests)
      target.searchParams.set('response', await signJwt(bank, authorizationResponse, session.clientId, 120))
    else for (const [name, value] of Object.entries(authorizationResponse)) target.searchParams.set(name, value)
    return redirect(target.href)
  }

  /** The response of `code id_token`, with the hashes of FAPI 1.0 Advanced (5.2.2.1). */
  async function redirectHybrid(
    { redirectUri, clientId, consentId, nonce, customer, state }: SignInSession,
    parameters: Record<string, string>,
    mode: 'fragment' | 'query',
  ): Promise<SandboxResponse> {
    const { code } = parameters
    const claims = { sub: customer ?? '', nonce, openbanking_intent_id: consentId, s_hash: halfHash(state) }
    const idToken = code && (await signJwt(bank, { ...claims, c_hash: halfHash(code) }, clientId, 300))
    const result = new URLSearchParams({ ...parameters, ...(idToken && { id_token: idToken }) }).toString()
    return redirect(`${redirectUri}${mode === 'fragment' ? '#' : '?'}${result}`)
  }

  const findSession = (form: URLSearchParams): [string, SignInSession] => {
    const id = form.get('session') ?? ''
    const session = sessions.get(id)
    if (!session)
      throw new HttpError(html(400, problemPage(bank.config.name, 'This sign-in has ended. Please start again.')))
    return [id, session]
  }

  return {
    'POST /sign-in': async ({ form }) => {
      const [id, session] = findSession(form)
      if (form.get('decision') === 'cancel') return completeSignIn(id, session, 'REJECTED')
      const customer = (form.get('customer') ?? '').trim().toLowerCase()
      const accounts = bank.accountsOf(customer)
      if (accounts.length === 0 || form.get('password') !== SANDBOX_PASSWORD)
        return html(200, signInPage(bank.config.name, id, true))
      session.customer = customer
      const accountOptions = accounts.map((account) => ({
        id: account.id,
        label: `${account.kind.toLowerCase()} ending in ${account.number.slice(-4)} (${account.currency})`,
      }))
      return html(200, accountsPage(bank.config.name, id, 'Guichet', accountOptions))
    },

    'POST /choose': async ({ form }) => {
      const [id, session] = findSession(form)
      const consent = bank.consent(session.consentId)
      if (!session.customer || consent?.status !== 'AWAITING_AUTHORIZATION') throw oauthError(400, 'invalid_request')
      const ownAccountIds = new Set(bank.accountsOf(session.customer).map((account) => account.id))
      const chosenAccountIds = form.getAll('account').filter((account) => ownAccountIds.has(account))
      if (form.get('decision') !== 'allow' || chosenAccountIds.length === 0)
        return completeSignIn(id, session, 'REJECTED')
      consent.customer = session.customer
      consent.accounts = chosenAccountIds
      return completeSignIn(id, session, 'AUTHORIZED')
    },
  }

  async function completeSignIn(
    id: string,
    session: SignInSession,
    status: 'AUTHORIZED' | 'REJECTED',
  ): Promise<SandboxResponse> {
    sessions.delete(id)
    const consent = bank.consent(session.consentId)
    if (consent) {
      if (status === 'AUTHORIZED') profile.onAuthorized(consent)
      consent.status = status
      bank.save()
    }
    if (status === 'REJECTED') return redirectToClient(session, { error: 'access_denied' })
    const code = randomBytes(24).toString('base64url')
    codes.set(code, { session, expiresAt: bank.now().getTime() + CODE_LIFETIME_MS })
    return redirectToClient(session, { code })
  }
}
