import type { Provider } from 'oidc-provider'
import { MINUTE_MS } from '../../kernel/clock.ts'
import type { HttpRequest } from '../../kernel/http.ts'
import type { OauthStore } from './store.ts'

/** The authentication method (`amr`, RFC 8176) of a session whose customer signed in at a bank. */
const BANK_AMR = 'bank'
const COOKIE_OPTIONS = { signed: true, httpOnly: true, sameSite: 'lax', overwrite: true } as const
const STOPPED_COOKIE_TTL_MS = 10 * MINUTE_MS
const RESUME_PATH = /^\/oauth\/authorize\/([\w-]{1,64})$/

/** The provider's login result for a customer who signed in at a bank; with `opensSession`, the browser gets a session. */
export const createLoginResult = (customerId: string, opensSession: boolean) =>
  opensSession ? { accountId: customerId, amr: [BANK_AMR] } : { accountId: customerId, remember: false }

/** A session that began with a sign-in at a bank. `uid` stays the same while the session is open. */
export interface VerifiedSession {
  readonly customerId: string
  readonly uid: string
}

/** This browser's current session; undefined if there is none or it did not begin with a sign-in at a bank. */
export async function findVerifiedSession(
  provider: Provider,
  { raw }: HttpRequest,
): Promise<VerifiedSession | undefined> {
  const { amr, accountId, uid } = await provider.Session.get(provider.createContext(raw.request, raw.response))
  return amr?.includes(BANK_AMR) && accountId !== undefined ? { customerId: accountId, uid } : undefined
}

/** The ID of the customer of this browser's verified session. */
export const findSessionCustomer = async (provider: Provider, request: HttpRequest): Promise<string | undefined> =>
  (await findVerifiedSession(provider, request))?.customerId

/** Ends this browser's session on the server and in the browser. Copies of its cookie become invalid. */
export async function endSession(provider: Provider, store: OauthStore, { raw }: HttpRequest): Promise<void> {
  const context = provider.createContext(raw.request, raw.response)
  const sessionId = context.cookies.get(provider.cookieName('session'), { signed: true })
  if (sessionId !== undefined) await store.signOut(sessionId)
  const isHttps = provider.issuer.startsWith('https:')
  context.cookies.secure = isHttps
  context.cookies.set(provider.cookieName('session'), null, { ...COOKIE_OPTIONS, path: '/', secure: isHttps })
}

/**
 * Sets a cookie for `path` that lets this browser load the page about its last stopped consent after its session has ended.
 * Valid for ten minutes.
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

/** Whether this browser stopped this consent, its customer's last one, within the last ten minutes. */
export function hasStoppedCookie(provider: Provider, { raw }: HttpRequest, consentId: string): boolean {
  const { cookies } = provider.createContext(raw.request, raw.response)
  return cookies.get(stoppedCookieName(provider), { signed: true }) === consentId
}

const stoppedCookieName = ({ issuer }: Provider): string =>
  `${issuer.startsWith('https:') ? '__Secure-' : ''}guichet_signed_out`

/** An interaction: one customer's pass through the consent pages for one authorization request, as the provider stores it. */
export type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>

/** Whether the interaction in the request's path belongs to this browser, by its signed cookie. The interaction may be over. */
export function isOwnInteraction(provider: Provider, { raw, params }: HttpRequest): boolean {
  const { cookies } = provider.createContext(raw.request, raw.response)
  const uid = cookies.get(provider.cookieName('interaction'), { signed: true })
  return uid !== undefined && uid === params['uid']
}

/** The UID of the interaction whose authorization request this address resumes. */
export const resumedInteractionUid = ({ url }: HttpRequest): string | undefined => RESUME_PATH.exec(url.pathname)?.[1]

/** Whether this browser may resume the authorization request of an interaction, by the signed cookie of that request. */
export function canResume(provider: Provider, { raw }: HttpRequest, uid: string): boolean {
  const { cookies } = provider.createContext(raw.request, raw.response)
  return cookies.get(provider.cookieName('resume'), { signed: true }) === uid
}

/**
 * Removes conflicts between the browser's session and the interaction to resume, before the library compares the two. The
 * interaction has its own cookie, and its customer was decided on return from the bank. The session may differ by now, because
 * a second tab finished first or a second person uses the browser; the library would then end the interaction or send a page
 * with a script. Ends a session of another customer. Returns the ID of the grant that the interaction ends with.
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
