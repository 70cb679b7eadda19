import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { OutboundResponse } from '../../src/kernel/outbound-http.ts'
import type { CertificationLevel, CertificationRun } from '../../src/modules/banks/model.ts'
import type { SandboxBankId } from '../../src/sandbox/personas.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

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

/** A draft of the sandbox bank's interface, registered by its partner, which the bank knows about. */
async function register(bank: SandboxBankId, members: Record<string, unknown> = {}): Promise<string> {
  const { banks } = gateway.app.services
  const origin = gateway.sandbox.banks[bank]
  const given = (await (await fetch(`${origin}/sandbox/registration`)).json()) as {
    standard: string
    registration: object
  }
  const { id, jwks, registration } = await banks.register(`${bank}-partner`, {
    ...given,
    registration: { ...given.registration, ...members },
  })
  await fetch(`${origin}/sandbox/clients/${registration.clientId}`, {
    method: 'PUT',
    body: JSON.stringify({ ...(jwks as object), ...gateway.app.bankEndpoints(id) }),
  })
  return id
}

/** Runs a level to its end. */
async function certify(bank: SandboxBankId, id: string, level: CertificationLevel): Promise<CertificationRun> {
  const { banks } = gateway.app.services
  const { id: runId } = await banks.startCertification(`${bank}-partner`, id, level)
  return finished(runId)
}
const finished = (runId: string): Promise<CertificationRun> =>
  eventually('the end of the run', async () => {
    const run = await gateway.app.services.banks.findCertificationRun(runId)
    return run?.finishedAt ? run : undefined
  })
const statusOf = async (id: string) => (await gateway.app.services.banks.findConnector(id))!.status
const failuresOf = ({ checks }: CertificationRun) =>
  checks.filter(({ status }) => status === 'FAILED').map(({ name, code }) => `${name} ${code}`)
const notShown = ({ checks }: CertificationRun) =>
  checks.filter(({ code }) => code === 'NOT_AT_THIS_LEVEL').map(({ name }) => name)

describe('a run of level STATIC', () => {
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
