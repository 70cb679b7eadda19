import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { MINUTE_MS } from '../../src/kernel/clock.ts'
import type { OutboundResponse } from '../../src/kernel/outbound-http.ts'
import type { CertificationRun } from '../../src/modules/banks/model.ts'
import { CHECK_NAMES } from '../../src/modules/banks/certification/checks.ts'
import { attendInSandbox, certifications, failuresOf, isReturned } from '../support/certification.ts'
import { consentPages } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { startStepwiseBank } from '../support/stepwise-bank.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterEach(() => {
  gateway.intercept = undefined
})
afterAll(() => gateway.close())

const respond = (status: number, body: unknown): Promise<OutboundResponse> =>
  Promise.resolve({ status, headers: {}, text: JSON.stringify(body) })

const { register, registerStepwise, finished, certify, attend, statusOf } = certifications(() => gateway)
const notShown = ({ checks }: CertificationRun) =>
  checks.filter(({ code }) => code === 'NOT_AT_THIS_LEVEL').map(({ name }) => name)

describe('a run of level STATIC', () => {
  test.each([
    ['DECOUPLED', 'PASSED', null],
    ['EMBEDDED', 'SKIPPED', 'CUSTOMER_REQUIRED'],
  ] as const)(
    'the static checks of a bank that signs customers in %s pass, and its consent is %s',
    async (sca, status, code) => {
      const bank = await startStepwiseBank(`static-${sca.toLowerCase()}`, sca)
      const run = await certify('rheinbank', await registerStepwise(bank), 'STATIC')
      expect([run.status, failuresOf(run)]).toEqual(['PASSED', []])
      expect(run.checks.find(({ name }) => name === 'CONSENT')).toMatchObject({ status, code })
      await bank.close()
    },
  )

  test('the consent of a bank that needs time before it can be used passes the static checks', async () => {
    const id = await register('eastbank', { consentReadyAfterSeconds: 20 })
    expect(failuresOf(await certify('eastbank', id, 'STATIC'))).toEqual([])
  })

  test.each(['eastbank', 'rheinbank', 'lakebank', 'southbank'] as const)(
    'the static checks of %s pass without a person or a test interface, and certify nothing',
    async (bank) => {
      const id = await register(bank, { testInterface: undefined })
      const run = await certify(bank, id, 'STATIC')
      expect([run.level, run.status, failuresOf(run)]).toEqual(['STATIC', 'PASSED', []])
      expect(run.checks.filter(({ status }) => status === 'PASSED').map(({ name }) => name)).toEqual(
        expect.arrayContaining(['REQUIREMENTS', 'REACHABILITY', 'METADATA', 'TLS', 'CONSENT', 'REQUESTS']),
      )
      expect(notShown(run)).toContain('SIGN_IN')
      expect(await statusOf(id)).toBe('DRAFT')
      await expect(gateway.app.services.banks.activate('admin', id)).rejects.toMatchObject({ code: 'STATE_CONFLICT' })
    },
  )

  test('a static run of a CERTIFIED connector leaves it CERTIFIED if it passes, and DRAFT if it fails', async () => {
    const id = await register('lakebank')
    await certify('lakebank', id, 'AUTOMATIC')
    await certify('lakebank', id, 'STATIC')
    expect(await statusOf(id)).toBe('CERTIFIED')
    gateway.intercept = ({ url }) => (url.includes('/.well-known/') ? respond(404, {}) : undefined)
    expect(failuresOf(await certify('lakebank', id, 'STATIC'))).toContain('REACHABILITY METADATA_NOT_FOUND')
    expect(await statusOf(id)).toBe('DRAFT')
  })

  test('the level AUTOMATIC is refused for a registration without a test interface', async () => {
    const id = await register('lakebank', { testInterface: undefined })
    await expect(
      gateway.app.services.banks.startCertification('lakebank-partner', id, 'AUTOMATIC'),
    ).rejects.toMatchObject({ code: 'INVALID_INPUT', faults: [{ path: ['level'] }] })
  })

  const change = (members: object) => async (url: string) => {
    const document = (await (await fetch(url)).json()) as object
    return respond(200, { ...document, ...members })
  }
  test.each<[failure: string, ending: string, answer: (url: string) => Promise<OutboundResponse>]>([
    ['METADATA PKCE_NOT_SUPPORTED', 'openid-configuration', change({ code_challenge_methods_supported: ['plain'] })],
    ['METADATA ENDPOINT_NOT_ALLOWED', 'openid-configuration', change({ revocation_endpoint: 'https://x.example/r' })],
    ['BANK_KEYS KEYS_NOT_FOUND', '/jwks', () => respond(404, {})],
    ['BANK_KEYS KEY_MISSING', '/jwks', () => respond(200, { keys: [] })],
  ])('a static run says %s', async (failure, ending, answer) => {
    const id = await register('eastbank')
    gateway.intercept = ({ url }) => (url.endsWith(ending) ? answer(url) : undefined)
    expect(failuresOf(await certify('eastbank', id, 'STATIC'))).toContain(failure)
  })

  test.each<[failure: string, members: Record<string, unknown>]>([
    ['REQUIREMENTS CLIENT_ID_MISSING', { clientId: undefined }],
    ['REQUIREMENTS CLIENT_SECRET_MISSING', { oauth: { clientAuthentication: 'client_secret_basic' } }],
    ['REQUIREMENTS SIGNING_CERTIFICATE_MISSING', { certificates: { signing: 'ISSUED' } }],
    ['REQUIREMENTS TRANSPORT_CERTIFICATE_MISSING', { mutualTls: true, certificates: { transport: 'ISSUED' } }],
  ])('a static run says %s', async (failure, members) => {
    const { banks } = gateway.app.services
    const given = (await (await fetch(`${gateway.sandbox.banks.lakebank}/sandbox/registration`)).json()) as {
      standard: string
      registration: object
    }
    const registration = { ...given.registration, ...members }
    const { id } = await banks.register('lakebank-partner', { ...given, registration })
    expect(failuresOf(await certify('lakebank', id, 'STATIC'))).toContain(failure)
  })
})

