import { z } from 'zod'

/**
 * The longest id of a bank, in UTF-16 units. No standard has a limit; the longest known id is a signed token of 642 characters.
 * Ids are stored as digests and sealed, so that no index depends on this.
 */
export const MAX_ID_LENGTH = 1_024

/** Control characters, invisible ones, halves of surrogate pairs, line separators, and what stands for bytes that are no UTF-8. */
const NOT_PRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\uFFFD]/u
/** `.` alone, or `..` as a part of a path, also after a server has decoded it once more. */
const DOT_SEGMENT = /^(?:\.|%2e)$|(?:^|[/\\]|%2f|%5c)(?:\.|%2e){2}(?:$|[/\\]|%2f|%5c)/i

/**
 * Whether a text can be a bank's id: 1 to 1,024 printable characters with any meaning. It is encoded once when it becomes part
 * of a path (RFC 3986, 2.1). Dot segments are refused, because no encoding protects them from every server.
 */
export const isOpaqueId = (text: string): boolean =>
  text.length > 0 && text.length <= MAX_ID_LENGTH && !NOT_PRINTABLE.test(text) && !DOT_SEGMENT.test(text)

/** An id that a bank chose, taken as it is. */
export const opaqueId = z.string().refine(isOpaqueId)

/** A consent id that is also sent as an OAuth scope or in a header: visible ASCII without `"` and `\` (RFC 6749, 3.3). */
export const consentTokenId = opaqueId.regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/)

/** A boolean, or its name as a text. */
export const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')])

/** The members that could not be read in the parse that runs at the moment. Schemas run synchronously, so there is one at most. */
let faultCount = 0

/**
 * An optional member. `null` means absent. A value of a wrong type, or one that is too long, costs only this member: it is
 * absent too, and `parseMembers` counts the fault.
 */
export const optionalMember = <T extends z.ZodType>(member: T) =>
  z
    .preprocess((value) => value ?? undefined, member.optional())
    .catch(() => {
      faultCount++
      return undefined
    })

/** An optional amount. `null` means absent; anything that is no text of 64 characters becomes an empty text, which is no amount. */
export const amountMember = z.preprocess((value) => value ?? undefined, z.string().max(64).optional()).catch('')

/** Runs a parse, and returns its result with the number of optional members that it had to leave out. */
export function countFaults<T>(parse: () => T): { readonly result: T; readonly faults: number } {
  faultCount = 0
  const result = parse()
  return { result, faults: faultCount }
}

/** One entry of a bank's response, reduced to the members that are used. */
export interface Entry<T> {
  readonly wire: T
  /** `INVALID_MEMBER` once for each optional member that was left out. */
  readonly issues: readonly 'INVALID_MEMBER'[]
}

/** Creates the parser of one entry. It returns `undefined` if a required member is missing or wrong. */
export const createEntryParser =
  <T extends z.ZodType>(schema: T) =>
  (value: unknown): Entry<z.output<T>> | undefined => {
    const { result, faults } = countFaults(() => schema.safeParse(value))
    return result.success
      ? {
          wire: result.data,
          issues: faults === 0 ? NO_ISSUES : new Array<'INVALID_MEMBER'>(faults).fill('INVALID_MEMBER'),
        }
      : undefined
  }
const NO_ISSUES: readonly 'INVALID_MEMBER'[] = []

const MAX_ENTRIES = 5_000

const listOrSingle = z.preprocess(
  (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? [value] : value),
  z.array(z.unknown()).max(MAX_ENTRIES),
)
/** A list whose entries are parsed separately. `null` or nothing is an empty list, and a single object a list of one. */
export const entryList = z.preprocess((value) => value ?? [], listOrSingle)
/** The same where the list is all that a response has: `null` is an empty list, but a response without it is another. */
export const requiredEntryList = z.preprocess((value) => (value === null ? [] : value), listOrSingle)

/** An object that some banks send as `null`, or as `[]`, when it is empty. It must be there. */
export const container = <T extends z.ZodRawShape>(shape: T) =>
  z.preprocess(
    (value) => (value === null || (Array.isArray(value) && value.length === 0) ? {} : value),
    z.object(shape),
  )
