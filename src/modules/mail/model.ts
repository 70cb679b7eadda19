import type { MailTemplate } from './texts.ts'

/** Who receives a message. The address is looked up when it is sent, so that no message holds one. */
export interface MailRecipient {
  /** CLIENT: the contact of an OAuth client. */
  readonly kind: 'CLIENT'
  readonly id: string
}

/** A message to queue. */
export interface NewMail {
  readonly template: MailTemplate
  readonly recipient: MailRecipient
  /** The ID of what it is about, such as a webhook endpoint. */
  readonly subjectId: string
}

/**
 * PENDING: not sent yet. SENT: the mail server accepted it. FAILED: given up, or the mail server refused the recipient. DROPPED:
 * there was no address.
 */
export type MailStatus = 'PENDING' | 'SENT' | 'FAILED' | 'DROPPED'

/** A message that one process has claimed to send. */
export interface ClaimedMail extends NewMail {
  readonly id: string
  readonly createdAt: Date
  /** Attempts that failed. */
  readonly attemptCount: number
  /** The end of the lease, by the database's clock. Every claim has a different one. */
  readonly claimedUntil: Date
}

/** A complete message. */
export interface OutgoingMail {
  /** Identifies the message: the same for every attempt. */
  readonly id: string
  readonly to: string
  readonly subject: string
  readonly text: string
  readonly date: Date
}

/** What one attempt came to. REFUSED: the mail server does not accept the recipient, so that another attempt is of no use. */
export type MailOutcome = 'SENT' | 'REFUSED' | 'FAILED'

/** Hands messages to a mail server. */
export interface MailTransport {
  /** Does not throw. */
  send(mail: OutgoingMail): Promise<MailOutcome>
}