const isCallback = ({ pathname }: URL): boolean => pathname === '/bank/callback'

/** The number of requests to banks once nothing is left to do: consents of earlier runs are ended in the background. */
async function settledCount(): Promise<number> {
  await eventually('the end of all earlier consents', async () => {
    const left = await gateway.database.query(
      'select id from certification_access union all select id from outbox_message where processed_at is null',
    )
    return left.length === 0
  })
  return gateway.sent.length
}

describe('a run of level ATTENDED', () => {
  test.each(['eastbank', 'rheinbank', 'lakebank', 'southbank'] as const)(
    'one sign-in of a person certifies %s without a test interface',
    async (bank) => {
      const id = await register(bank, { testInterface: undefined })
      const { runId, link } = await attend(bank, id)
      await attendInSandbox(link)
      const run = await finished(runId)
      expect([run.level, run.status, failuresOf(run)]).toEqual(['ATTENDED', 'PASSED', []])
      expect(notShown(run)).toEqual([
        'SIGN_IN_CANCELLED',
        'SIGN_IN_ABANDONED',
        'PAGING',
        'FAULTS',
        'NO_PURCHASE_DATA',
        'EVENTS',
        'REVOKED_AT_BANK',
      ])
      expect(run.checks.map(({ name }) => name)).toEqual(CHECK_NAMES.all)
      expect(await statusOf(id)).toBe('CERTIFIED')
    },
  )

  test('a bank that gives no refresh token is certified, and the renewal of tokens is not shown', async () => {
    const id = await register('eastbank', { testInterface: undefined })
    const { runId, link } = await attend('eastbank', id)
    gateway.intercept = ({ url, method, headers = {}, body }) => {
      if (method !== 'POST' || !new URL(url).pathname.endsWith('/token')) return undefined
      return fetch(url, { method, headers, body: body! }).then(async (reply) => {
        const { refresh_token: _none, ...token } = (await reply.json()) as Record<string, unknown>
        return { status: reply.status, headers: {}, text: JSON.stringify(token) }
      })
    }
    await attendInSandbox(link)
    const run = await finished(runId)
    expect([run.status, failuresOf(run)]).toEqual(['PASSED', []])
    expect(run.checks.find(({ name }) => name === 'TOKEN_RENEWAL')).toMatchObject({
      status: 'SKIPPED',
      code: 'NOT_SUPPORTED',
    })
  })

  test('a run that waits for its person occupies no process, and does not delay other runs of the partner', async () => {
    const waiting = []
    for (let index = 0; index < 6; index++)
      waiting.push(await attend('eastbank', await register('eastbank', { testInterface: undefined })))
    const id = await register('eastbank')
    expect((await certify('eastbank', id, 'STATIC')).status).toBe('PASSED')
    const sql = 'select count(*)::int from certification_run where finished_at is null and claimed_until is null'
    await expect.poll(() => gateway.database.query(sql)).toEqual([{ count: 6 }])
    gateway.forward(31 * MINUTE_MS)
    for (const { runId } of waiting) await finished(runId)
  })

  test('a person who cancels at the bank ends the run, and its connector stays a draft', async () => {
    const id = await register('eastbank', { testInterface: undefined })
    const { runId, link } = await attend('eastbank', id)
    const browser = createBrowser()
    await browser.submit(await browser.open(`${link}/bank`), [['decision', 'cancel']], isReturned)
    expect(failuresOf(await finished(runId))).toEqual(['SIGN_IN BANK_REFUSED'])
    expect(await statusOf(id)).toBe('DRAFT')
  })

  test('a run whose static checks fail asks nobody to sign in', async () => {
    const id = await register('eastbank', { testInterface: undefined })
    gateway.intercept = ({ url }) => (url.endsWith('/jwks') ? respond(404, {}) : undefined)
    const run = await certify('eastbank', id, 'ATTENDED')
    expect(failuresOf(run)).toEqual(['BANK_KEYS KEYS_NOT_FOUND'])
    expect(run.checks.find(({ name }) => name === 'SIGN_IN')).toMatchObject({ code: 'PREREQUISITE_FAILED' })
  })

  test('a run whose process ended after the sign-in fails with its own code and leaves no access', async () => {
    const id = await register('eastbank', { testInterface: undefined })
    const { runId, link } = await attend('eastbank', id)
    await gateway.database.query('update certification_sign_in set resumed_at = now() where run_id = $1', [runId])
    await gateway.database.query("update certification_sign_in set expires_at = now() - interval '1 second'")
    expect(failuresOf(await finished(runId))).toEqual(['SIGN_IN RUN_INTERRUPTED'])
    expect((await createBrowser().open(link)).status).toBe(410)
  })

  test('neither the link nor what the bank returned is readable in the database, and both are deleted at the end', async () => {
    const id = await register('eastbank', { testInterface: undefined })
    const { runId, link } = await attend('eastbank', id)
    const rows = await gateway.database.query('select * from certification_sign_in where run_id = $1', [runId])
    expect(rows).toHaveLength(1)
    expect(JSON.stringify(rows)).not.toContain(link.split('/').at(-1))
    await attendInSandbox(link)
    await finished(runId)
    expect(await gateway.database.query('select 1 from certification_sign_in where run_id = $1', [runId])).toEqual([])
    expect(gateway.log.join('')).not.toContain(link.split('/').at(-1))
  })

  test('an active connector of level ATTENDED is checked again statically, and is not closed for what it never showed', async () => {
    const { banks } = gateway.app.services
    const id = await register('eastbank', { testInterface: undefined })
    const { runId, link } = await attend('eastbank', id)
    await attendInSandbox(link)
    await finished(runId)
    await banks.activate('admin', id)
    await gateway.database.query("update certification_run set created_at = created_at - interval '25 hours'")
    expect(await banks.scheduleCertifications()).toBeGreaterThan(0)
    const again = await eventually('the scheduled run', async () => {
      const [newest] = (await banks.certificationRuns(id, { first: 1 })).nodes
      return newest?.trigger === 'SCHEDULED' && newest.finishedAt ? newest : undefined
    })
    expect([again.level, again.status]).toEqual(['STATIC', 'PASSED'])
    expect(await banks.findConnector(id)).toMatchObject({ status: 'ACTIVE', acceptsNewConsents: true })
    const { data } = await gateway.ask(
      undefined,
      '{ bank(id: "eastbank") { certification { level certifiedAt notShown } } }',
    )
    expect(data).toMatchObject({ bank: { certification: { level: 'ATTENDED' } } })
    expect(JSON.stringify(data)).toContain('"NO_PURCHASE_DATA"')
    await banks.suspend('eastbank-partner', id)
  })
})

