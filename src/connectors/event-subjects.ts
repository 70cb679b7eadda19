import { z } from 'zod'
import type { Clock } from '../kernel/clock.ts'
import type { AlertSubject } from './bank-event.ts'
import type { Registration } from './connector.ts'
import { isOpaqueId, opaqueId } from './wire-members.ts'

const MAX_ALIASES = 16
const MAX_URI_LENGTH = 1_024
/** An `acct` URI without percent-escapes in its host (RFC 7565, 7). */
const ACCOUNT_URI = /^acct:([^@]+)@([\w.:-]+)$/i

const identifier = z.looseObject({ format: z.string().max(64) })
const opaqueIdentifier = z.object({ id: opaqueId })
const issuerIdentifier = z.object({ iss: z.string().max(512), sub: opaqueId })
const accountIdentifier = z.object({ uri: z.string().max(MAX_URI_LENGTH).regex(ACCOUNT_URI) })
const aliases = z.object({ identifiers: z.array(z.unknown()).min(1).max(MAX_ALIASES) })

/** How the events of a bank are read. */
export interface EventContext {
  readonly registration: Registration
  readonly clock: Clock
  /** The refs of all accounts that an account id in an event can refer to. Absent if the id is the ref. */
  readonly toAccountRefs?: (accountId: string) => readonly string[]
}

/** What an `opaque` identifier names: an account, unless it is the `user` of a complex subject. */
type OpaqueMeaning = AlertSubject['kind']

/** Ids of one subject: of the account that it is, or of the person. */
interface SubjectIds {
  readonly accountIds: readonly string[]
  readonly customerRefs: readonly string[]
}

const NOTHING: SubjectIds = { accountIds: [], customerRefs: [] }

/**
 * The subject of an event of the Shared Signals Framework (3): the `sub_id` of its token or, in a token without one, the `subject` of
 * the event. An `opaque` identifier (RFC 9493, 3.2.5) is the bank's id of an account; `iss_sub` of the bank's issuer, and `account` at
 * its host, name the person who signs in there. In a complex subject, `account` is the account and `user` the person. Any other
 * identifier names nothing that the gateway knows. The account is the subject if both are named. Returns undefined if neither is.
 */
export function readSubject(
  claims: Readonly<Record<string, unknown>>,
  event: unknown,
  { registration, toAccountRefs = (accountId) => [accountId] }: EventContext,
): AlertSubject | undefined {
  const { accountIds, customerRefs } = readIds(statedSubject(claims, event), issuersOf(registration))
  return accountIds.length > 0 ? accountOf(accountIds, toAccountRefs) : customerOf(customerRefs)
}

/**
 * Who saw something, by the subject of an event: the person, if one is named in any form, and otherwise the account. Returns
 * undefined if the person is named in a form that the gateway does not know, or if there is no subject.
 */
export function readViewer(
  claims: Readonly<Record<string, unknown>>,
  event: unknown,
  { registration, toAccountRefs = (accountId) => [accountId] }: EventContext,
): AlertSubject | undefined {
  const stated = statedSubject(claims, event)
  const { accountIds, customerRefs } = readIds(stated, issuersOf(registration))
  return accountIds.length > 0 && isOnlyAccount(normalizeFormat(stated))
    ? accountOf(accountIds, toAccountRefs)
    : customerOf(customerRefs)
}

const statedSubject = (claims: Readonly<Record<string, unknown>>, event: unknown): unknown =>
  claims['sub_id'] ?? (event as { readonly subject?: unknown } | null)?.subject

const accountOf = (accountIds: readonly string[], toAccountRefs: (id: string) => readonly string[]): AlertSubject => ({
  kind: 'ACCOUNT',
  refs: [...new Set(accountIds)].flatMap((accountId) => toAccountRefs(accountId)),
})

const customerOf = (customerRefs: readonly string[]): AlertSubject | undefined =>
  customerRefs.length > 0 ? { kind: 'CUSTOMER', customerRefs: [...new Set(customerRefs)] } : undefined

