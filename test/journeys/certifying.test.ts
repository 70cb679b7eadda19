import { createLocalJWKSet, compactVerify, type JSONWebKeySet } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import type { SandboxBankId } from '../../src/sandbox/personas.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { patientTimers } from '../support/patient-time.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterEach(() => {
  gateway.intercept = undefined
})
afterAll(() => gateway.close())

interface Run {
  trigger: string
  startedAt: string | null
  finishedAt: string | null
  status: string
  checks: { name: string; status: string; code: string | null }[]
  signedReport: string | null
}
interface Shown {
  id: string
  status: string
  acceptsNewConsents: boolean
  jwks: JSONWebKeySet
  certificationRuns: Run[]
  notices: { kind: string; operation: string | null }[]
  history: { action: string; clientId: string | null }[]
  health: { operation: string; status: string }[]
}

const FIELDS =
  'id status acceptsNewConsents jwks certificationRuns { nodes { trigger startedAt finishedAt status checks { name status code } signedReport } } notices { nodes { kind operation } } history { nodes { action clientId } } health { operation status }'
const CHANGE = (name: string) =>
  `mutation ($input: ${name[0]!.toUpperCase()}${name.slice(1)}Input!) { ${name}(input: $input) { ${name === 'startCertification' ? 'certificationRun { status }' : 'connector { id status }'} userErrors { code } } }`

const partnerOf = (bank: string) => gateway.own(`${bank}-partner`, 'connectors:manage connectors:read')
async function connectorOf(bank: SandboxBankId): Promise<Shown> {
  const { data } = await gateway.ask(
    await partnerOf(bank),
    `{ connectors(first: 1) { nodes { bank { id } ${FIELDS} } } }`,
  )
  const [newest] = (data!['connectors'] as { nodes: Record<string, { nodes: unknown }>[] }).nodes
  const lists = ['certificationRuns', 'notices', 'history'].map((name): [string, unknown] => [
    name,
    newest![name]!.nodes,
  ])
  const byName: unknown = { ...newest, ...Object.fromEntries(lists) }
  return byName as Shown
}
async function change(bank: SandboxBankId, name: string, id: string, by?: string) {
  const token = by ? await gateway.own(by, 'banks:manage') : await partnerOf(bank)
  return (await gateway.ask(token, CHANGE(name), { input: { connectorId: id } })).data![name] as {
    connector: { status: string } | null
    userErrors: { code: string }[]
  }
}

/** Registers the sandbox bank anew, registers the gateway there, and returns the draft. */
async function register(bank: SandboxBankId, with_: Record<string, unknown> = {}): Promise<Shown> {
  const url = gateway.sandbox.banks[bank]
  const input = (await (await fetch(`${url}/sandbox/registration`)).json()) as { registration: object }
  const query =
    'mutation ($input: RegisterConnectorInput!) { registerConnector(input: $input) { connector { id jwks eventsUrl redirectUri } userErrors { code path } } }'
  const { connector } = (
    await gateway.ask(await partnerOf(bank), query, {
      input: { ...input, registration: { ...input.registration, ...with_ } },
    })
  ).data!['registerConnector'] as { connector: { jwks: object; eventsUrl: string; redirectUri: string } }
  const { jwks, eventsUrl, redirectUri } = connector
  await fetch(`${url}/sandbox/clients/guichet`, {
    method: 'PUT',
    body: JSON.stringify({ ...jwks, eventsUrl, redirectUri }),
  })
  return connectorOf(bank)
}

async function certify(bank: SandboxBankId, id: string): Promise<Shown> {
  expect(await change(bank, 'startCertification', id)).toEqual({
    certificationRun: { status: 'RUNNING' },
    userErrors: [],
  })
  return eventually('the run to be over', async () => {
    const shown = await connectorOf(bank)
    return shown.certificationRuns[0]?.finishedAt && shown.status !== 'CERTIFYING' ? shown : undefined
  })
}
const failuresOf = ({ certificationRuns: [run] }: Shown) =>
  run!.checks.filter(({ status }) => status === 'FAILED').map(({ name, code }) => `${name} ${code}`)
const gives = (status: number, body: unknown): Promise<OutboundResponse> =>
  Promise.resolve({ status, headers: {}, text: JSON.stringify(body) })

