import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DAY_MS, HOUR_MS } from '../../src/kernel/clock.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createMetrics } from '../../src/kernel/metrics.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { createWorld } from '../../src/kernel/world.ts'
import { parseMailServer } from '../../src/mail-settings.ts'
import { createMail, createSmtpTransport } from '../../src/modules/mail/index.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { commandLineOf } from '../support/command-line.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { startSmtpServer, type SmtpServer } from '../support/smtp-server.ts'
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts'

let gateway: TestGateway
let smtp: SmtpServer
const log = createLog(
  'error',
  () => new Date(),
  () => undefined,
)
const world = createWorld(log, createOutboundHttp({ allowLoopback: true, allowPlainHttp: true }))

const setContact = async (contactEmail: string | null, clientId = 'chatterbox') => {
  const query = `mutation ($input: SetContactInput!) { setContact(input: $input) {
    client { id contactEmail } userErrors { code path message } } }`
  const token = await gateway.own(clientId, 'webhooks:manage')
  const { data, errors } = await gateway.ask(token, query, { input: { contactEmail } })
  expect(errors).toBeUndefined()
  return data!['setContact'] as { client: { contactEmail: string | null } | null; userErrors: object[] }
}
const readNotices = async () => {
  const token = await gateway.own('chatterbox', 'webhooks:manage')
  const query = '{ client { contactEmail notices(first: 3) { nodes { kind occurredAt subjectId } } } }'
  const { data, errors } = await gateway.ask(token, query)
  expect(errors).toBeUndefined()
  return data!['client'] as { contactEmail: string; notices: { nodes: { kind: string; subjectId: string }[] } }
}

describe('the contact of a client', () => {
  beforeAll(async () => {
    gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  })
  afterAll(() => gateway.close())

  test('a client sets and removes its own contact, and no other client sees it', async () => {
    expect(await setContact('team@parley.example')).toEqual({
      client: { id: 'chatterbox', contactEmail: 'team@parley.example' },
      userErrors: [],
    })
    const { contactEmail } = await readNotices()
    expect(contactEmail).toBe('team@parley.example')
    const other = await gateway.own('chatterbox-bearer', 'webhooks:manage')
    const { data } = await gateway.ask(other, '{ client(id: "chatterbox") { contactEmail } }')
    expect(data!['client']).toBeNull()
    expect((await setContact(null)).client).toEqual({ id: 'chatterbox', contactEmail: null })
  })

  test('a token of a customer does not show the contact', async () => {
    const token = await gateway.customer('bo', ['northbank'])
    const { data, errors } = await gateway.ask(token, '{ client { id contactEmail notices { nodes { kind } } } }')
    expect(data!['client']).toEqual({ id: 'chatterbox', contactEmail: null, notices: null })
    expect(errors).toHaveLength(2)
  })

  test('an admin sets the contact of any client, and the ledger records the change without the address', async () => {
    const { guichet } = commandLineOf(() => gateway)
    const { code, err } = await guichet('clients update chatterbox --contact-email fraud-desk@parley.example')
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect((await readNotices()).contactEmail).toBe('fraud-desk@parley.example')
    const entries = await gateway.database.query("select changes from ledger_entry where action = 'CLIENT_CHANGED'")
    expect(JSON.stringify(entries)).toContain('"contactEmail"')
    expect(JSON.stringify(entries)).not.toContain('parley.example')
  })

  test.each([
    'a@b.example\r\nBcc: victim@b.example',
    'a@b.example, c@d.example',
    'a@b.example>',
    '"a b"@b.example',
    'Ann <ann@b.example>',
    'ann@[127.0.0.1]',
    'ann@localhost',
    'ann@b..example',
    'änn@b.example',
    'ann@bücher.example',
    'ann',
    '',
    `${'a'.repeat(65)}@b.example`,
    `ann@${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(60)}.${'e'.repeat(60)}.${'f'.repeat(60)}.example`,
  ])('%j is refused as a contact', async (contactEmail) => {
    expect(await setContact(contactEmail)).toMatchObject({
      client: null,
      userErrors: [{ code: 'INVALID_INPUT', path: ['contactEmail'] }],
    })
  })
})

