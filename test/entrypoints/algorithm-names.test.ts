import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { SignJWT, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { subjectOf } from '../../src/entrypoints/cli/oauth-client.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { authenticatedForm, clientAssertion, postForm, proofBy } from '../support/oauth-requests.ts'

const NAMES = ['EdDSA', 'Ed25519'] as const
const pair = generateKeyPairSync('ed25519')
const jwk = pair.publicKey.export({ format: 'jwk' }) as JWK

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
  // As keys were stored before the name of the algorithm was left out: the older one in the key itself.
  const stored = { ...jwk, kid: 'ed', alg: 'EdDSA', use: 'sig' }
  const { d: _private, ...own } = gateway.client('chatterbox').key
  await gateway.database.query("update client set jwks = $1 where id = 'chatterbox'", [
    JSON.stringify({ keys: [own, stored] }),
  ])
  await gateway.database.query(
    `update connector set registration = jsonb_set(registration, '{events,keys,keys}', registration #> '{events,keys,keys}' || $1::jsonb)
     where bank_id = 'northbank'`,
    [JSON.stringify([stored])],
  )
  const { signals } = gateway.app.services
  await signals.publishNow({ kind: 'CLIENT', id: 'chatterbox' })
  await signals.publishNow({ kind: 'BANK', id: 'northbank' })
})
afterAll(() => gateway.close())

const form = async (alg: string): Promise<URLSearchParams> =>
  authenticatedForm(
    'chatterbox',
    await clientAssertion(gateway, 'chatterbox', {}, { alg, key: pair.privateKey, kid: 'ed' }),
    { grant_type: 'client_credentials', scope: 'webhooks:manage' },
  )
const proof = (alg: string, path: string, accessToken?: string): Promise<string> =>
  proofBy(
    { alg, key: pair.privateKey, jwk },
    `${gateway.issuer}${path}`,
    accessToken === undefined ? {} : { accessToken },
  )

describe.each(NAMES)('Ed25519 signatures under the name %s (RFC 9864)', (alg) => {
  test('a client assertion is accepted', async () => {
    expect((await postForm(gateway, '/oauth/introspect', await form(alg))).body['error']).not.toBe('invalid_client')
  })

  test('a proof of possession is accepted at the token endpoint and at the graph', async () => {
    const { status, body } = await postForm(gateway, '/oauth/token', await form('EdDSA'), {
      dpop: await proof(alg, '/oauth/token'),
    })
    expect(status).toBe(200)
    const accessToken = String(body['access_token'])
    const answer = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        authorization: `DPoP ${accessToken}`,
        dpop: await proof(alg, '/graphql', accessToken),
      },
      body: JSON.stringify({ query: '{ banks { nodes { id } } }' }),
    })
    expect(answer.status).toBe(200)
  })

  test('a statement that the customer is present is accepted', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    const statement = await new SignJWT({})
      .setProtectedHeader({ alg, typ: 'customer-present+jwt', kid: 'ed' })
      .setIssuer('chatterbox')
      .setSubject(subjectOf(token)!)
      .setAudience(gateway.issuer)
      .setIssuedAt()
      .sign(pair.privateKey)
    const query = '{ customer { accounts { nodes { balances { __typename } } } } }'
    const seen = JSON.stringify(await gateway.askUnattended(token, query, {}, statement))
    expect(seen).toContain('ExactBalance')
  })

  test('an event of a bank is accepted', async () => {
    const { token, url } = await signEvent(gateway, 'northbank', {
      header: { alg, kid: 'ed' },
      claims: { jti: randomUUID() },
      key: { ...(pair.privateKey.export({ format: 'jwk' }) as JWK), alg },
    })
    expect((await push(url, token)).status).toBe(202)
  })
})

test('the metadata lists both names, for client assertions and for proofs', async () => {
  const read = async (path: string) =>
    (await (await fetch(`${gateway.issuer}/.well-known/${path}`)).json()) as Record<string, string[]>
  const server = await read('oauth-authorization-server')
  expect(server['token_endpoint_auth_signing_alg_values_supported']).toEqual(['PS256', 'ES256', 'EdDSA', 'Ed25519'])
  for (const metadata of [server, await read('oauth-protected-resource')])
    expect(metadata['dpop_signing_alg_values_supported']).toEqual(['ES256', 'EdDSA', 'Ed25519'])
})
