import { errors } from 'oidc-provider'
import { z } from 'zod'
import { CUSTOMER_SCOPES, PURPOSES, type CustomerScope, type Purpose } from '../../kernel/scopes.ts'

/** The one type of authorization details (RFC 9396) that Guichet knows. */
export const ACCOUNT_INFORMATION = 'urn:guichet:account-information'

/**
 * Letters and digits of any script, single spaces, and a few signs; no control, direction or invisible characters, and at
 * most three marks on a letter. In the one form that Unicode gives it (NFC), so that it can be compared.
 */
const LABEL =
  /^(?!.*\p{Default_Ignorable_Code_Point})(?!.*\p{M}{4})(?!.* {2})(?![ \p{M}])[\p{L}\p{M}\p{N} .,'’()+&#@_*…-]{1,60}(?<! )$/u
const LABEL_RULE =
  "chat.label holds 1 to 60 characters in NFC: letters, digits, single spaces and . , ' ’ ( ) + & # @ _ * … -"

const chatLabel = z
  .string()
  .refine((label) => LABEL.test(label) && /[\p{L}\p{N}]/u.test(label) && label === label.normalize('NFC'))

const details = z.strictObject({
  type: z.literal(ACCOUNT_INFORMATION),
  /** What is asked to be shared, as scopes. */
  actions: z.array(z.enum(CUSTOMER_SCOPES)).min(1),
  purposes: z.array(z.enum(PURPOSES)).min(1),
  /** The bank to begin with, where the platform knows it. */
  bank: z.string().max(40).optional(),
  /** The chat that the link was made for, by a name that its owner knows it by. */
  chat: z.strictObject({ label: chatLabel }).optional(),
})

/** What a platform asks a customer for. */
export interface AccountInformation {
  readonly actions: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly bank?: string | undefined
  /** Shown on the consent pages, so that whoever was sent the link by somebody else sees whose chat it is. */
  readonly chat?: { readonly label: string } | undefined
}

/**
 * Checks a request's details as it is pushed: they have the one form, and ask for no action that the request's scope or
 * the client's registration does not have. Throws `invalid_authorization_details` with our own words.
 */
export function checkDetails(given: unknown, scope: unknown, registered: readonly string[]): void {
  const parsed = details.safeParse(given)
  if (!parsed.success)
    throw new errors.InvalidAuthorizationDetails(
      parsed.error.issues.some(({ path }) => path[0] === 'chat' && path[1] === 'label')
        ? LABEL_RULE
        : `a ${ACCOUNT_INFORMATION} holds type, actions (scopes), purposes, and optionally bank and chat; nothing else`,
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
