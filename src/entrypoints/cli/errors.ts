import { escapeControlCharacters } from './terminal.ts'

/** What a GraphQL response or a `userErrors` list says about one fault. */
export interface Fault {
  readonly code: string
  /** Path of the field at fault; empty if no single field is at fault. */
  readonly path: readonly (string | number)[]
  readonly message: string
}

/** The command was refused or failed. It prints the message, one line for each fault, and exits with 1. */
export class CommandError extends Error {
  /** What to print on stdout nevertheless, as after success; undefined for nothing. */
  readonly result: unknown

  constructor(lines: string | readonly string[], result?: unknown) {
    super([lines].flat().map(escapeControlCharacters).join('\n'))
    this.result = result
  }
}

/** The arguments are wrong. The command prints the message and exits with 2. */
export class UsageError extends Error {}

/** An OAuth error response (RFC 6749, 5.2); `error` is its code. */
export class OauthError extends Error {
  readonly error: string

  constructor(error: string, description: string) {
    super(description ? `${error}: ${description}` : error)
    this.error = error
  }
}

/** One line for a fault: its code, its field and its message. */
export const formatFault = ({ code, path, message }: Fault): string =>
  `${code}${path.length > 0 ? ` at ${path.join('.')}` : ''}: ${message}`

/** What can be done about an OAuth error, by its code. */
const OAUTH_HINTS: ReadonlyMap<string, string> = new Map([
  ['invalid_client', 'The gateway accepts a client that is active, with a registered key: see guichet clients list.'],
  ['invalid_scope', 'An admin gives a client more scopes: see guichet clients update --help.'],
])

/** What to print on stderr for what a command threw; `issuer` is the gateway that it called. */
export function describeError(error: unknown, issuer: string): string {
  if (error instanceof CommandError) return error.message
  if (error instanceof OauthError) return describeOauthError(error)
  if (error instanceof UsageError) return escapeControlCharacters(error.message)
  if (error instanceof TypeError && error.message === 'fetch failed') return describeFailedRequest(error, issuer)
  return escapeControlCharacters(error instanceof Error ? error.message : String(error))
}

function describeOauthError({ error, message }: OauthError): string {
  const hint = OAUTH_HINTS.get(error)
  return escapeControlCharacters(hint === undefined ? message : `${message}. ${hint}`)
}

function describeFailedRequest({ cause }: TypeError, issuer: string): string {
  const { code = '', address, port } = (cause ?? {}) as { code?: string; address?: string; port?: number }
  if (/CERT|SELF_SIGNED|ERR_TLS/.test(code))
    return `the certificate of ${issuer} is not trusted (${code}): set NODE_EXTRA_CA_CERTS to the certificate file of its authority`
  if (port !== undefined && port !== portOf(issuer))
    return `no sandbox bank responds at ${address ?? ''}:${port}: start the sandbox with npm start`
  return `no gateway responds at ${issuer}: start one with npm start, or name another with --gateway`
}

function portOf(origin: string): number {
  const { port, protocol } = new URL(origin)
  if (port !== '') return Number(port)
  return protocol === 'https:' ? 443 : 80
}
