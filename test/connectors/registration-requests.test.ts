import { decodeJwt, decodeProtectedHeader, UnsecuredJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { STANDARDS } from '../../src/connectors/index.ts'
import { ok, scriptedBank } from '../support/scripted-bank.ts'
import { ADDRESS, codeOf, EXAMPLES } from '../support/standards.ts'

const ISSUER = String(EXAMPLES.OBIE.registration['authorizationServer'])
const STATEMENT = new UnsecuredJWT({ software_id: 'software-1' }).encode()
const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** Registers the gateway at a bank with these members. */
function register(members: Record<string, unknown>, issued: object = { client_id: 'given-1' }) {
  const { tools, sent } = scriptedBank(({ method }) =>
    method === 'GET'
      ? ok({ issuer: ISSUER, registration_endpoint: `${ISSUER}/register` })
      : { ...ok(issued), status: 201 },
  )
  const registration = STANDARDS.OBIE.registration(ADDRESS).parse({ ...EXAMPLES.OBIE.registration, ...members })
  return { sent, client: STANDARDS.OBIE.registerDynamically!(registration, tools, STATEMENT) }
}
async function requestOf(members: Record<string, unknown>) {
  const { sent, client } = register(members)
  expect(await client).toEqual({ clientId: 'given-1' })
  const { headers, body } = sent.find(({ method }) => method === 'POST')!
  return { contentType: headers!['content-type'], claims: decodeJwt(body!), header: decodeProtectedHeader(body!) }
}

describe('a registration request to a UK bank', () => {
  test('the default request is as the standard says, with a new UUID as its id each time', async () => {
    const { contentType, claims, header } = await requestOf({})
    expect(contentType).toBe('application/jwt')
    expect(header).toMatchObject({ alg: 'ES256', kid: 'k' })
    expect(claims).toMatchObject({
      iss: 'software-1',
      aud: ISSUER,
      software_statement: STATEMENT,
      scope: 'openid accounts',
      response_types: ['code'],
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      authorization_signed_response_alg: 'ES256',
    })
    expect(claims.jti).toMatch(UUID_V4)
    expect((await requestOf({})).claims.jti).not.toBe(claims.jti)
  })

  test('the media type and the audience are those that the bank expects', async () => {
    const dynamicRegistration = { contentType: 'application/jose', audience: '0015800000jf9GgAAI' }
    const { contentType, claims } = await requestOf({ dynamicRegistration })
    expect(contentType).toBe('application/jose')
    expect(claims.aud).toBe('0015800000jf9GgAAI')
  })

  test('a bank without metadata is registered at where its registration says, and at nothing else', async () => {
    const endpoints = {
      authorization: `${ISSUER}/authorize`,
      token: `${ISSUER}/token`,
      registration: `${ISSUER}/clients`,
    }
    const { sent, client } = register({ oauth: { endpoints } })
    expect(await client).toMatchObject({ clientId: 'given-1' })
    expect(sent.map(({ method, url }) => `${method} ${url}`)).toEqual([`POST ${ISSUER}/clients`])
    const elsewhere = register({
      oauth: { endpoints: { ...endpoints, registration: 'https://other.example/clients' } },
    })
    expect(await codeOf(elsewhere.client)).toBe('BANK_RESPONSE_INVALID')
    expect(elsewhere.sent).toEqual([])
  })

  test('a client that authenticates by its certificate names the subject, and no algorithm of assertions', async () => {
    const mutual = {
      mutualTls: true,
      certificates: { transport: 'ISSUED' },
      oauth: { clientAuthentication: 'tls_client_auth' },
    }
    const subjectDn = 'CN=a,2.5.4.97=PSDGB-FCA-1,O=Guichet,C=GB'
    const { claims } = await requestOf({ ...mutual, dynamicRegistration: { subjectDn } })
    expect(claims).toMatchObject({
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_subject_dn: subjectDn,
      tls_client_certificate_bound_access_tokens: true,
    })
    expect(claims).not.toHaveProperty('token_endpoint_auth_signing_alg')
    const { sent, client } = register({ ...mutual, dynamicRegistration: {} })
    expect(await codeOf(client)).toBe('INVALID_INPUT')
    expect(sent.filter(({ method }) => method === 'POST')).toEqual([])
  })

  test('the request names the response type and the algorithms of the profile', async () => {
    const { claims } = await requestOf({
      oauth: { responseType: 'code id_token', responseMode: 'fragment', bankAlgorithm: 'PS256' },
    })
    expect(claims).toMatchObject({ response_types: ['code id_token'], id_token_signed_response_alg: 'PS256' })
    expect(claims).not.toHaveProperty('authorization_signed_response_alg')
  })

  test('the secret of the response is read only for a client that authenticates with one', async () => {
    const issued = { client_id: 'given-1', client_secret: 'issued-secret', client_secret_expires_at: 0 }
    const basic = { oauth: { clientAuthentication: 'client_secret_basic' } }
    expect(await register(basic, issued).client).toEqual({ clientId: 'given-1', clientSecret: 'issued-secret' })
    expect(await register({}, issued).client).toEqual({ clientId: 'given-1' })
    expect((await register(basic).client).clientSecret).toBeUndefined()
    const unusable = register(basic, { ...issued, client_secret: 'two words' })
    expect(await codeOf(unusable.client)).toBe('BANK_RESPONSE_INVALID')
  })
})
