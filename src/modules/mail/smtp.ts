import { createTransport } from 'nodemailer'
import { errorTrace, type Log } from '../../kernel/log.ts'
import type { MailOutcome, MailTransport } from './model.ts'

/** The mail server, and the sender of all messages. */
export interface SmtpSettings {
  readonly host: string
  readonly port: number
  /** Whether the connection begins with TLS (RFC 8314). */
  readonly isImplicitTls: boolean
  /** Whether nothing is sent without TLS, so that STARTTLS (RFC 3207) is required if TLS is not implicit. */
  readonly requiresTls: boolean
  readonly credentials: { readonly user: string; readonly password: string } | undefined
  /** The address of the sender. */
  readonly from: string
  /** The certificate authorities to trust, in PEM, in place of the machine's own. */
  readonly caCertificates?: string
}

/** Time limits for each part of an attempt, in milliseconds. */
const TIMEOUTS = { dnsTimeout: 5_000, connectionTimeout: 10_000, greetingTimeout: 10_000, socketTimeout: 20_000 }

/** Creates the transport. It connects for each message. `hostname` is the name of this gateway. */
export function createSmtpTransport(settings: SmtpSettings, hostname: string, log: Log): MailTransport {
  const { host, port, isImplicitTls, requiresTls, credentials, from, caCertificates } = settings
  const transport = createTransport({
    host,
    port,
    secure: isImplicitTls,
    requireTLS: requiresTls,
    // On loopback TLS protects nothing, and local servers often have a certificate that nobody issued.
    ignoreTLS: !requiresTls,
    ...(credentials && { auth: { user: credentials.user, pass: credentials.password } }),
    name: hostname,
    tls: { minVersion: 'TLSv1.2', ...(caCertificates !== undefined && { ca: caCertificates }) },
    // A message is text only; these keep a mistake from becoming a read of files or addresses.
    disableFileAccess: true,
    disableUrlAccess: true,
    ...TIMEOUTS,
  })

  return {
    async send({ id: messageId, to, subject, text, date }): Promise<MailOutcome> {
      try {
        await transport.sendMail({
          from,
          to,
          subject,
          text,
          date,
          messageId: `<${messageId}@${hostname}>`,
          envelope: { from, to: [to] },
          // RFC 3834, 5: no program answers it.
          headers: { 'Auto-Submitted': 'auto-generated' },
        })
        return 'SENT'
      } catch (error) {
        const outcome = isRefusedRecipient(error) ? 'REFUSED' : 'FAILED'
        log.warn('mail.failed', { messageId, code: outcome, trace: errorTrace(error) })
        return outcome
      }
    },
  }
}

/** Whether the server refuses the recipient permanently (RFC 5321, 4.2.1). */
function isRefusedRecipient(error: unknown): boolean {
  const { command, responseCode } = error as { readonly command?: unknown; readonly responseCode?: unknown }
  return command === 'RCPT TO' && typeof responseCode === 'number' && responseCode >= 500
}
