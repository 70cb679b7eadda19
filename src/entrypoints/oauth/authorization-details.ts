import { errors } from 'oidc-provider'
import { z } from 'zod'
import { CUSTOMER_SCOPES, PURPOSES, type CustomerScope, type Purpose } from '../../kernel/scopes.ts'

/** The one type of authorization details (RFC 9396) that Guichet knows. */
export const ACCOUNT_INFORMATION = 'urn:guichet:account-information'

const details = z.strictObject({
  type: z.literal(ACCOUNT_INFORMATION),
  /** What is asked to be shared, as scopes. */
  actions: z.array(z.enum(CUSTOMER_SCOPES)).min(1),
  purposes: z.array(z.enum(PURPOSES)).min(1),
  /** The bank to begin with, where the platform knows it. */
  bank: z.string().max(40).optional(),
})

/** What a platform asks a customer for. */
export interface AccountInformation {
  readonly actions: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly bank?: string | undefined
}

/**
 * Checks a request's details as it is pushed: they have the one form, and ask for no action that the request's scope or
 * the client's registration does not have. Throws `invalid_authorization_details` with our own words.
 */
export function checkDetails(given: unknown, scope: unknown, registered: readonly string[]): void {
  const parsed = details.safeParse(given)
  if (!parsed.success)
    throw new errors.InvalidAuthorizationDetails(
      `a ${ACCOUNT_INFORMATION} holds type, actions (scopes), purposes, and bank if you like; nothing else`,
    )
  const asked = new Set(String(scope).split(' '))
  if (!parsed.data.actions.every((action) => asked.has(action) && registered.includes(action)))
    throw new errors.InvalidAuthorizationDetails('every action must be in the scope of the request and of the client')
}

/**
 * What an authorization request asks for: one account-information object, whose actions are among the request's own
 * scopes. `undefined` where it is not so.
 */
export function readDetails(parameters: Readonly<Record<string, unknown>>): AccountInformation | undefined {
  const { authorization_details, scope } = parameters
  if (typeof authorization_details !== 'string') return undefined
  const parsed = z.array(details).length(1).safeParse(JSON.parse(authorization_details))
  if (!parsed.success) return undefined
  const [wanted] = parsed.data
  const asked = new Set(String(scope).split(' '))
  return wanted?.actions.every((action) => asked.has(action)) ? wanted : undefined
}