/** Whether a subject names an account and nothing else that could belong to one of its holders, such as a person or a session. */
function isOnlyAccount(subject: Record<string, unknown> | undefined): boolean {
  switch (subject?.['format']) {
    case 'opaque':
      return true
    case 'aliases':
      return (aliases.safeParse(subject).data?.identifiers ?? []).every(
        (alias) => normalizeFormat(alias)?.['format'] === 'opaque',
      )
    case 'complex': {
      const { format: _format, account, ...others } = subject
      const named = normalizeFormat(account)
      return Object.keys(others).length === 0 && named?.['format'] !== 'complex' && isOnlyAccount(named)
    }
    default:
      return false
  }
}

/** The issuers whose `sub` is the id by which the bank knows a person. */
const issuersOf = ({ events, authorizationServer }: Registration): readonly string[] =>
  [events?.issuer, authorizationServer].flatMap((issuer) => issuer ?? [])

function readIds(stated: unknown, issuers: readonly string[]): SubjectIds {
  const subject = normalizeFormat(stated)
  if (subject?.['format'] !== 'complex') return readIdentifier(subject, 'ACCOUNT', issuers)
  // Every member is an attribute of one subject (3.3.1), so that a session or a device only narrows what the others name.
  return union([
    { ...NOTHING, accountIds: readIdentifier(normalizeFormat(subject['account']), 'ACCOUNT', issuers).accountIds },
    { ...NOTHING, customerRefs: readIdentifier(normalizeFormat(subject['user']), 'CUSTOMER', issuers).customerRefs },
  ])
}

/**
 * The object with its `format`. Drafts call it `subject_type`, with hyphens in the values, and leave it out of complex subjects.
 */
function normalizeFormat(stated: unknown): Record<string, unknown> | undefined {
  if (typeof stated !== 'object' || stated === null) return undefined
  const { subject_type: draftFormat, ...members } = stated as Record<string, unknown>
  const format =
    members['format'] ?? (typeof draftFormat === 'string' ? draftFormat.replaceAll('-', '_') : undefined) ?? 'complex'
  return identifier.safeParse({ ...members, format }).data
}

function readIdentifier(
  value: Record<string, unknown> | undefined,
  opaqueMeaning: OpaqueMeaning,
  issuers: readonly string[],
): SubjectIds {
  switch (value?.['format']) {
    case 'opaque': {
      const { data } = opaqueIdentifier.safeParse(value)
      if (!data) return NOTHING
      return opaqueMeaning === 'ACCOUNT'
        ? { ...NOTHING, accountIds: [data.id] }
        : { ...NOTHING, customerRefs: [data.id] }
    }
    case 'iss_sub': {
      const { data } = issuerIdentifier.safeParse(value)
      return data && issuers.includes(data.iss) ? { ...NOTHING, customerRefs: [data.sub] } : NOTHING
    }
    case 'account':
      return readAccountUri(value, issuers)
    case 'aliases': {
      const { data } = aliases.safeParse(value)
      // Aliases contain no aliases (RFC 9493, 3.2.8).
      const simple = (data?.identifiers ?? []).map(normalizeFormat).filter((alias) => alias?.['format'] !== 'aliases')
      return union(simple.map((alias) => readIdentifier(alias, opaqueMeaning, issuers)))
    }
    default:
      return NOTHING
  }
}

/** The user part of an `acct` URI at the host of an issuer. */
function readAccountUri(value: unknown, issuers: readonly string[]): SubjectIds {
  const [, userPart, host] = ACCOUNT_URI.exec(accountIdentifier.safeParse(value).data?.uri ?? '') ?? []
  const isOfBank = issuers.some((issuer) => URL.parse(issuer)?.host === host?.toLowerCase())
  const user = userPart === undefined || !isOfBank ? undefined : decodeUserPart(userPart)
  return user !== undefined && isOpaqueId(user) ? { ...NOTHING, customerRefs: [user] } : NOTHING
}

function decodeUserPart(userPart: string): string | undefined {
  try {
    return decodeURIComponent(userPart)
  } catch {
    return undefined
  }
}

const union = (found: readonly SubjectIds[]): SubjectIds => ({
  accountIds: found.flatMap(({ accountIds }) => accountIds),
  customerRefs: found.flatMap(({ customerRefs }) => customerRefs),
})
