import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createLog } from '../../src/kernel/log.ts'
import { createSmtpTransport, type SmtpSettings } from '../../src/modules/mail/index.ts'
import { parseMailServer } from '../../src/mail-settings.ts'
import { createAuthority, type CertificateAuthority } from '../support/certificate-authority.ts'
import { startSmtpServer, type SmtpServer } from '../support/smtp-server.ts'

let authority: CertificateAuthority
let certificate: { chain: string; key: string }
let server: SmtpServer
const lines: string[] = []
const log = createLog(
  'trace',
  () => new Date(),
  (line) => lines.push(line),
)
beforeAll(async () => {
  authority = await createAuthority()
  certificate = await authority.issueWithKey({ subject: 'CN=mail.test', isServer: true })
})
afterEach(() => {
  server.close()
  lines.length = 0
})

const MAIL = {
  id: 'mail_1',
  to: 'team@parley.example',
  subject: 'A subject',
  text: 'A line.\n',
  date: new Date('2026-11-28T00:00:00Z'),
}
const send = (settings: Partial<SmtpSettings> = {}) =>
  createSmtpTransport(
    {
      host: '127.0.0.1',
      port: server.port,
      isImplicitTls: false,
      requiresTls: true,
      credentials: { user: 'guichet', password: 'a-secret' },
      from: 'guichet@gateway.example',
      ...settings,
    },
    'gateway.example',
    log,
  ).send(MAIL)

describe('the transport of email', () => {
  test('a message and the password are sent only over TLS with a trusted certificate', async () => {
    server = await startSmtpServer({ certificate })
    expect(await send({ caCertificates: authority.root })).toBe('SENT')
    expect(server.mails).toMatchObject([
      {
        from: 'guichet@gateway.example',
        to: ['team@parley.example'],
        isEncrypted: true,
        credentials: Buffer.from('\0guichet\0a-secret').toString('base64'),
      },
    ])
    expect(server.commands.slice(0, 3)).toEqual(['EHLO', 'STARTTLS', 'EHLO'])
  })

  test.each([
    ['offers no TLS', false, undefined],
    ['has a certificate of an unknown authority', true, 'OTHER'],
  ])('nothing is sent to a server that %s', async (_what, hasCertificate, authorities) => {
    server = await startSmtpServer(hasCertificate ? { certificate } : {})
    const caCertificates = authorities && (await createAuthority('CN=Other')).root
    expect(await send({ ...(caCertificates !== undefined && { caCertificates }) })).toBe('FAILED')
    expect(server.commands.filter((command) => !['EHLO', 'STARTTLS', 'QUIT'].includes(command))).toEqual([])
  })

  test('a server on loopback needs no TLS', async () => {
    server = await startSmtpServer()
    expect(await send({ requiresTls: false, credentials: undefined })).toBe('SENT')
    expect(server.mails).toMatchObject([{ isEncrypted: false, credentials: undefined }])
  })

  test('a server that says nothing is given up after its time limit', async () => {
    server = await startSmtpServer({ isSilent: true })
    expect(await send({ requiresTls: false })).toBe('FAILED')
  })

  test.each([
    ['RCPT TO', '550 no such user', 'REFUSED'],
    ['RCPT TO', '451 later', 'FAILED'],
    ['MAIL FROM', '550 not from you', 'FAILED'],
    ['END OF DATA', '554 looks like spam', 'FAILED'],
    ['AUTH', '535 wrong password', 'FAILED'],
  ])('the reply to %s of %s is %s, and no text of the server is logged', async (failing, reply, outcome) => {
    server = await startSmtpServer()
    server.reply = (command) => (command === failing ? reply : undefined)
    expect(await send({ requiresTls: false })).toBe(outcome)
    expect(lines.join('\n')).toContain('"event":"mail.failed"')
    expect(lines.join('\n')).not.toMatch(/no such user|later|not from you|spam|wrong|secret|parley/)
  })

  test('a message is plain text that no program answers, with an ID that stays the same', async () => {
    server = await startSmtpServer()
    await send({ requiresTls: false })
    const [headers, text] = server.mails[0]!.data.split('\r\n\r\n')
    expect(headers!.split('\r\n').sort()).toEqual([
      'Auto-Submitted: auto-generated',
      'Content-Transfer-Encoding: 7bit',
      'Content-Type: text/plain; charset=utf-8',
      'Date: Sat, 28 Nov 2026 00:00:00 +0000',
      'From: guichet@gateway.example',
      'MIME-Version: 1.0',
      'Message-ID: <mail_1@gateway.example>',
      'Subject: A subject',
      'To: team@parley.example',
    ])
    expect(text).toBe('A line.')
  })
})

describe('the address of the mail server', () => {
  test.each([
    ['smtp://mail.example', { host: 'mail.example', port: 587, isImplicitTls: false, requiresTls: true }],
    ['smtps://mail.example', { port: 465, isImplicitTls: true, requiresTls: true }],
    ['smtp://127.0.0.1:2525', { host: '127.0.0.1', port: 2_525, requiresTls: false }],
    ['smtp://[::1]:25', { host: '::1', requiresTls: false }],
    ['smtp://localhost.example:25', { requiresTls: true }],
    ['smtp://10.0.0.5', { requiresTls: true }],
    ['smtp://a%40b:p%3Aw@mail.example', { credentials: { user: 'a@b', password: 'p:w' } }],
  ])('%s is read with its TLS rules', (text, server) => {
    expect(parseMailServer(text)).toMatchObject(server)
  })

  test.each([
    'https://mail.example',
    'smtp://',
    'mail.example:25',
    'smtp://user@mail.example',
    'smtp://user:%zz@mail.example',
    'smtp://mail.example/path',
    'smtp://mail.example?tls.rejectUnauthorized=false',
    'smtp://mail.example#x',
  ])('%s is refused', (text) => {
    expect(parseMailServer(text)).toBeUndefined()
  })
})
