import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generateDpopKey, createDpopProof } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { authenticatedForm, authorizationRequest, clientAssertion, postForm } from '../support/oauth-requests.ts'

const CLIENT = 'chatterbox'
const HAS_FOR_ITSELF = 'it has webhooks:manage deliveries:read'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

async function requestToken(scope: string) {
  const fields = { grant_type: 'client_credentials', scope }
  const form = authenticatedForm(CLIENT, await clientAssertion(gateway, CLIENT), fields)
  const url = `${gateway.issuer}/oauth/token`
  const { status, body } = await postForm(gateway, '/oauth/token', form, {
    dpop: await createDpopProof(await generateDpopKey(), 'POST', url),
  })
  return { status, ...body }
}

async function push(scope: string) {
  const form = authenticatedForm(CLIENT, await clientAssertion(gateway, CLIENT), authorizationRequest(gateway, CLIENT))
  form.set('scope', scope)
  const { status, body } = await postForm(gateway, '/oauth/par', form)
  return { status, ...body }
}

const refused = (...says: string[]) => ({
  status: 400,
  error: 'invalid_scope',
  error_description: expect.stringContaining(says.join('; ')) as string,
})

describe('a scope that the client cannot be granted', () => {
  test.each([
    ['webhooks:manag', 'webhooks:manag cannot be granted to this client here (did you mean webhooks:manage?)'],
    ['webhooks:manage nope', 'nope cannot be granted to this client here'],
    ['clients:manage', 'clients:manage cannot be granted to this client here'],
    ['accounts:read', 'accounts:read cannot be granted to this client here'],
  ])("the token endpoint names a scope that cannot be granted and the client's scopes: %s", async (scope, says) => {
    expect(await requestToken(scope)).toMatchObject(refused(says, HAS_FOR_ITSELF))
  })

  test.each([
    [
      'openid accounts:read acounts:read',
      'acounts:read cannot be granted to this client here (did you mean accounts:read?)',
    ],
    ['openid accounts:read webhooks:manage', 'webhooks:manage cannot be granted to this client here'],
  ])('the refusal of a pushed request names a scope that cannot be granted: %s', async (scope, says) => {
    expect(await push(scope)).toMatchObject(refused(says, 'it has accounts:read'))
  })

  test('a refusal does not repeat a requested scope that is not formed like one', async () => {
    const answer = await requestToken('ZQX-mark webhooks:manage')
    expect(answer).toMatchObject(refused('other requested scopes cannot be granted to this client here'))
    expect(JSON.stringify(answer)).not.toContain('ZQX')
  })
})

test('the scopes of OpenID Connect and those that the client has are granted', async () => {
  expect(await requestToken('webhooks:manage')).toMatchObject({ status: 200, scope: 'webhooks:manage' })
  expect(await push('openid offline_access accounts:read')).toMatchObject({ status: 201 })
})
