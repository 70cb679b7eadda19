/** The values that a text may name: IDs and addresses of the gateway, and nothing that a person wrote. */
export interface MailValues {
  /** The origin of the gateway. */
  readonly gateway: string
  readonly recipientId: string
  readonly subjectId: string
}

/** A text without its values. Every paragraph is one line. */
interface MailText {
  readonly subject: string
  readonly paragraphs: (values: MailValues) => readonly string[]
}

const endpointText = (reason: string): MailText => ({
  subject: 'Guichet disabled a webhook endpoint',
  paragraphs: ({ gateway, recipientId, subjectId }) => [
    `Guichet disabled a webhook endpoint of your client, because ${reason}.`,
    `Gateway: ${gateway}\nClient: ${recipientId}\nWebhook endpoint: ${subjectId}`,
    'The endpoint receives no messages until you enable it again with updateWebhookEndpoint. Messages that were waiting for it were dropped; alerts stay in the API.',
    'You receive this message because this address is the contact of the client. setContact changes or removes it.',
  ],
})

/** Every message, in fixed English sentences. Subjects are constant, and no text contains data of a customer. */
export const MAIL_TEXTS = {
  WEBHOOK_ENDPOINT_GONE: endpointText('it responded with status 410 (Gone)'),
  WEBHOOK_ENDPOINT_FAILING: endpointText('it accepted no message for five days'),
} as const satisfies Readonly<Record<string, MailText>>

/** The kinds of messages. */
export type MailTemplate = keyof typeof MAIL_TEXTS

/** Subject and text of a message. */
export function renderMail(
  template: MailTemplate,
  values: MailValues,
): { readonly subject: string; readonly text: string } {
  const { subject, paragraphs } = MAIL_TEXTS[template]
  return { subject, text: `${paragraphs(values).join('\n\n')}\n` }
}
