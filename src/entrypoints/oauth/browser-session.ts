import type { InteractionResults, Provider } from 'oidc-provider'
import { GatewayError } from '../../kernel/errors.ts'
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
type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>

/**
 * The visit that this browser's signed cookie belongs to. The library would also compare the browser's session with the one at
 * the beginning of the visit, which another tab may have ended since. Throws `INTERACTION_EXPIRED`.
 */
export async function interactionOf(provider: Provider, { raw, params }: HttpRequest): Promise<Interaction> {
  const { cookies } = provider.createContext(raw.request, raw.response)
  const uid = cookies.get(provider.cookieName('interaction'), { signed: true })
  const interaction = uid !== undefined && uid === params['uid'] ? await provider.Interaction.find(uid) : undefined
  if (!interaction) throw new GatewayError('INTERACTION_EXPIRED')
  return interaction
}

/** Stores how the visit ended; returns where the authorization request goes on. */
export async function finishInteraction(interaction: Interaction, result: InteractionResults): Promise<string> {
  interaction.result = result
  await interaction.persist()
  return interaction.returnTo
}

/**
 * Makes the browser's session fit the visit that goes on, before the library compares the two. A visit is bound to its browser
 * by its own cookie, and whose it is was decided at the return from the bank; the session may be another by now, because a
 * second tab finished first or a second person uses the browser. The library would end the visit there, or send a page with
 * a script. A session of somebody else is ended, so that nobody goes on in it. Returns the grant that the visit ends with.
 */
export async function prepareResume(provider: Provider, { raw, url }: HttpRequest): Promise<string | undefined> {
  const uid = RESUME.exec(url.pathname)?.[1]
  if (uid === undefined) return undefined
  const context = provider.createContext(raw.request, raw.response)
  if (context.cookies.get(provider.cookieName('resume'), { signed: true }) !== uid) return undefined
  const interaction = await provider.Interaction.find(uid)
  if (!interaction) return undefined
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
