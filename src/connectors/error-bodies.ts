import type { ErrorCode } from '../kernel/errors.ts'
import { parseExactJson } from '../kernel/wire.ts'
import { createCodeMap } from './code-map.ts'

/** How to read the codes of a standard's error bodies. They are only looked up, never logged or returned. */
export interface ErrorCodes {
  /** What the known codes mean. Matched without regard to case. */
  readonly codes: ReadonlyMap<string, ErrorCode>
  /** Removes what the standard puts before its codes. */
  readonly withoutPrefix?: (code: string) => string
}

/** OAuth errors (RFC 6749, 5.2, and RFC 6750, 3.1), which gateways in front of a bank return in place of the standard's. */
const OAUTH_CODES = createCodeMap<ErrorCode>({
  invalid_token: 'RECONNECT_REQUIRED',
  invalid_grant: 'RECONNECT_REQUIRED',
  insufficient_scope: 'RECONNECT_REQUIRED',
  temporarily_unavailable: 'BANK_UNAVAILABLE',
  server_error: 'BANK_UNAVAILABLE',
})

/** The members that hold codes, in lower case: in the standards, in RFC 7807 and in OAuth. Descriptions are not read. */
const CODE_MEMBERS = new Set(['code', 'errorcode', 'error_code', 'error', 'urn'])
const MAX_DEPTH = 6
const MAX_CODES = 100
const MAX_CODE_LENGTH = 256

/**
 * The error code that an error response states: the first known code of the body, whether it is the standard's list, a bare
 * error, a list of errors, or nested in other members, and then that of `WWW-Authenticate` (RFC 6750, 3). Undefined if there
 * is none, as in HTML or an empty body.
 */
export function readErrorCode(
  { text, headers }: { readonly text: string; readonly headers: Readonly<Record<string, string>> },
  { codes, withoutPrefix = (code) => code }: ErrorCodes,
): ErrorCode | undefined {
  const known = new Map([...OAUTH_CODES, ...codes].map(([code, meaning]) => [code.toLowerCase(), meaning]))
  const challenge = /\berror\s*=\s*"?([\w.-]{1,64})/i.exec(headers['www-authenticate'] ?? '')?.[1]
  for (const stated of [...collectCodes(parseExactJson(text)), ...(challenge === undefined ? [] : [challenge])]) {
    const meaning = known.get(withoutPrefix(stated.trim()).toLowerCase())
    if (meaning) return meaning
  }
  return undefined
}

/** The texts of all members that hold codes, in the order of the body. */
function collectCodes(body: unknown): string[] {
  const found: string[] = []
  const visit = (value: unknown, depth: number): void => {
    if (typeof value !== 'object' || value === null || depth > MAX_DEPTH) return
    for (const [name, member] of Object.entries(value)) {
      if (found.length >= MAX_CODES) return
      if (typeof member === 'object') visit(member, depth + 1)
      else if (typeof member === 'string' && member.length <= MAX_CODE_LENGTH && CODE_MEMBERS.has(name.toLowerCase()))
        found.push(member)
    }
  }
  visit(body, 0)
  return found
}
