import type { Provider } from 'oidc-provider'
import { MINUTE_MS } from '../../kernel/clock.ts'
import type { HttpRequest } from '../../kernel/http.ts'
import type { OauthStore } from './store.ts'

/** The authentication method (RFC 8176) of a session that a sign-in at a bank proved. */
const BANK_AMR = 'bank'
const COOKIE_OPTIONS = { signed: true, httpOnly: true, sameSite: 'lax', overwrite: true } as const
const STOPPED_COOKIE_TTL_MS = 10 * MINUTE_MS
const RESUME_PATH = /^\/oauth\/authorize\/([\w-]{1,64})$/

/** What the authorization server notes of a customer who signed in at a bank; without a session where none is proven. */
export const createLoginResult = (customerId: string, opensSession: boolean) =>
  opensSession ? { accountId: customerId, amr: [BANK_AMR] } : { accountId: customerId, remember: false }

/** A session that a bank stands behind: the customer whom it proves, and its name for as long as it is open. */
export interface VerifiedSession {
  readonly customerId: string
  readonly uid: string
}

/** This browser's session at this moment. One that no bank stands behind proves nobody. */
export async function findVerifiedSession(
  provider: Provider,
  { raw }: HttpRequest,
): Promise<VerifiedSession | undefined> {
  const { amr, accountId, uid } = await provider.Session.get(provider.createContext(raw.request, raw.response))
  return amr?.includes(BANK_AMR) && accountId !== undefined ? { customerId: accountId, uid } : undefined
}

/** The customer whom this browser's session proves at this moment. */
export const findSessionCustomer = async (provider: Provider, request: HttpRequest): Promise<string | undefined> =>
  (await findVerifiedSession(provider, request))?.customerId

/** Ends this browser's session, on the server and in the browser; what others hold of its cookie opens nothing. */
export async function endSession(provider: Provider, store: OauthStore, { raw }: HttpRequest): Promise<void> {
  const context = provider.createContext(raw.request, raw.response)
  const sessionId = context.cookies.get(provider.cookieName('session'), { signed: true })
  if (sessionId !== undefined) await store.signOut(sessionId)
  const isHttps = provider.issuer.startsWith('https:')
  context.cookies.secure = isHttps
  context.cookies.set(provider.cookieName('session'), null, { ...COOKIE_OPTIONS, path: '/', secure: isHttps })
}

/**
 * Lets this browser see once more how it stopped the last sharing, after its session has ended: a cookie for the path of that
 * one page.
 */
export function setStoppedCookie(provider: Provider, { raw }: HttpRequest, path: string, consentId: string): void {
  const { cookies } = provider.createContext(raw.request, raw.response)
  const isHttps = provider.issuer.startsWith('https:')
  cookies.secure = isHttps
  cookies.set(stoppedCookieName(provider), consentId, {
    ...COOKIE_OPTIONS,
    path,
    secure: isHttps,
    maxAge: STOPPED_COOKIE_TTL_MS,
  })
}

/** Whether this browser stopped the last sharing, this consent, a few minutes ago. */
export function hasStoppedCookie(provider: Provider, { raw }: HttpRequest, consentId: string): boolean {
  const { cookies } = provider.createContext(raw.request, raw.response)
  return cookies.get(stoppedCookieName(provider), { signed: true }) === consentId
}

const stoppedCookieName = ({ issuer }: Provider): string =>
  `${issuer.startsWith('https:') ? '__Secure-' : ''}guichet_signed_out`

/** A visit, as the authorization server stores it. */
export type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>

/** Whether the visit in the request's path is this browser's, by the visit's signed cookie; the visit may be over. */
export function isOwnInteraction(provider: Provider, { raw, params }: HttpRequest): boolean {
  const { cookies } = provider.createContext(raw.request, raw.response)
  const uid = cookies.get(provider.cookieName('interaction'), { signed: true })
  return uid !== undefined && uid === params['uid']
}

/** The visit whose authorization request this address resumes. */
export const resumedInteractionUid = ({ url }: HttpRequest): string | undefined => RESUME_PATH.exec(url.pathname)?.[1]

/** Whether this browser may resume the authorization request of a visit, by the request's own signed cookie. */
export function canResume(provider: Provider, { raw }: HttpRequest, uid: string): boolean {
  const { cookies } = provider.createContext(raw.request, raw.response)
  return cookies.get(provider.cookieName('resume'), { signed: true }) === uid
}

/**
 * Makes the browser's session fit the visit that goes on, before the library compares the two. A visit is bound to its browser
 * by its own cookie, and whose it is was decided at the return from the bank; the session may be another by now, because a
 * second tab finished first or a second person uses the browser. The library would end the visit there, or send a page with
 * a script. A session of somebody else is ended, so that nobody goes on in it. Returns the grant that the visit ends with.
 */
export async function prepareResume(
  provider: Provider,
  store: OauthStore,
  request: HttpRequest,
): Promise<string | undefined> {
  const uid = resumedInteractionUid(request)
  if (uid === undefined || !canResume(provider, request, uid)) return undefined
  const interaction = await provider.Interaction.find(uid)
  if (!interaction) return undefined
  const context = provider.createContext(request.raw.request, request.raw.response)
  const customerId = interaction.result?.login?.accountId
  if (customerId !== undefined) {
    const session = await provider.Session.get(context)
    if (session.accountId !== undefined && session.accountId !== customerId) await session.destroy()
  }
  if (interaction.session) await store.detachInteractionSession(uid)
  return interaction.result?.consent?.grantId
}