describe('a connector is certified', () => {
  test('the sandbox banks of all standards and versions are certified within five minutes', async () => {
    const began = patientTimers.monotonicMs()
    const seeded = await gateway.app.services.banks.allConnectors()
    for (const bank of ['northbank', 'rheinbank', 'westbank', 'southbank'] as const) {
      const { certificationRuns, status } = await connectorOf(bank)
      expect([bank, status, certificationRuns[0]!.status, certificationRuns[0]!.checks.length]).toEqual([
        bank,
        'ACTIVE',
        'PASSED',
        23,
      ])
    }
    for (const bank of ['eastbank', 'lakebank'] as const) {
      const shown = await certify(bank, (await register(bank)).id)
      expect([bank, shown.status, failuresOf(shown)]).toEqual([bank, 'CERTIFIED', []])
    }
    expect(new Set((await gateway.app.services.banks.allConnectors()).map(({ standard }) => standard)).size).toBe(4)
    expect(seeded).toHaveLength(4)
    expect(patientTimers.monotonicMs() - began).toBeLessThan(300_000)
  })

  test("a certification report is signed with the gateway's key at the bank", async () => {
    const { jwks, certificationRuns } = await connectorOf('eastbank')
    const keys = createLocalJWKSet(jwks)
    const { payload, protectedHeader } = await compactVerify(certificationRuns[0]!.signedReport!, keys)
    expect(protectedHeader.typ).toBe('certification+jws')
    expect(JSON.parse(Buffer.from(payload).toString())).toMatchObject({
      iss: gateway.issuer,
      bank: 'eastbank',
      standard: 'OBIE',
      status: 'PASSED',
    })
    const [header, body, signature] = certificationRuns[0]!.signedReport!.split('.')
    const forged = Buffer.from(Buffer.from(body!, 'base64url').toString().replace('eastbank', 'westbank'))
    await expect(compactVerify([header, forged.toString('base64url'), signature].join('.'), keys)).rejects.toThrow()
  })

  const isApi = ({ url }: OutboundRequest) => url.includes('/open-banking/')
  test.each<[what: string, failure: string, (request: OutboundRequest) => Promise<OutboundResponse> | undefined]>([
    [
      'is somebody else',
      'REACHABILITY METADATA_NOT_FOUND',
      ({ url }) => (url.includes('/.well-known/') ? gives(200, { issuer: 'https://other.example' }) : undefined),
    ],
    [
      'cannot say where to sign in',
      'CONSENT BANK_UNAVAILABLE',
      ({ method, url }) => (method === 'POST' && url.endsWith('/account-access-consents') ? gives(503, {}) : undefined),
    ],
    [
      'does not say that the customer cancelled',
      'SIGN_IN_CANCELLED NO_REDIRECT_BACK',
      ({ url, body }) =>
        url.endsWith('/sign-ins') && body!.includes('CANCEL')
          ? gives(200, { callback: null, accounts: [] })
          : undefined,
    ],
    [
      'lists fewer accounts than are shared',
      'PAGING ACCOUNTS_MISSING',
      (request) =>
        isApi(request) && request.url.endsWith('/accounts')
          ? gives(200, { Data: { Account: [{ AccountId: 'eb-900', Status: 'Enabled', AccountSubType: 'Savings' }] } })
          : undefined,
    ],
    [
      'gives amounts as words',
      'BALANCES INVALID_AMOUNT',
      (request) =>
        isApi(request) && request.url.endsWith('/balances')
          ? gives(200, {
              Data: {
                Balance: [
                  {
                    AccountId: /accounts\/([^/]+)/.exec(request.url)![1],
                    Type: 'ITAV',
                    CreditDebitIndicator: 'Credit',
                    Amount: { Amount: 'ten', Currency: 'GBP' },
                  },
                ],
              },
            })
          : undefined,
    ],
    [
      'takes a consent back only in name',
      'REVOKED_BY_GATEWAY ACCESS_NOT_REVOKED',
      ({ method }) => (method === 'DELETE' ? gives(204, {}) : undefined),
    ],
    [
      'sends no purchases, so that nothing is shown',
      'NO_PURCHASE_DATA CANARY_NOT_RECEIVED',
      ({ url }) => (url.endsWith('/canary') ? gives(204, null) : undefined),
    ],
    [
      'has its forged events taken',
      'EVENTS FORGED_EVENT_ACCEPTED',
      ({ url, body }) =>
        url.endsWith('/alerts') && body!.includes('TAMPERED') ? gives(200, { pushed: [{ status: 202 }] }) : undefined,
    ],
    [
      'keeps its own end of a consent to itself',
      'REVOKED_AT_BANK REVOCATION_EVENT_NOT_ACCEPTED',
      ({ url }) => (url.endsWith('/revocations') ? gives(200, { pushed: [{ status: 500 }] }) : undefined),
    ],
  ])('a connector is never certified if the bank %s', async (_what, failure, intercept) => {
    const { id } = await register('eastbank')
    gateway.intercept = (request) => intercept(request)
    const shown = await certify('eastbank', id)
    expect(failuresOf(shown)).toContain(failure)
    expect(shown.status).toBe('DRAFT')
    expect((await change('eastbank', 'activateConnector', id, 'admin')).userErrors).toEqual([
      { code: 'STATE_CONFLICT' },
    ])
  })

  test('a connector is never certified if the bank is slower than it declares', async () => {
    const { id } = await register('eastbank', { readTimeoutMs: 200 })
    gateway.intercept = (request) =>
      isApi(request) && request.method === 'GET' ? patientTimers.sleep(260).then(() => gives(503, {})) : undefined
    expect(failuresOf(await certify('eastbank', id))).toContain('LATENCY SLOWER_THAN_DEADLINE')
  })

  test('a connector has one certification run at a time, and another process takes over an interrupted run', async () => {
    const { id } = await register('eastbank')
    await gateway.database.query(
      "insert into certification_run (id, connector_id, created_at, checks, claimed_until) values ('cert_lost', $1, now() - interval '1 hour', '[]', now() - interval '1 minute')",
      [id],
    )
    await gateway.database.query("update connector set status = 'CERTIFYING' where id = $1", [id])
    expect((await change('eastbank', 'startCertification', id)).userErrors).toEqual([{ code: 'STATE_CONFLICT' }])
    await eventually('the lost run', async () => (await connectorOf('eastbank')).status === 'CERTIFIED')
  })
})