describe('notices to a contact', () => {
  let receiver: WebhookReceiver
  let endpointId = ''

  beforeAll(async () => {
    smtp = await startSmtpServer()
    receiver = await startWebhookReceiver()
    receiver.respond = (response) => void response.writeHead(410).end()
    gateway = await startGateway({
      env: { GUICHET_SMTP_URL: `smtp://127.0.0.1:${smtp.port}`, GUICHET_MAIL_FROM: 'guichet@gateway.example' },
    })
    await gateway.database.query("update webhook_endpoint set status = 'DISABLED'")
    const { deliveries } = gateway.app.services
    const registered = await deliveries.registerEndpoint('chatterbox', `${receiver.origin}/secret-path`)
    endpointId = registered.webhookEndpoint.id
    await gateway.customer('bo', ['northbank'])
  })
  afterAll(async () => {
    await gateway.close()
    smtp.close()
    receiver.close()
  })
  beforeEach(async () => {
    smtp.mails.length = 0
    smtp.reply = () => undefined
    await gateway.database.query('delete from mail_message; delete from client_notice')
    await setContact('team@parley.example')
  })
  afterEach(() => gateway.app.services.deliveries.updateEndpoint('chatterbox', endpointId, { status: 'ACTIVE' }))

  /** Lets the endpoint be disabled by a response with 410. */
  async function disable(): Promise<void> {
    await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
    await eventually('the notice', async () => (await readNotices()).notices.nodes.length === 1)
  }
  const statuses = async (): Promise<string> =>
    (await gateway.database.query<{ status: string }>('select status from mail_message'))
      .map((row) => row.status)
      .join()
  const hasStatus = (status: string) => async () => (await statuses()) === status
  /** The emails that were begun; the connection of the last one may still be ending. */
  const mailCount = (): number => smtp.commands.filter((command) => command.startsWith('MAIL FROM')).length
  const setDue = () => gateway.database.query('update mail_message set next_attempt_at = now()')

  test('the contact gets one email about a disabled endpoint, which holds no text of others', async () => {
    await disable()
    await eventually('the email', hasStatus('SENT'))
    expect(smtp.mails).toHaveLength(1)
    const [{ from, to, data }] = smtp.mails as [SmtpServer['mails'][number]]
    expect({ from, to }).toEqual({ from: 'guichet@gateway.example', to: ['team@parley.example'] })
    const text = data.replaceAll('=\r\n', '')
    expect(text).toContain('because it responded with status 410 (Gone).')
    expect(text).toContain(`Webhook endpoint: ${endpointId}`)
    expect(text).not.toMatch(/secret-path|CARD_SECURITY|northbank|Chatterbox/)
    expect((await readNotices()).notices.nodes).toEqual([
      { kind: 'WEBHOOK_ENDPOINT_GONE', occurredAt: expect.any(String) as string, subjectId: endpointId },
    ])
    const [row] = await gateway.database.query('select * from mail_message')
    expect(JSON.stringify(row)).not.toContain('@')
  })

  test('an email that the server does not accept is sent later with the same ID, and one that it refuses is not', async () => {
    smtp.reply = (command) => (command === 'END OF DATA' ? '451 later' : undefined)
    await disable()
    await eventually('the first attempt', async () => {
      const rows = await gateway.database.query(
        "select 1 from mail_message where status = 'PENDING' and attempt_count = 1",
      )
      return rows.length === 1
    })
    smtp.reply = (command) => (command === 'RCPT TO' ? '550 unknown' : undefined)
    await setDue()
    await eventually('the refusal', hasStatus('FAILED'))
    await setDue()
    const count = mailCount()
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(mailCount()).toBe(count)
    expect(smtp.mails).toEqual([])
    expect((await readNotices()).notices.nodes).toHaveLength(1)
  })

  test('an email is given up after three days', async () => {
    smtp.reply = (command) => (command === 'MAIL FROM' ? '451 later' : undefined)
    await disable()
    await gateway.database.query("update mail_message set created_at = now() - interval '71 hours', attempt_count = 20")
    await setDue()
    await eventually('the end', hasStatus('FAILED'))
    await eventually('the log', () => Promise.resolve(gateway.log.some((line) => line.includes('mail.given_up'))))
  })

  test('two processes send each email once', async () => {
    await setContact(null)
    await disable()
    await eventually('the end without an address', hasStatus('DROPPED'))
    await setContact('team@parley.example')
    await gateway.database.query(
      `insert into mail_message (id, template, recipient_kind, recipient_id, subject_id, status, next_attempt_at, created_at)
       select 'mail_many' || n, template, recipient_kind, recipient_id, subject_id, 'PENDING', now(), now()
       from mail_message, generate_series(1, 30) n`,
    )
    const addresses = { CLIENT: () => Promise.resolve('team@parley.example') }
    const others = [1, 2].map(() => openDatabase(gateway.database.url, 2))
    const settings = { ...parseMailServer(`smtp://127.0.0.1:${smtp.port}`)!, from: 'guichet@gateway.example' }
    await Promise.all(
      others.map(async (database) => {
        const mailTransport = createSmtpTransport(settings, 'gateway.example', world.log)
        const mail = createMail({ database, world, metrics: createMetrics(), issuer: gateway.issuer, mailTransport })
        while (await mail.sendDue(addresses));
      }),
    )
    await eventually('all emails', async () => {
      const rows = await gateway.database.query("select 1 from mail_message where status = 'SENT'")
      return rows.length === 30
    })
    for (const database of others) await database.close()
    expect(new Set(smtp.mails.map(({ data }) => /^Message-ID: (.+)$/im.exec(data)![1])).size).toBe(30)
    expect(smtp.mails).toHaveLength(30)
  })

  test('a contact gets ten emails a day at most, and every notice stays visible', async () => {
    const { clients } = gateway.app.services
    const database = openDatabase(gateway.database.url, 1)
    for (let count = 0; count < 12; count++)
      await clients.notices.record(database.delivery, [
        { clientId: 'chatterbox', kind: 'WEBHOOK_ENDPOINT_FAILING', subjectId: `whep_${count}` },
      ])
    await eventually('ten emails', async () => /^(SENT,){9}SENT$/.test(await statuses()))
    expect(await gateway.database.query('select 1 from client_notice')).toHaveLength(12)
    gateway.forward(DAY_MS + HOUR_MS)
    await clients.notices.record(database.delivery, [
      { clientId: 'chatterbox', kind: 'WEBHOOK_ENDPOINT_FAILING', subjectId: 'whep_next' },
    ])
    await eventually('one more', () => Promise.resolve(smtp.mails.length === 11))
    await database.close()
  })
})

describe('notices without a mail server', () => {
  test('a notice is visible, and its email is neither sent nor lost before a mail server is set', async () => {
    gateway = await startGateway()
    await setContact('team@parley.example')
    const database = openDatabase(gateway.database.url, 1)
    await gateway.app.services.clients.notices.record(database.delivery, [
      { clientId: 'chatterbox', kind: 'WEBHOOK_ENDPOINT_FAILING', subjectId: 'whep_some' },
    ])
    expect((await readNotices()).notices.nodes).toMatchObject([{ kind: 'WEBHOOK_ENDPOINT_FAILING' }])
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(await gateway.database.query('select status from mail_message')).toEqual([{ status: 'PENDING' }])
    await database.close()
    await gateway.close()
  })
})
