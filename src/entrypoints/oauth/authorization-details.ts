import { errors } from 'oidc-provider'
import { z } from 'zod'
import { CUSTOMER_SCOPES, isCustomerScope, PURPOSES, type CustomerScope, type Purpose } from '../../kernel/scopes.ts'

/** The only type of authorization details (RFC 9396) that Guichet supports. */
export const ACCOUNT_INFORMATION = 'urn:guichet:account-information'

/**
 * Letters and digits of any script, single spaces and some punctuation, in NFC so that labels can be compared. No control,
 * direction or invisible characters; at most three combining marks in a row.
 */
const CHAT_LABEL =
  /^(?!.*\p{Default_Ignorable_Code_Point})(?!.*\p{M}{4})(?!.* {2})(?![ \p{M}])[\p{L}\p{M}\p{N} .,'’()+&#@_*…-]{1,60}(?<! )$/u
const chatLabelSchema = z
  .string()
  .refine((label) => CHAT_LABEL.test(label) && /[\p{L}\p{N}]/u.test(label) && label === label.normalize('NFC'))

const hasNoDuplicates = (values: readonly string[]): boolean => new Set(values).size === values.length

const detailsSchema = z.strictObject({
  type: z.literal(ACCOUNT_INFORMATION),
  /** The requested scopes. */
  actions: z.array(z.enum(CUSTOMER_SCOPES)).min(1).refine(hasNoDuplicates),
  purposes: z.array(z.enum(PURPOSES)).min(1).refine(hasNoDuplicates),
  /** The ID of the preselected bank. */
  bank: z.string().max(40).optional(),
  /** The chat that the link was made for, by the name that its owner uses. */
  chat: z.strictObject({ label: chatLabelSchema }).optional(),
})

/** The authorization details of one request: what a platform asks a customer to share. */
export interface AccountInformation {
  readonly actions: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly bank?: string | undefined
  /** Shown on the consent pages, so that a person who received the link from somebody else sees whose chat it is. */
  readonly chat?: { readonly label: string } | undefined
}

/** The rule for each member, as the error states it. */
const MEMBER_RULES: Readonly<Record<string, string>> = {
  type: `must be ${ACCOUNT_INFORMATION}`,
  actions: `must name at least one of ${CUSTOMER_SCOPES.join(', ')}, each once`,
  purposes: `must name at least one of ${PURPOSES.join(', ')}, each once`,
  bank: 'must be the ID of a bank, at most 40 characters, or absent',
  chat: 'must be an object with a label and nothing else, or absent',
  'chat.label': "must hold 1 to 60 characters in NFC: letters, digits, single spaces and . , ' ’ ( ) + & # @ _ * … -",
}
const EXACTLY_ONE_OBJECT =
  `authorization_details must be a JSON array with exactly one object of type ${ACCOUNT_INFORMATION}; ` +
  'send one request for each bank'

/** The parameters of a pushed authorization request that the checks read. */
export interface PushedParameters {
  readonly authorization_details?: string | undefined
  readonly scope?: string | undefined
}

/**
 * Checks that a request has exactly one authorization details object; the provider accepts none or several. Throws
 * `invalid_authorization_details`.
 */
export function requireDetails({ authorization_details: text }: PushedParameters): void {
  // The provider has already checked that it is JSON, and treats an empty parameter as absent.
  const list: unknown = text === undefined || text === '' ? [] : JSON.parse(text)
  if (!Array.isArray(list) || list.length !== 1) throw new errors.InvalidAuthorizationDetails(EXACTLY_ONE_OBJECT)
}

/**
 * Checks one authorization details object of a pushed request: it fits the schema, its actions equal the customer scopes in
 * the request's `scope`, and the client is registered for them. Throws `invalid_authorization_details` with the member and
 * the rule, or with the scopes that differ.
 */
export function validateDetail(detail: unknown, parameters: PushedParameters, registered: readonly string[]): void {
  requireDetails(parameters)
  const parsed = detailsSchema.safeParse(detail)
  if (!parsed.success) throw new errors.InvalidAuthorizationDetails(ruleOf(parsed.error.issues[0]!.path))
  const actions: readonly string[] = parsed.data.actions
  const customerScopes = (parameters.scope ?? '').split(' ').filter(isCustomerScope)
  const mismatches = [
    ['scope', customerScopes.filter((scope) => !actions.includes(scope))],
    ['actions', actions.filter((action) => !customerScopes.some((scope) => scope === action))],
  ] as const
  for (const [parameter, unmatched] of mismatches)
    if (unmatched.length > 0)
      throw new errors.InvalidAuthorizationDetails(
        `actions must equal the customer scopes in the request's scope; only in ${parameter}: ${unmatched.join(' ')}`,
      )
  const unregistered = actions.filter((action) => !registered.includes(action))
  if (unregistered.length > 0)
    throw new errors.InvalidAuthorizationDetails(`the client is not registered for ${unregistered.join(' ')}`)
}

function ruleOf(path: readonly PropertyKey[]): string {
  const names = path.filter((part) => typeof part === 'string')
  const rule = MEMBER_RULES[names.slice(0, 2).join('.')]
  if (rule !== undefined) return `${names.slice(0, 2).join('.')}: ${rule}`
  return `an object of type ${ACCOUNT_INFORMATION} must hold type, actions (scopes) and purposes, optionally bank and chat, and nothing else`
}

/**
 * Parses the authorization details of a request. Returns `undefined` unless there is exactly one valid object whose actions
 * are all in the request's `scope`.
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