describe('the lifecycle of a connector', () => {
  test("a certification run at a hanging bank does not delay another partner's", async () => {
    const slow = await register('eastbank')
    const quick = await register('lakebank')
    const over = Promise.withResolvers<OutboundResponse>()
    let hung = 0
    gateway.intercept = ({ url }) =>
      url.startsWith(gateway.sandbox.banks.eastbank) ? (hung++, over.promise) : undefined
    await change('eastbank', 'startCertification', slow.id)
    await eventually('that it hangs', () => Promise.resolve(hung > 0))
    try {
      expect((await certify('lakebank', quick.id)).certificationRuns[0]!.status).toBe('PASSED')
      expect((await connectorOf('eastbank')).status).toBe('CERTIFYING')
    } finally {
      over.resolve({ status: 503, headers: {}, text: '' })
    }
    await eventually('the other to be over', async () => (await connectorOf('eastbank')).status !== 'CERTIFYING')
  })

  test('each status change of a connector is in the ledger with its author, and RETIRED is final', async () => {
    const { id } = await register('lakebank')
    await certify('lakebank', id)
    await change('lakebank', 'activateConnector', id, 'admin')
    expect((await change('lakebank', 'retireConnector', id)).userErrors).toEqual([{ code: 'STATE_CONFLICT' }])
    await change('lakebank', 'suspendConnector', id)
    expect((await change('lakebank', 'retireConnector', id)).connector).toMatchObject({ status: 'RETIRED' })
    for (const next of ['startCertification', 'activateConnector'])
      expect(
        (await change('lakebank', next, id, next === 'activateConnector' ? 'admin' : undefined)).userErrors,
      ).toEqual([{ code: 'STATE_CONFLICT' }])
    expect((await connectorOf('lakebank')).history).toEqual([
      { action: 'CONNECTOR_RETIRED', clientId: 'lakebank-partner' },
      { action: 'CONNECTOR_SUSPENDED', clientId: 'lakebank-partner' },
      { action: 'CONNECTOR_ACTIVATED', clientId: 'admin' },
      { action: 'CONNECTOR_CERTIFIED', clientId: null },
      { action: 'CERTIFICATION_REQUESTED', clientId: 'lakebank-partner' },
      { action: 'CONNECTOR_REGISTERED', clientId: 'lakebank-partner' },
    ])
  })

  test('a failing kind of call is reported once, and its recovery once', async () => {
    const { banks } = gateway.app.services
    await gateway.customer('fay', ['westbank'], { scopes: ['accounts:read', 'balances:band'] })
    const calls = (failures: number) =>
      gateway.database.query(
        "insert into bank_call_count (connector_id, operation, minute, call_count, failure_count, total_duration_ms) values ((select id from connector where bank_id = 'westbank'), 'BALANCES', now(), 10, $1, 10) on conflict (connector_id, operation, minute) do update set failure_count = $1",
        [failures],
      )
    await calls(10)
    await banks.recordHealthNotices()
    await banks.recordHealthNotices()
    expect((await connectorOf('westbank')).notices).toEqual([{ kind: 'DOWN', operation: 'BALANCES' }])
    expect((await connectorOf('westbank')).health).toContainEqual({ operation: 'BALANCES', status: 'DOWN' })
    await gateway.database.query('update bank_call_count set failure_count = 0')
    await banks.recordHealthNotices()
    expect((await connectorOf('westbank')).notices.map(({ kind }) => kind)).toEqual(['RECOVERED', 'DOWN'])
  })

  test('an active connector is certified daily; after a failure it accepts no new consents until it passes', async () => {
    const query = '{ customer { accounts { nodes { balances(detail: BAND) { __typename } } } } }'
    const token = await gateway.customer('cody', ['southbank'], { scopes: ['accounts:read', 'balances:band'] })
    const { banks } = gateway.app.services
    const { southbank } = gateway.sandbox.banks
    gateway.intercept = ({ url }) => (url === `${southbank}/sandbox/canary` ? gives(204, null) : undefined)
    await gateway.database.query("update certification_run set created_at = created_at - interval '25 hours'")
    expect(await banks.scheduleCertifications()).toBe(4)
    expect(await banks.scheduleCertifications()).toBe(0)
    const failed = await eventually('the scheduled run', async () => {
      const shown = await connectorOf('southbank')
      return shown.notices.length > 0 && shown
    })
    expect(failed).toMatchObject({
      status: 'ACTIVE',
      acceptsNewConsents: false,
      notices: [{ kind: 'CERTIFICATION_FAILED' }],
    })
    expect(failed.certificationRuns[0]).toMatchObject({ trigger: 'SCHEDULED', status: 'FAILED' })
    expect(failed.history[0]).toEqual({ action: 'NEW_CONSENTS_DISABLED', clientId: null })
    const listed = async () =>
      (
        (await gateway.ask(undefined, '{ banks(filter: { availability: [AVAILABLE] }) { nodes { id } } }')).data![
          'banks'
        ] as {
          nodes: { id: string }[]
        }
      ).nodes.map(({ id }) => id)
    expect(await listed()).not.toContain('southbank')
    await expect(banks.requireConnectorForNewConsent('southbank')).rejects.toMatchObject({ code: 'BANK_UNAVAILABLE' })
    const metrics = await (await fetch(gateway.app.metricsUrl()!)).text()
    expect(metrics).toMatch(/^guichet_bank_accepts_new_consents\{bank="southbank"\} 0$/m)
    expect(metrics).toMatch(/^guichet_bank_accepts_new_consents\{bank="northbank"\} 1$/m)
    expect(metrics).toMatch(/^guichet_bank_health\{bank="southbank",operation="SIGN_IN"\} 0$/m)
    await expect(gateway.customer('cody', ['southbank'])).rejects.toThrow()
    expect(JSON.stringify((await gateway.ask(token, query)).data)).toContain('BalanceBand')
    expect(
      (
        await gateway.ask(
          await gateway.own('admin', 'banks:manage'),
          '{ connectors(filter: { bankIds: ["southbank"] }) { nodes { notices { nodes { kind } } } } }',
        )
      ).data,
    ).toMatchObject({
      connectors: {
        nodes: expect.arrayContaining([{ notices: { nodes: [{ kind: 'CERTIFICATION_FAILED' }] } }]) as unknown,
      },
    })

    await eventually('all runs of the night', async () => {
      return (await gateway.database.query('select 1 from certification_run where finished_at is null')).length === 0
    })
    // An hour later all is well; the banks that passed are left alone until the next night.
    gateway.intercept = undefined
    expect(await banks.scheduleCertifications()).toBe(0)
    await gateway.database.query("update certification_run set created_at = created_at - interval '61 minutes'")
    expect(await banks.scheduleCertifications()).toBe(1)
    await eventually('the next run', async () => (await connectorOf('southbank')).acceptsNewConsents)
    expect(await listed()).toContain('southbank')
    expect((await connectorOf('southbank')).notices[0]).toEqual({ kind: 'CERTIFIED_AGAIN', operation: null })
  })
})

describe('a partner who moves to another interface', () => {
  test('new consents use the newest of two active connectors that accepts them, and others stay', async () => {
    const usedBy = async (name: string): Promise<string> => {
      const { grantId } = await gateway.customer(name, ['westbank'])
      const sql =
        'select connector_id as id from connection n join consent c on c.connection_id = n.id where c.oauth_grant_id = $1'
      return (await gateway.database.query<{ id: string }>(sql, [grantId]))[0]!.id
    }
    const first = await usedBy('fay')
    const { id } = await register('westbank')
    await certify('westbank', id)
    await change('westbank', 'activateConnector', id, 'admin')
    expect(await usedBy('fay')).toBe(id)
    // The bank knows the gateway by the key of the newest; what it says of the older is its own affair.
    await gateway.database.query('update connector set accepts_new_consents = false where id = $1', [id])
    const { banks } = gateway.app.services
    expect((await banks.requireConnectorForNewConsent('westbank')).id).toBe(first)
    await change('westbank', 'suspendConnector', id)
    await change('westbank', 'retireConnector', id)
    expect((await banks.requireConnectorForNewConsent('westbank')).id).toBe(first)
  })
})
