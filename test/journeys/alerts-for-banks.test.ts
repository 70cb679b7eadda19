import { execFile } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { decodeJwt, importJWK, SignJWT, type CryptoKey, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pollRequest, pollResponse, toPolledEvents } from '../../src/connectors/event-polling.ts'
import { push } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { readPage, storePrograms, valuesOf, withoutTicks } from '../support/page.ts'
import { ok } from '../support/scripted-bank.ts'
import { common, connect } from '../support/standards.ts'

const { blocksOf, blockOf, jsonOf, rowsOf } = readPage('docs/ALERTS-FOR-BANKS.md')

type BankId = 'northbank' | 'westbank' | 'southbank'
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
  await gateway.customer('bo', ['northbank'])
  await gateway.customer('fay', ['westbank'])
  await gateway.customer('cody', ['southbank'])
})
afterAll(() => gateway.close())

const stateFile = (bank: BankId): string => join(gateway.dataDir, 'sandbox', `${bank}.json`)
function stateOf(bank: BankId): { key: JWK; kid: string; eventsUrl: string } {
  const { signingKey: key, clients } = JSON.parse(readFileSync(stateFile(bank), 'utf8')) as {
    signingKey: JWK
    clients: Record<string, { eventsUrl: string }>
  }
  return { key, kid: key.kid!, eventsUrl: clients['guichet']!.eventsUrl }
}
const nowSeconds = (): number => Math.floor(Date.now() / 1_000)

/** The text of an example with the addresses of this run, and with the time of now. */
const ofThisRun = (text: string, bank: BankId = 'northbank'): string =>
  text
    .replaceAll('http://127.0.0.1:4101', gateway.sandbox.banks[bank])
    .replaceAll('127.0.0.1:4101', new URL(gateway.sandbox.banks[bank]).host)
    .replaceAll('http://127.0.0.1:4000/bank-events/cnct_example', stateOf(bank).eventsUrl)
    .replaceAll(/: 17953\d{5}\b/g, `: ${nowSeconds()}`)

async function sign(claims: object, bank: BankId = 'northbank', typ?: string): Promise<string> {
  const { key, kid } = stateOf(bank)
  return new SignJWT({ ...claims })
    .setProtectedHeader({ alg: 'ES256', kid, ...(typ && { typ }) })
    .sign(await importJWK(key, 'ES256'))
}
async function pushSet(text: string): Promise<number> {
  const token = await sign(JSON.parse(ofThisRun(text)) as object, 'northbank', 'secevent+jwt')
  return (await push(stateOf('northbank').eventsUrl, token)).status
}
/** The alerts that `work` leads to, with the account of each. */
async function alertsOf(work: () => Promise<unknown>): Promise<unknown[]> {
  const sql = 'select id, type, account_id is not null as "hasAccount" from alert'
  const before = (await gateway.database.query<{ id: string }>(sql)).map(({ id }) => id)
  await work()
  const after = await gateway.database.query<{ id: string; type: string; hasAccount: boolean }>(sql)
  return after.filter(({ id }) => !before.includes(id)).map(({ type, hasAccount }) => ({ type, hasAccount }))
}
async function consentAt(bank: BankId, customer: string): Promise<string> {
  const response = await fetch(`${gateway.sandbox.banks[bank]}/sandbox/consents?customer=${customer}`)
  const { consents } = (await response.json()) as { consents: { id: string; status: string }[] }
  return consents.find(({ status }) => status === 'AUTHORIZED')!.id
}
const activeCount = async (bank: BankId): Promise<number> =>
  (
    await gateway.database.query<{ n: number }>(
      "select count(*)::int n from consent where bank_id = $1 and status = 'ACTIVE'",
      [bank],
    )
  )[0]!.n

interface ShownAlert {
  readonly id: string
  readonly type: string
  readonly responseOptions: readonly string[]
  readonly response: { readonly answer: string; readonly status: string } | null
}