describe('the link of a run', () => {
  let id: string
  let runId: string
  let link: string
  beforeEach(async () => {
    id = await register('eastbank', { testInterface: undefined })
    ;({ runId, link } = await attend('eastbank', id))
  })
  afterEach(async () => {
    await gateway.database.query("update certification_sign_in set expires_at = now() - interval '1 day'")
    await finished(runId)
  })

  test('a link that is guessed leads nowhere, and calls no bank', async () => {
    const sentCount = await settledCount()
    const guess = `${gateway.issuer}/certification/${'a'.repeat(43)}`
    for (const url of [guess, `${guess}/bank`]) expect((await createBrowser().open(url)).status).toBe(410)
    expect(gateway.sent.length).toBe(sentCount)
  })

  test('the page of a link names the bank, and calls it only when the person continues', async () => {
    const sentCount = await settledCount()
    const page = await createBrowser().open(link)
    expect(page.text).toContain('Eastbank')
    expect((await fetch(`${link}/bank`, { headers: { purpose: 'prefetch' }, redirect: 'manual' })).status).toBe(503)
    expect(gateway.sent.length).toBe(sentCount)
  })

  test('a link works until somebody has returned from the bank, and only the newest attempt counts', async () => {
    const first = await attendInSandbox(link, isCallback)
    const second = await attendInSandbox(link, isCallback)
    expect((await createBrowser().open(first.url)).status).toBe(400)
    expect((await createBrowser().open(second.url)).text).toContain('Thank you')
    expect((await finished(runId)).status).toBe('PASSED')
    for (const url of [second.url, link, `${link}/bank`])
      expect([400, 410]).toContain((await createBrowser().open(url)).status)
  })

  test('exactly one of several concurrent returns with one state continues the run', async () => {
    const { url } = await attendInSandbox(link, isCallback)
    const pages = await Promise.all(Array.from({ length: 8 }, () => createBrowser().open(url)))
    expect(pages.filter(({ text }) => text.includes('Thank you'))).toHaveLength(1)
    expect((await finished(runId)).status).toBe('PASSED')
  })

  test('a link stops working after 30 minutes, also for somebody who is at the bank, and the run fails', async () => {
    const { url } = await attendInSandbox(link, isCallback)
    gateway.forward(31 * MINUTE_MS)
    for (const address of [link, `${link}/bank`, url])
      expect([400, 410]).toContain((await createBrowser().open(address)).status)
    expect(failuresOf(await finished(runId))).toEqual(['SIGN_IN SIGN_IN_TIMED_OUT'])
  })

  test('a link can be attempted ten times', async () => {
    for (let attempt = 0; attempt < 10; attempt++) {
      const { status } = await fetch(`${link}/bank`, { redirect: 'manual' })
      expect(status).toBe(303)
    }
    expect((await createBrowser().open(`${link}/bank`)).status).toBe(429)
  })

  test('the link is shown to the partner, and neither to another partner nor to an admin', async () => {
    const query = 'query ($id: ID!) { node(id: $id) { ... on CertificationRun { status signInUrl } } }'
    const shownTo = async (clientId: string, scope: string) =>
      (await gateway.ask(await gateway.own(clientId, scope), query, { id: runId })).data
    expect(await shownTo('eastbank-partner', 'connectors:read')).toEqual({
      node: { status: 'RUNNING', signInUrl: link },
    })
    expect(await shownTo('westbank-partner', 'connectors:read')).toEqual({ node: null })
    expect(await shownTo('admin', 'banks:manage')).toEqual({ node: { status: 'RUNNING', signInUrl: null } })
  })

  test("a run's callback completes no consent of a customer, and a customer's callback continues no run", async () => {
    const pages = consentPages(gateway)
    const ofRun = new URL((await attendInSandbox(link, isCallback)).url)
    const customer = createBrowser()
    const ofCustomer = new URL((await pages.untilCallback(customer)).url)
    const query = 'select status from consent order by created_at desc limit 1'
    // The run's parameters at the page of the customer's interaction.
    const sql = 'select interaction_uid as uid from bank_sign_in where used_at is null'
    const [{ uid } = { uid: '' }] = await gateway.database.query<{ uid: string }>(sql)
    const page = await customer.open(`${gateway.issuer}/interaction/${uid}/return${ofRun.search}`)
    expect(page.status).toBe(400)
    expect(await gateway.database.query(query)).toEqual([{ status: 'PENDING' }])
    // The customer's parameters lead to the customer's interaction, whoever opens them.
    const other = await createBrowser().open(ofCustomer.href)
    expect([other.status, other.text.includes('Thank you')]).toEqual([400, false])
    expect((await gateway.app.services.banks.findCertificationRun(runId))!.status).toBe('RUNNING')
    expect((await createBrowser().open(ofRun.href)).text).toContain('Thank you')
    expect((await finished(runId)).status).toBe('PASSED')
    expect(await gateway.database.query(query)).toEqual([{ status: 'PENDING' }])
  })
})

describe('a certification report', () => {
  test('a report names its level, the version of the standard, and what was not shown', async () => {
    const id = await register('lakebank')
    const run = await certify('lakebank', id, 'STATIC')
    const { jwks } = (await gateway.app.services.banks.findConnector(id))!
    const { payload } = await compactVerify(run.signedReport!, createLocalJWKSet(jwks as JSONWebKeySet))
    expect(JSON.parse(Buffer.from(payload).toString())).toMatchObject({
      level: 'STATIC',
      standard: 'FDX',
      version: '5.2',
      status: 'PASSED',
      notShown: notShown(run),
    })
  })

  test('a report is signed by the algorithm of the registration', async () => {
    const id = await register('lakebank', { oauth: { signingAlgorithm: 'PS256' } })
    const run = await certify('lakebank', id, 'STATIC')
    const { jwks } = (await gateway.app.services.banks.findConnector(id))!
    const { protectedHeader } = await compactVerify(run.signedReport!, createLocalJWKSet(jwks as JSONWebKeySet))
    expect(protectedHeader.alg).toBe('PS256')
  })
})
