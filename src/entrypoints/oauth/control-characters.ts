import { errors } from 'oidc-provider'

/** Values that are JSON (RFC 9396; OpenID Connect Core 1.0, 5.5), which may have line breaks. */
const JSON_PARAMETERS: ReadonlySet<string> = new Set(['authorization_details', 'claims'])
const CONTROL_CHARACTER = /[\x00-\x1f\x7f]/

/**
 * Refuses control characters in the parameters of a request (RFC 6749, appendix A): a text is sent back, stored and shown
 * as it was given. Throws `invalid_request` that names the parameters.
 */
export function rejectControlCharacters(parameters: Readonly<Record<string, unknown>>): void {
  const names = Object.entries(parameters)
    .filter(
      ([name, value]) =>
        typeof value === 'string' && (JSON_PARAMETERS.has(name) ? value.includes('\0') : CONTROL_CHARACTER.test(value)),
    )
    .map(([name]) => name)
  if (names.length > 0) throw new errors.InvalidRequest(`${names.join(', ')} must hold no control character`)
}
