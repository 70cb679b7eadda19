interface FailureCauseDefinition {
  /** What the cause means, for the person who has to fix it. */
  readonly description: string
  /** Matching error codes of Node, OpenSSL and undici, or the error's name if it has no code. */
  readonly codes: RegExp
  /** What everybody except the operator sees instead. */
  readonly publicCause?: 'DNS_NOT_FOUND'
}

/** The error code for a host name that resolves to a forbidden address. */
export const ADDRESS_NOT_ALLOWED_CODE = 'GUICHET_ADDRESS_NOT_ALLOWED'
/**
 * Why an address that another party chose could not be reached: a closed list; the first matching entry applies. Only the
 * operator learns that a name resolves to an internal address; to others, it does not exist (decision 20).
 */
export const FAILURE_CAUSES = {
  DNS_NOT_FOUND: {
    description: 'The host name has no address that may be connected to.',
    codes: /^(ENOTFOUND|ENODATA|EAI_NONAME|EAI_NODATA)$/,
  },
  DNS_TIMEOUT: {
    description: 'The name servers of the host did not answer.',
    codes: /^(EAI_AGAIN|ETIMEOUT|ESERVFAIL|EAI_FAIL)$/,
  },
  ADDRESS_NOT_ALLOWED: {
    description: 'The host name resolves to an address that may not be connected to, such as a private one.',
    codes: new RegExp(`^${ADDRESS_NOT_ALLOWED_CODE}$`),
    publicCause: 'DNS_NOT_FOUND',
  },
  CONNECTION_REFUSED: {
    description: 'Nothing listens on this port, or a firewall refuses the connection.',
    codes: /^ECONNREFUSED$/,
  },
  HOST_UNREACHABLE: {
    description: 'No network route leads to the address.',
    codes: /^(EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ENETDOWN|EADDRNOTAVAIL)$/,
  },
  CONNECT_TIMEOUT: {
    description: 'The connection and its TLS handshake were not complete in time.',
    codes: /^(UND_ERR_CONNECT_TIMEOUT|ETIMEDOUT)$/,
  },
  RESPONSE_TIMEOUT: {
    description: 'The connection was made, but the response was not complete in time.',
    codes: /^UND_ERR_(HEADERS|BODY)_TIMEOUT$/,
  },
  CERTIFICATE_EXPIRED: { description: 'The certificate of the server has expired.', codes: /^CERT_HAS_EXPIRED$/ },
  CERTIFICATE_NOT_YET_VALID: {
    description: 'The certificate of the server is not valid yet.',
    codes: /^CERT_NOT_YET_VALID$/,
  },
  CERTIFICATE_WRONG_HOST: {
    description: 'The certificate of the server is for another host name.',
    codes: /^(ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH)$/,
  },
  CERTIFICATE_UNKNOWN_AUTHORITY: {
    description:
      'The certificate of the server was not issued by a trusted authority, or an intermediate certificate is missing.',
    codes:
      /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?|UNABLE_TO_VERIFY_LEAF_SIGNATURE|CERT_UNTRUSTED|INVALID_CA)$/,
  },
  CERTIFICATE_REVOKED: { description: 'The certificate of the server is revoked.', codes: /^CERT_REVOKED$/ },
  CERTIFICATE_INVALID: {
    description: 'The certificate of the server is invalid for another reason.',
    codes: /^(CERT_\w+|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED|ERROR_IN_CERT_\w+|EE_KEY_TOO_SMALL|CA_KEY_TOO_SMALL)$/,
  },
  CLIENT_CERTIFICATE_REFUSED: {
    description: 'The server rejects the certificate of the gateway, or requires one and received none.',
    codes:
      /^ERR_SSL_[\w/]*ALERT_(CERTIFICATE_\w+|BAD_CERTIFICATE\w*|UNSUPPORTED_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)$/,
  },
  TLS_FAILED: {
    description:
      'There is no common TLS version or cipher, the server does not speak TLS, or it requires a certificate of the gateway.',
    codes: /^(ERR_SSL_[\w/]+|ERR_TLS_\w+|EPROTO)$/,
  },
  PROTOCOL_ERROR: {
    description: 'The server does not speak valid HTTP/1.1.',
    codes:
      /^(HPE_\w+|HTTPParserError|UND_ERR_(HEADERS_OVERFLOW|RES_CONTENT_LENGTH_MISMATCH|RESPONSE\w*|INFO|NOT_SUPPORTED))$/,
  },
  RESPONSE_TOO_LARGE: {
    description: 'The response is larger than the limit.',
    codes: /^UND_ERR_RES_EXCEEDED_MAX_SIZE$/,
  },
  RESPONSE_ENCODING: {
    description:
      'The response has a content encoding other than gzip, deflate and br, or its compressed data is damaged.',
    codes: /^(Z_\w+|ERR__ERROR_FORMAT\w*)$/,
  },
  CONNECTION_RESET: {
    description: 'The server closed the connection before the response was complete.',
    codes: /^(ECONNRESET|ECONNABORTED|EPIPE|UND_ERR_SOCKET|UND_ERR_ABORTED)$/,
  },
  CONNECTION_FAILED: { description: 'The connection failed for another reason.', codes: /^$/ },
} as const satisfies Record<string, FailureCauseDefinition>

/** A cause of the closed list. */
export type FailureCause = keyof typeof FAILURE_CAUSES

const MAX_DEPTH = 5

/** Maps an error of an outbound request to a cause, by its code or the codes of its causes. Never throws. */
export function findFailureCause(error: unknown): FailureCause {
  return searchCauses(error, 0) ?? 'CONNECTION_FAILED'
}

function searchCauses(error: unknown, depth: number): FailureCause | undefined {
  if (!(error instanceof Error) || depth > MAX_DEPTH) return undefined
  const { code, cause } = error as Error & { code?: unknown }
  // Inner errors are more specific: undici wraps errors of TLS and the network in codes of its own.
  const innerErrors = [cause, ...(error instanceof AggregateError ? (error.errors as unknown[]) : [])]
  for (const innerError of innerErrors) {
    const found = searchCauses(innerError, depth + 1)
    if (found) return found
  }
  return findByCode(typeof code === 'string' ? code : error.name)
}

function findByCode(code: string): FailureCause | undefined {
  const found = Object.entries(FAILURE_CAUSES).find(([, { codes }]) => codes.test(code))
  return found?.[0] as FailureCause | undefined
}

/** A cause that partners and clients may see. */
export type PublicFailureCause = {
  [Cause in FailureCause]: (typeof FAILURE_CAUSES)[Cause] extends { publicCause: string } ? never : Cause
}[FailureCause]

/** The cause as partners and clients see it. */
export function toPublicFailureCause(cause: FailureCause): PublicFailureCause {
  const definition: FailureCauseDefinition = FAILURE_CAUSES[cause]
  return definition.publicCause ?? (cause as PublicFailureCause)
}
