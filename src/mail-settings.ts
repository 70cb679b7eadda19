import { isIPv4 } from 'node:net'

/** The mail server that `GUICHET_SMTP_URL` names. */
export interface MailServer {
  readonly host: string
  readonly port: number
  readonly isImplicitTls: boolean
  readonly requiresTls: boolean
  readonly credentials: { readonly user: string; readonly password: string } | undefined
}

const DEFAULT_PORTS = { 'smtp:': 587, 'smtps:': 465 } as const

/**
 * Parses the address of a mail server, such as `smtp://user:password@mail.example:587` or `smtps://mail.example`. `undefined` if
 * it is another address, or has a path, a query or half of the credentials. Only a server on loopback is used without TLS.
 */
export function parseMailServer(text: string): MailServer | undefined {
  const url = URL.parse(text)
  if (url?.protocol !== 'smtp:' && url?.protocol !== 'smtps:') return undefined
  const { hostname, username, password, pathname, search, hash } = url
  if (hostname === '' || (pathname !== '' && pathname !== '/') || search !== '' || hash !== '') return undefined
  const [user, decodedPassword] = [decode(username), decode(password)]
  if (user === undefined || decodedPassword === undefined || (user === '') !== (decodedPassword === ''))
    return undefined
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const isImplicitTls = url.protocol === 'smtps:'
  return {
    host,
    port: url.port === '' ? DEFAULT_PORTS[url.protocol] : Number(url.port),
    isImplicitTls,
    requiresTls: isImplicitTls || !isLoopback(host),
    credentials: user === '' ? undefined : { user, password: decodedPassword },
  }
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))

/** Messages for faults of the settings. */
export const MAIL_MESSAGES = {
  server:
    'must be an address such as smtp://user:password@mail.example:587 (STARTTLS) or smtps://mail.example, with both or neither of user and password',
  from: 'must be the address of a mailbox, such as guichet@gateway.example',
  incomplete: 'GUICHET_SMTP_URL: GUICHET_SMTP_URL and GUICHET_MAIL_FROM must both be set, or neither',
} as const

/** The settings for sending email; `undefined` unless there are both. */
export function combineMailSettings(
  serverUrl: string | undefined,
  from: string | undefined,
): (MailServer & { readonly from: string }) | undefined {
  const server = serverUrl === undefined ? undefined : parseMailServer(serverUrl)
  return server && from !== undefined ? { ...server, from } : undefined
}
