import { decodeJwt, exportJWK, generateKeyPair } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { signReport } from '../../src/modules/banks/certification/report.ts'
import type { CertificationRun } from '../../src/modules/banks/model.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let partner: Token
beforeAll(async () => {
  gateway = await startGateway()
  partner = await gateway.own('eastbank-partner', 'connectors:manage connectors:read')
})
afterAll(() => gateway.close())

interface Profile {
  readonly name: string
  readonly outOfReach: string | null
  readonly missingMembers: readonly string[]
  readonly registration: { readonly bank?: { readonly id?: string } }
}
interface Preview {
  readonly bankId: string | null
  readonly missingMembers: readonly string[]
  readonly requirements: readonly string[]
  readonly requests: readonly Readonly<Record<'purpose' | 'method' | 'url' | 'authentication', string>>[]
  readonly userErrors: readonly { readonly path: readonly string[]; readonly message: string }[]
}

async function ask<T>(query: string, field: string, variables: Record<string, unknown> = {}): Promise<T> {
  const { data, errors } = await gateway.ask(partner, query, variables)
  expect(errors).toBeUndefined()
  return data![field] as T
}
const listProfiles = (): Promise<Profile[]> =>
  ask('{ connectorProfiles { name outOfReach missingMembers registration } }', 'connectorProfiles')
const preview = (profile: string, registration: object = {}): Promise<Preview> =>
  ask(
    `query ($input: RegisterConnectorInput!) { connectorPreview(input: $input) {
      bankId missingMembers requirements requests { purpose method url authentication } userErrors { path message } } }`,
    'connectorPreview',
    { input: { profile, registration } },
  )

/** Every request of a customer's sign-in, or the steps that the bank's own API has in its place. */
const hasSignIn = ({ requests }: Preview): boolean =>
  requests.some(({ method, purpose }) => method === 'BROWSER' || purpose === 'createConsent')

test('the preview of every profile is a complete plan that names what the operator still has to state', async () => {
  const profiles = await listProfiles()
  for (const { name, outOfReach, missingMembers, registration } of profiles) {
    const plan = await preview(name)
    if (outOfReach !== null) {
      expect(plan.userErrors, name).toEqual([
        { path: ['profile'], message: `\`profile\` cannot be used: ${outOfReach}.` },
      ])
      continue
    }
    expect(plan.userErrors, name).toEqual([])
    expect(plan.missingMembers, name).toEqual(missingMembers)
    expect(plan.bankId, name).toBe(registration.bank?.id ?? null)
    expect(plan.requirements.length, name).toBeGreaterThan(0)
    expect(hasSignIn(plan), name).toBe(true)
    expect(
      plan.requests.map(({ purpose }) => purpose),
      name,
    ).toContain('accounts')
    const text = plan.requests.map(({ url }) => url).join('\n')
    expect(text, name).not.toContain('not-stated')
    expect(text, name).not.toMatch(/transaction|statement|payee|beneficiar|debit|standing|reward|receipt/i)
    for (const path of missingMembers.filter((path) => path === 'apiBase')) expect(text, name).toContain(`{${path}}`)
    const methods = plan.requests.map(({ authentication }) => authentication)
    expect(methods.includes('{oauth.clientAuthentication}'), name).toBe(
      missingMembers.includes('oauth.clientAuthentication'),
    )
  }
})

test('a profile with an open member registers nothing until the operator states it', async () => {
  const query =
    'mutation ($input: RegisterConnectorInput!) { registerConnector(input: $input) { connector { clientIdAtBank } userErrors { path message } } }'
  const register = (registration: object) =>
    ask<Preview & { connector: object | null }>(query, 'registerConnector', {
      input: { profile: 'revolut', registration: { clientId: 'x', ...registration } },
    })
  const refused = await register({})
  expect(refused.connector).toBeNull()
  expect(refused.userErrors).toEqual(
    ['trustAnchors', 'oauth.endpoints.jwks'].map((path) => ({
      path: ['registration', ...path.split('.')],
      message: `\`registration.${path}\` must be stated: the profile leaves it to the operator (docs/BANKS.md).`,
    })),
  )
  const accepted = await register({ trustAnchors: [], oauth: { endpoints: { jwks: 'https://oba.revolut.com/jwks' } } })
  expect(accepted.userErrors).toEqual([])
  expect(accepted.connector).toEqual({ clientIdAtBank: 'x' })
})

test('a connector and its certification report name the profile that the registration began with, and its revision', async () => {
  const members = { trustAnchors: [], oauth: { endpoints: { jwks: 'https://oba.revolut.com/jwks' } } }
  const query = `mutation ($input: RegisterConnectorInput!) { registerConnector(input: $input) {
    connector { id profile profileRevision history { nodes { changes { field after } } } } } }`
  const { connector } = await ask<{ connector: { id: string } }>(query, 'registerConnector', {
    input: { profile: 'revolut', registration: { clientId: 'y', ...members } },
  })
  const profiles = await ask<{ name: string; revision: string }[]>(
    '{ connectorProfiles { name revision } }',
    'connectorProfiles',
  )
  expect(new Set(profiles.map(({ revision }) => revision)).size).toBeGreaterThan(profiles.length / 2)
  const profileRevision = profiles.find(({ name }) => name === 'revolut')!.revision
  expect(connector).toMatchObject({ profile: 'revolut', profileRevision })
  expect(JSON.stringify(connector)).toContain(`{"field":"profile","after":["revolut","${profileRevision}"]}`)
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const key = { ...(await exportJWK(privateKey)), kty: 'EC', kid: 'k' }
  const run = { level: 'STATIC', checks: [] } as unknown as CertificationRun
  const stored = (await gateway.app.services.banks.findConnector(connector.id))!
  const report = await signReport(stored, run, gateway.issuer, key)
  expect(decodeJwt(report)).toMatchObject({ profile: 'revolut', profileRevision })
})
