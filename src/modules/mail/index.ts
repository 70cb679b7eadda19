export { createMail, type Mail } from './service.ts'
export { createSmtpTransport, type SmtpSettings } from './smtp.ts'
export type { MailTemplate } from './texts.ts'
