import { errors } from 'oidc-provider'

/** Parameters that hold JSON (RFC 9396; OpenID Connect Core 1.0, 5.5), which may contain line breaks. */
const JSON_PARAMETERS: ReadonlySet<string> = new Set(['authorization_details', 'claims'])
const CONTROL_CHARACTER = /[\x00-\x1f\x7f]/

/**
 * Rejects control characters in request parameters (RFC 6749, appendix A), because the values are returned, stored and shown
 * unchanged. Throws `invalid_request` with the names of the parameters.
 */
export function rejectControlCharacters(parameters: Readonly<Record<string, unknown>>): void {
  const names = Object.entries(parameters)
    .filter(
      ([name, value]) =>
        typeof value === 'string' && (JSON_PARAMETERS.has(name) ? value.includes('\0') : CONTROL_CHARACTER.test(value)),
    )
    .map(([name]) => name)
  if (names.length > 0) throw new errors.InvalidRequest(`${names.join(', ')} must not contain control characters`)
}
