import { errors } from 'oidc-provider'
import { z } from 'zod'
import { CUSTOMER_SCOPES, isCustomerScope, PURPOSES, type CustomerScope, type Purpose } from '../../kernel/scopes.ts'

/** The one type of authorization details (RFC 9396) that Guichet knows. */
export const ACCOUNT_INFORMATION = 'urn:guichet:account-information'

/**
 * Letters and digits of any script, single spaces, and a few signs; no control, direction or invisible characters, and at
 * most three marks on a letter. In the one form that Unicode gives it (NFC), so that it can be compared.
 */
const CHAT_LABEL =
  /^(?!.*\p{Default_Ignorable_Code_Point})(?!.*\p{M}{4})(?!.* {2})(?![ \p{M}])[\p{L}\p{M}\p{N} .,'’()+&#@_*…-]{1,60}(?<! )$/u
const chatLabelSchema = z
  .string()
  .refine((label) => CHAT_LABEL.test(label) && /[\p{L}\p{N}]/u.test(label) && label === label.normalize('NFC'))

const hasNoDuplicates = (values: readonly string[]): boolean => new Set(values).size === values.length

const detailsSchema = z.strictObject({
  type: z.literal(ACCOUNT_INFORMATION),
  /** What is asked to be shared, as scopes. */
  actions: z.array(z.enum(CUSTOMER_SCOPES)).min(1).refine(hasNoDuplicates),
  purposes: z.array(z.enum(PURPOSES)).min(1).refine(hasNoDuplicates),
  /** The bank to begin with, where the platform knows it. */
  bank: z.string().max(40).optional(),
  /** The chat that the link was made for, by a name that its owner knows it by. */
  chat: z.strictObject({ label: chatLabelSchema }).optional(),
})

/** What a platform asks a customer for. */
export interface AccountInformation {
  readonly actions: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly bank?: string | undefined
  /** Shown on the consent pages, so that whoever was sent the link by somebody else sees whose chat it is. */
  readonly chat?: { readonly label: string } | undefined
}

/** What each member must be, in the words of the error. */
const MEMBER_RULES: Readonly<Record<string, string>> = {
  type: `must be ${ACCOUNT_INFORMATION}`,
  actions: `names at least one of ${CUSTOMER_SCOPES.join(', ')}, each once`,
  purposes: `names at least one of ${PURPOSES.join(', ')}, each once`,
  bank: 'is the id of a bank, at most 40 characters, or absent',
  chat: 'is an object with a label and nothing else, or absent',
  'chat.label': "holds 1 to 60 characters in NFC: letters, digits, single spaces and . , ' ’ ( ) + & # @ _ * … -",
}
const EXACTLY_ONE_OBJECT =
  `authorization_details must be a JSON array with exactly one object of type ${ACCOUNT_INFORMATION}; ` +
  'a further bank is a further request'

/** What the authorization server knows of a request as it is pushed. */
export interface PushedParameters {
  readonly authorization_details?: string | undefined
  readonly scope?: string | undefined
}

/**
 * Checks that there is exactly one object of details, whatever the provider makes of none or several. Throws
 * `invalid_authorization_details`.
 */
export function requireDetails({ authorization_details: text }: PushedParameters): void {
  // The provider has checked that it is JSON before this, and takes an empty parameter for none.
  const list: unknown = text === undefined || text === '' ? [] : JSON.parse(text)
  if (!Array.isArray(list) || list.length !== 1) throw new errors.InvalidAuthorizationDetails(EXACTLY_ONE_OBJECT)
}

/**
 * Checks one object of a request's details as it is pushed: it has the one form, and its actions are the customer's scopes
 * of the request, so that one cannot say less than the other, and of the client's registration. Throws
 * `invalid_authorization_details` with the member and the rule, or the scopes that do not fit.
 */
export function validateDetail(detail: unknown, parameters: PushedParameters, registered: readonly string[]): void {
  requireDetails(parameters)
  const parsed = detailsSchema.safeParse(detail)
  if (!parsed.success) throw new errors.InvalidAuthorizationDetails(ruleOf(parsed.error.issues[0]!.path))
  const actions: readonly string[] = parsed.data.actions
  const customerScopes = (parameters.scope ?? '').split(' ').filter(isCustomerScope)
  const mismatches = [
    ['scope', customerScopes.filter((one) => !actions.includes(one))],
    ['actions', actions.filter((one) => !customerScopes.some((other) => other === one))],
  ] as const
  for (const [parameter, unmatched] of mismatches)
    if (unmatched.length > 0)
      throw new errors.InvalidAuthorizationDetails(
        `actions must be the customer's scopes of the request's scope; only in ${parameter}: ${unmatched.join(' ')}`,
      )
  const unregistered = actions.filter((action) => !registered.includes(action))
  if (unregistered.length > 0)
    throw new errors.InvalidAuthorizationDetails(`the client is not registered for ${unregistered.join(' ')}`)
}

function ruleOf(path: readonly PropertyKey[]): string {
  const names = path.filter((part) => typeof part === 'string')
  const rule = MEMBER_RULES[names.slice(0, 2).join('.')]
  if (rule !== undefined) return `${names.slice(0, 2).join('.')}: ${rule}`
  return `a ${ACCOUNT_INFORMATION} holds type, actions (scopes), purposes, and optionally bank and chat; nothing else`
}

/**
 * What an authorization request asks for: one account-information object, whose actions are among the request's own
 * scopes. `undefined` where it is not so.
 */
export function parseDetails(parameters: Readonly<Record<string, unknown>>): AccountInformation | undefined {
  const { authorization_details, scope } = parameters
  if (typeof authorization_details !== 'string') return undefined
  const parsed = z.array(detailsSchema).length(1).safeParse(JSON.parse(authorization_details))
  if (!parsed.success) return undefined
  const [detail] = parsed.data
  const requestedScopes = new Set(String(scope).split(' '))
  return detail?.actions.every((action) => requestedScopes.has(action)) ? detail : undefined
}