describe('the page about alerts for banks', () => {
  test('its tokens lead to the alerts that it states', async () => {
    const [alert, ofPerson, ...others] = blocksOf('json set')
    expect(others).toEqual([])
    expect(await alertsOf(async () => expect(await pushSet(alert!)).toBe(202))).toEqual([
      { type: 'CARD_SECURITY', hasAccount: true },
    ])
    expect(await alertsOf(async () => expect(await pushSet(ofPerson!)).toBe(202))).toEqual([
      { type: 'AUTHENTICATION_CHANGED', hasAccount: false },
    ])
    expect(await alertsOf(async () => expect(await pushSet(alert!)).toBe(202))).toEqual([])
  })

  test('its program sends its token to the sandbox', async () => {
    const programs = storePrograms({ 'send-set.mjs': blockOf('js send-set') })
    try {
      const program = join(programs.folder, 'send-set.mjs')
      const alerts = await alertsOf(async () => {
        const running = promisify(execFile)(process.execPath, [program, stateFile('northbank')])
        running.child.stdin!.end(ofThisRun(blocksOf('json set')[0]!))
        expect((await running).stdout.trim()).toBe('202')
      })
      expect(alerts).toEqual([{ type: 'CARD_SECURITY', hasAccount: true }])
    } finally {
      programs.remove()
    }
  })

  test('each subject of its table is about what the table states', async () => {
    const found: unknown[] = []
    for (const [subject, meaning] of rowsOf('subject')) {
      const set = JSON.parse(blocksOf('json set')[1]!) as Record<string, unknown>
      const text = JSON.stringify({ ...set, jti: randomUUID(), sub_id: JSON.parse(withoutTicks(subject!)) as unknown })
      const alerts = await alertsOf(async () =>
        expect(await pushSet(text.replaceAll(':1795341600', ': 1795341600'))).toBe(202),
      )
      found.push([meaning!.split(/[ ,]/)[1], alerts.map((alert) => (alert as { hasAccount: boolean }).hasAccount)])
    }
    expect(found).toEqual([
      ['account', [true]],
      ['person', [false]],
      ['person', [false]],
      ['`account`', [false]],
      ['account', [true]],
      ['that', []],
    ])
  })

  test('its lists of types, severities, actions and outcomes are those of the contract', () => {
    const listed = (column: string): string[] =>
      rowsOf(column)
        .map(([name]) => withoutTicks(name!))
        .sort()
    expect(listed('type')).toEqual(
      valuesOf('AlertType')
        .filter((name) => name !== 'BALANCE_LINE_CROSSED')
        .sort(),
    )
    expect(listed('severity')).toEqual(valuesOf('AlertSeverity').sort())
    expect(listed('requested action')).toEqual(valuesOf('AlertAction').sort())
    expect(listed('outcome')).toEqual(valuesOf('BankEventOutcome').sort())
  })

  test('a response reaches the bank as the token that it shows, and its reports have the effects that it states', async () => {
    const registered = ofThisRun(blockOf('json registration'))
    const [row] = await gateway.database.query<{ registration: Record<string, unknown> }>(
      "select registration from connector where bank_id = 'northbank'",
    )
    expect(row!.registration).toMatchObject(JSON.parse(registered) as object)
    expect(rowsOf('response').map(([name]) => withoutTicks(name!))).toEqual(valuesOf('AlertAnswer'))

    const customer = await gateway.customer('bo', ['northbank'], { scopes: ['alerts:read', 'alerts:respond'] })
    const set = { ...(JSON.parse(blocksOf('json set')[0]!) as Record<string, unknown>), jti: randomUUID() }
    expect(await pushSet(JSON.stringify(set, null, 1).replace('CARD_SECURITY', 'UNUSUAL_ACTIVITY_REVIEW'))).toBe(202)
    const query = '{ customer { alerts { nodes { id type responseOptions response { answer status } } } } }'
    const newest = async () => {
      const { data } = await gateway.ask(customer, query)
      const { nodes } = (data as { customer: { alerts: { nodes: ShownAlert[] } } }).customer.alerts
      return nodes.find(({ type }) => type === 'UNUSUAL_ACTIVITY_REVIEW')
    }
    const alert = await eventually('the alert', newest)
    expect(alert.responseOptions).not.toContain('IT_WAS_ME')
    const viewed = blockOf('json set detail-viewed').replace(/"alert": "[^"]+"/, `"alert": "${set.jti}"`)
    expect(await pushSet(viewed)).toBe(202)
    expect((await newest())!.responseOptions).toContain('IT_WAS_ME')

    const bodies: string[] = []
    gateway.intercept = ({ url, body }) => {
      if (!url.endsWith('/alert-responses')) return undefined
      bodies.push(String(body))
      return Promise.resolve({ status: 202, headers: {}, text: '' })
    }
    const mutation = `mutation { respondToAlert(input: { alertId: "${alert.id}", answer: FREEZE_REQUESTED }) {
      userErrors { code } } }`
    expect((await gateway.ask(customer, mutation)).data).toEqual({ respondToAlert: { userErrors: [] } })
    await eventually('the status', async () => (await newest())!.response?.status === 'SENT')
    const sent = decodeJwt(bodies[0]!)
    const shown = JSON.parse(ofThisRun(blockOf('json response-token'))) as typeof sent
    expect(sent).toEqual({
      ...shown,
      iss: gateway.issuer,
      iat: expect.any(Number) as number,
      jti: expect.stringMatching(/^answ_/) as string,
      events: {
        'urn:guichet:events:alert-response': {
          alert: set.jti,
          answer: 'FREEZE_REQUESTED',
          responded_at: sent.iat,
          consent: expect.stringMatching(/^northbank-consent-/) as string,
        },
      },
    })
    expect(JSON.stringify(Object.keys(shown))).toBe(JSON.stringify(Object.keys(shown).filter((name) => name in sent)))
    const processed = blockOf('json set response-processed').replace(/answ_[\w-]+/, sent.jti!)
    expect(await pushSet(processed)).toBe(202)
    expect((await newest())!.response).toEqual({ answer: 'FREEZE_REQUESTED', status: 'CONFIRMED' })
    gateway.intercept = undefined
  })

  test('its FDX notification leads to an alert, with the signature that it describes', async () => {
    const { key, kid, eventsUrl } = stateOf('westbank')
    const url = `${eventsUrl}/notifications`
    const body = JSON.stringify({ ...jsonOf('json fdx'), sentOn: new Date().toISOString() })
    const digest = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
    const parameters = `("@method" "@target-uri" "content-digest");created=${nowSeconds()};keyid="${kid}";alg="ecdsa-p256-sha256"`
    const base = `"@method": POST\n"@target-uri": ${url}\n"content-digest": ${digest}\n"@signature-params": ${parameters}`
    const signature = await crypto.subtle.sign(
      { name: 'ECDSA', hash: 'SHA-256' },
      (await importJWK(key, 'ES256')) as CryptoKey,
      Buffer.from(base),
    )
    const headers = {
      'content-type': 'application/json',
      'content-digest': digest,
      'signature-input': `bank=${parameters}`,
      signature: `bank=:${Buffer.from(signature).toString('base64')}:`,
    }
    const alerts = await alertsOf(async () =>
      expect((await fetch(url, { method: 'POST', headers, body })).status).toBe(204),
    )
    expect(alerts).toEqual([{ type: 'ACCOUNT_TAKEOVER_SUSPECTED', hasAccount: true }])
  })

  test('its revocation of an arrangement ends the consent', async () => {
    const url = `${stateOf('southbank').eventsUrl}/arrangements/revoke`
    const iss = gateway.sandbox.banks.southbank
    const claims = () => ({ iss, sub: iss, aud: url, jti: randomUUID(), exp: nowSeconds() + 540 })
    const before = await activeCount('southbank')
    const arrangement = await sign(
      { ...claims(), ...jsonOf('json arrangement'), cdr_arrangement_id: await consentAt('southbank', 'cody') },
      'southbank',
    )
    const response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${await sign(claims(), 'southbank')}` },
      body: new URLSearchParams({ cdr_arrangement_jwt: arrangement }),
    })
    expect(response.status).toBe(204)
    expect(Object.keys(jsonOf('json arrangement'))).toEqual(['cdr_arrangement_id'])
    expect(await activeCount('southbank')).toBe(before - 1)
  })

  test('its mutation reports an alert once', async () => {
    const [connector] = await gateway.database.query<{ id: string }>(
      "select id from connector where bank_id = 'northbank'",
    )
    const token = await gateway.own('northbank-partner', 'alerts:publish')
    const { input } = jsonOf('json variables') as { input: object }
    const variables = { input: { ...input, connectorId: connector!.id, occurredAt: new Date().toISOString() } }
    const results: unknown[] = []
    const alerts = await alertsOf(async () => {
      for (let count = 0; count < 2; count++)
        results.push((await gateway.ask(token, blockOf('graphql'), variables)).data?.['publishAlert'])
    })
    expect(results).toMatchObject([
      { duplicate: false, userErrors: [] },
      { duplicate: true, userErrors: [] },
    ])
    expect(alerts).toEqual([{ type: 'CARD_SECURITY', hasAccount: true }])
  })

  test('its poll is the one that the gateway sends, and its response is read', () => {
    expect(jsonOf('json poll request')).toEqual(
      pollRequest({
        acknowledged: ['3f0c0de2-7d0a-4b54-8f5e-0c1f4ad0a005'],
        rejected: [{ id: '3f0c0de2-7d0a-4b54-8f5e-0c1f4ad0a006', err: 'invalid_request' }],
      }),
    )
    const events = toPolledEvents(pollResponse.parse(jsonOf('json poll response')), {
      eventsUrl: 'https://gateway.example/bank-events/cnct_example',
    })
    expect(events.map(({ id }) => id)).toEqual(['3f0c0de2-7d0a-4b54-8f5e-0c1f4ad0a007'])
  })

  test('its stream is found by its configuration, and can be verified', async () => {
    const issuer = 'https://auth.bank.example'
    const { bank } = connect(
      'CDR',
      ({ method, url }) => {
        const path = new URL(url).pathname
        if (path === '/.well-known/ssf-configuration') return ok(jsonOf('json configuration'))
        if (path === '/ssf/streams' && method === 'GET') return ok([jsonOf('json stream')])
        if (path === '/ssf/status') return ok({ status: 'enabled' })
        if (path === '/ssf/verify') return { ...ok(''), status: 204 }
        return path === '/token'
          ? ok({ access_token: 'token', token_type: 'Bearer', expires_in: 300 })
          : ok({ issuer, token_endpoint: `${issuer}/token` })
      },
      { events: { ...common.events, issuer, stream: {} } },
    )
    expect(await bank.readEventStream!(true)).toBe('ENABLED')
    expect(await bank.requestStreamVerification!('state')).toBe(true)
  })

  test('an OBIE notification ends the consent that it names', async () => {
    const before = await activeCount('northbank')
    const text = blockOf('json set obie').replace('the id of the consent', await consentAt('northbank', 'bo'))
    const token = await sign(JSON.parse(ofThisRun(text)) as object, 'northbank', 'JOSE')
    const url = `${stateOf('northbank').eventsUrl}/event-notifications`
    expect((await push(url, token, 'application/jwt')).status).toBe(202)
    expect(await activeCount('northbank')).toBe(before - 1)
  })

  test('each error of its table is returned for what it states', async () => {
    const { eventsUrl } = stateOf('northbank')
    const set = JSON.parse(ofThisRun(blocksOf('json set')[0]!)) as Record<string, unknown>
    const ofStream = { 'https://schemas.openid.net/secevent/ssf/event-type/verification': { state: 'other' } }
    const signed = (changes: object) => sign({ ...set, jti: randomUUID(), ...changes }, 'northbank', 'secevent+jwt')
    const responses = [
      await push(eventsUrl, await signed({ iss: 'https://other-bank.example' })),
      await push(eventsUrl, await signed({ events: ofStream })),
      await push(`${eventsUrl}x`, await signed({})),
      await push(eventsUrl, 'x'.repeat(16_385)),
      await push(eventsUrl, await signed({}), 'text/plain'),
    ]
    const found = await Promise.all(
      responses.map(async (response) => {
        const { err } = (await response.json()) as { err?: string }
        return [String(response.status), err ?? '']
      }),
    )
    const rows = rowsOf('status').map(([status, err]) => [status, withoutTicks(err!)])
    expect(rows.slice(0, 5)).toEqual(found)
    expect(rows.slice(5).map(([status]) => status)).toEqual(['429', '503'])
    // The largest body is read.
    expect((await push(eventsUrl, 'x'.repeat(16_384))).status).toBe(400)
  })
})
