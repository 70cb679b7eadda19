import { z } from 'zod'

/** The longest address and the longest part before the `@` that a server must accept (RFC 5321, 4.5.3.1). */
const MAX_LENGTH = 254
const MAX_LOCAL_LENGTH = 64
const pattern = z.email().max(MAX_LENGTH)

/**
 * Whether the text is the address of a mailbox in its common form: ASCII letters, digits and a few signs, at a domain name.
 * Quoted parts, comments and literal IP addresses are refused, so that no address can change a header or an SMTP command.
 */
export const isEmailAddress = (text: string): boolean =>
  pattern.safeParse(text).success && text.indexOf('@') <= MAX_LOCAL_LENGTH
