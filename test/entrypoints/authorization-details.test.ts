import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { authenticatedForm, authorizationRequest, clientAssertion, postForm } from '../support/oauth-requests.ts'

const CLIENT = 'chatterbox'
const DETAIL = { type: 'urn:guichet:account-information', actions: ['accounts:read'], purposes: ['ANSWER_CUSTOMER'] }

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

/** Pushes a good request with other details (`undefined`: none), or another scope. */
async function pushDetails(details: unknown, change: { scope?: string; more?: [string, string][] } = {}) {
  const form = authenticatedForm(CLIENT, await clientAssertion(gateway, CLIENT), authorizationRequest(gateway, CLIENT))
  if (details === undefined) form.delete('authorization_details')
  else form.set('authorization_details', typeof details === 'string' ? details : JSON.stringify(details))
  if (change.scope !== undefined) form.set('scope', change.scope)
  for (const [name, value] of change.more ?? []) form.append(name, value)
  const { status, body } = await postForm(gateway, '/oauth/par', form)
  return { status, error: body['error'], says: String(body['error_description']) }
}

const ONE = /exactly one .*urn:guichet:account-information/
const invalid = (says: RegExp) => ({
  status: 400,
  error: 'invalid_authorization_details',
  says: expect.stringMatching(says) as string,
})

describe('the authorization details of a pushed request', () => {
  test.each<[what: string, details: unknown, says: RegExp]>([
    ['absent', undefined, ONE],
    ['empty', '', ONE],
    ['an empty list', [], ONE],
    ['one object without a list', DETAIL, /JSON array/],
    ['twice the same', [DETAIL, DETAIL], ONE],
    [
      'two of one type for two banks',
      [
        { ...DETAIL, bank: 'northbank' },
        { ...DETAIL, bank: 'rheinbank' },
      ],
      ONE,
    ],
    ['a second one of another type', [DETAIL, { type: 'payment_initiation' }], /payment_initiation|type|exactly one/],
    ['without actions', [{ ...DETAIL, actions: undefined }], /actions: .*accounts:read/],
    ['with no action', [{ ...DETAIL, actions: [] }], /actions: .*accounts:read/],
    ['with one action twice', [{ ...DETAIL, actions: ['accounts:read', 'accounts:read'] }], /actions: .*once/],
    ['without purposes', [{ ...DETAIL, purposes: undefined }], /purposes: .*ANSWER_CUSTOMER/],
    ['with one purpose twice', [{ ...DETAIL, purposes: ['ANSWER_CUSTOMER', 'ANSWER_CUSTOMER'] }], /purposes: .*once/],
    ['with a bank that is no text', [{ ...DETAIL, bank: 7 }], /bank: /],
    ['with a member that does not exist', [{ ...DETAIL, merchants: true }], /nothing else/],
  ])(
    'authorization details that are %s are refused, and the error states what is expected',
    async (_what, details, says) => {
      expect(await pushDetails(details)).toMatchObject(invalid(says))
    },
  )

  test('authorization details that are sent in two parameters are refused', async () => {
    const more: [string, string][] = [['authorization_details', JSON.stringify([DETAIL])]]
    expect(await pushDetails([DETAIL], { more })).toMatchObject({
      status: 400,
      error: 'invalid_request',
      says: expect.stringContaining('authorization_details') as string,
    })
  })

  test.each<[what: string, scope: string, actions: string[], says: RegExp]>([
    [
      'a scope that is no action',
      'openid accounts:read balances:exact',
      ['accounts:read'],
      /only in scope: balances:exact/,
    ],
    [
      'an action that is no scope',
      'openid accounts:read',
      ['accounts:read', 'alerts:read'],
      /only in actions: alerts:read/,
    ],
    ['actions and no scope of them', 'openid', ['accounts:read'], /only in actions: accounts:read/],
  ])('authorization details that have %s are refused, and the error names it', async (_what, scope, actions, says) => {
    expect(await pushDetails([{ ...DETAIL, actions }], { scope })).toMatchObject(invalid(says))
  })

  test('authorization details that the client is not registered for are refused, and the error names them', async () => {
    const actions = ['accounts:read', 'alerts:read']
    const { clients } = gateway.app.services
    const { scopes } = (await clients.find(CLIENT))!
    await clients.update('admin', CLIENT, { scopes: scopes.filter((scope) => scope !== 'alerts:read') })
    expect(await pushDetails([{ ...DETAIL, actions }], { scope: ['openid', ...actions].join(' ') })).toMatchObject(
      invalid(/not registered for alerts:read/),
    )
    await clients.update('admin', CLIENT, { scopes })
  })

  test('authorization details that match the scope are accepted, with or without a bank', async () => {
    expect((await pushDetails([DETAIL])).status).toBe(201)
    const scope = 'openid offline_access accounts:read'
    expect((await pushDetails([{ ...DETAIL, bank: 'northbank' }], { scope })).status).toBe(201)
  })
})
