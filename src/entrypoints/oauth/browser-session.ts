import type { Provider } from 'oidc-provider'
import type { HttpRequest } from '../../kernel/http.ts'

/** The authentication method (RFC 8176) of a session that a sign-in at a bank proved. */
const PROVEN_BY_BANK = 'bank'
const RESUME = /^\/oauth\/authorize\/([\w-]{1,64})$/

/** What the authorization server notes of a customer who signed in at a bank; without a session where none is proven. */
export const loginOf = (customerId: string, opensSession: boolean) =>
  opensSession ? { accountId: customerId, amr: [PROVEN_BY_BANK] } : { accountId: customerId, remember: false }

/** The customer whom this browser's session proves at this moment. A session that no bank stands behind proves nobody. */
export async function sessionCustomer(provider: Provider, { raw }: HttpRequest): Promise<string | undefined> {
  const session = await provider.Session.get(provider.createContext(raw.request, raw.response))
  return session.amr?.includes(PROVEN_BY_BANK) ? session.accountId : undefined
}

/** A visit, as the authorization server stores it. */
export type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>

/** Whether the visit in the request's path is this browser's, by the visit's signed cookie; the visit may be over. */
export function isOwnVisit(provider: Provider, { raw, params }: HttpRequest): boolean {
  const { cookies } = provider.createContext(raw.request, raw.response)
  const uid = cookies.get(provider.cookieName('interaction'), { signed: true })
  return uid !== undefined && uid === params['uid']
}

/** The visit whose authorization request this address resumes. */
export const resumedVisit = ({ url }: HttpRequest): string | undefined => RESUME.exec(url.pathname)?.[1]

/** The visit of this id where this browser may resume its authorization request, by the request's own signed cookie. */
export async function resumable(
  provider: Provider,
  { raw }: HttpRequest,
  uid: string,
): Promise<Interaction | undefined> {
  const { cookies } = provider.createContext(raw.request, raw.response)
  if (cookies.get(provider.cookieName('resume'), { signed: true }) !== uid) return undefined
  return provider.Interaction.find(uid)
}

/**
 * Makes the browser's session fit the visit that goes on, before the library compares the two. A visit is bound to its browser
 * by its own cookie, and whose it is was decided at the return from the bank; the session may be another by now, because a
 * second tab finished first or a second person uses the browser. The library would end the visit there, or send a page with
 * a script. A session of somebody else is ended, so that nobody goes on in it. Returns the grant that the visit ends with.
 */
export async function prepareResume(provider: Provider, request: HttpRequest): Promise<string | undefined> {
  const uid = resumedVisit(request)
  const interaction = uid === undefined ? undefined : await resumable(provider, request, uid)
  if (!interaction) return undefined
  const context = provider.createContext(request.raw.request, request.raw.response)
  const customerId = interaction.result?.login?.accountId
  if (customerId !== undefined) {
    const session = await provider.Session.get(context)
    if (session.accountId !== undefined && session.accountId !== customerId) await session.destroy()
  }
  if (interaction.session) {
    delete interaction.session
    await interaction.persist()
  }
  return interaction.result?.consent?.grantId
}
