import { createLocalJWKSet, importJWK, jwtVerify, exportJWK } from 'jose'
import { createPublicKey } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  planRequests,
  registrationFaults,
  resolveOauthProfile,
  STANDARDS,
  type CustomerAnswer,
  type Registration,
  type StandardId,
} from '../../src/connectors/index.ts'
import type { GatewayError } from '../../src/kernel/errors.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { ok } from '../support/scripted-bank.ts'
import { codeOf, common, connect } from '../support/standards.ts'

const URL_OF_ANSWERS = 'https://auth.bank.example/answers'
const STANDARD_IDS = Object.keys(STANDARDS) as StandardId[]
const ANSWER: CustomerAnswer = {
  id: 'answ_1',
  answer: 'IT_WAS_NOT_ME',
  respondedAt: '2026-11-28T10:20:30.400Z',
  eventId: 'event-1',
  accountRef: 'account-1',
  consentRef: 'consent-1',
  customerRef: 'person-1',
}

let respond: (request: OutboundRequest) => OutboundResponse
beforeEach(() => {
  respond = () => ({ status: 202, headers: {}, text: '' })
})

function desk(standard: StandardId = 'CDR', members: Record<string, unknown> = {}) {
  const registration = {
    alertResponses: { url: URL_OF_ANSWERS, accepts: ['CALL_ME', 'IT_WAS_NOT_ME'], ...members },
  }
  const { bank, sent, tools } = connect(
    standard,
    (request) => {
      if (request.url === URL_OF_ANSWERS) return respond(request)
      if (request.url.endsWith('/token'))
        return ok({ access_token: 'token-1', token_type: 'Bearer', expires_in: 300, scope: 'fraud' })
      return ok({ issuer: common.authorizationServer, token_endpoint: `${common.authorizationServer}/token` })
    },
    registration,
  )
  return {
    send: bank.sendAlertResponse!,
    tools,
    responses: () => sent.filter(({ url }) => url === URL_OF_ANSWERS),
    sent,
  }
}

/** What the bank reads in the token, once it has verified it with the gateway's key. */
async function verify({ body }: OutboundRequest, key: object) {
  const publicKey = createPublicKey({ key: key as never, format: 'jwk' })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k' }
  await importJWK(jwk, 'ES256')
  return jwtVerify(body!, createLocalJWKSet({ keys: [jwk] }), { typ: 'secevent+jwt' })
}

describe('the answer of a customer', () => {
  test.each(STANDARD_IDS)('a response reaches a bank of %s as a signed token with one event', async (id) => {
    const { send, responses, tools } = desk(id)
    expect(await send(ANSWER)).toBe('ACCEPTED')
    const [request] = responses()
    expect(request!.headers).toEqual({ 'content-type': 'application/secevent+jwt', accept: 'application/json' })
    const { payload } = await verify(request!, tools.credentials.signingKey)
    expect(payload).toEqual({
      iss: 'https://gateway.example',
      aud: common.events.issuer,
      iat: Date.parse('2026-11-28T10:20:30Z') / 1_000,
      jti: 'answ_1',
      sub_id: { format: 'opaque', id: 'account-1' },
      events: {
        'urn:guichet:events:alert-response': {
          alert: 'event-1',
          answer: 'IT_WAS_NOT_ME',
          responded_at: Date.parse('2026-11-28T10:20:30Z') / 1_000,
          consent: 'consent-1',
        },
      },
    })
  })

  test("a response names the account of a Berlin Group bank by the bank's own id", async () => {
    const { send, responses, tools } = desk('BERLIN_GROUP')
    await send({ ...ANSWER, accountRef: 'card:account-1' })
    await send({ ...ANSWER, accountRef: 'listed:digest' })
    const [card, listed] = await Promise.all(
      responses().map((request) => verify(request, tools.credentials.signingKey)),
    )
    expect(card!.payload['sub_id']).toEqual({ format: 'opaque', id: 'account-1' })
    expect(listed!.payload['sub_id']).toBeUndefined()
  })

  test('a response names the person if the alert is about no account', async () => {
    const { send, responses, tools } = desk()
    const { accountRef: _account, ...answer } = ANSWER
    await send(answer)
    const { payload } = await verify(responses()[0]!, tools.credentials.signingKey)
    expect(payload['sub_id']).toEqual({ format: 'iss_sub', iss: common.events.issuer, sub: 'person-1' })
  })

  test('a response has the audience and the token that the registration states', async () => {
    const { send, responses, tools, sent } = desk('CDR', { audience: 'fraud-desk', scope: 'fraud' })
    await send(ANSWER)
    const [request] = responses()
    expect(request!.headers!['authorization']).toBe('Bearer token-1')
    expect((await verify(request!, tools.credentials.signingKey)).payload.aud).toBe('fraud-desk')
    const token = sent.find(({ url }) => url.endsWith('/token'))!
    expect(new URLSearchParams(token.body).get('scope')).toBe('fraud')
  })

  test.each([
    [400, '{"err":"invalid_request"}'],
    [400, '{"err":"invalid_audience","description":"x"}'],
    [410, ''],
    [413, ''],
  ])('a response is given up if the bank returns %i %s', async (status, text) => {
    respond = () => ({ status, headers: {}, text })
    expect(await desk().send(ANSWER)).toBe('REJECTED')
  })

  test.each([
    [400, '{"err":"invalid_key"}', 'BANK_REFUSED'],
    [400, 'not JSON', 'BANK_REFUSED'],
    [400, 'null', 'BANK_REFUSED'],
    [401, '', 'BANK_REFUSED'],
    [302, '', 'BANK_REFUSED'],
    [404, '', 'BANK_REFUSED'],
    [500, '', 'BANK_UNAVAILABLE'],
  ])('a response is to be sent again if the bank returns %i %s', async (status, text, code) => {
    respond = () => ({ status, headers: { location: 'https://elsewhere.example' }, text })
    const { send, sent } = desk()
    expect(await codeOf(send(ANSWER))).toBe(code)
    expect(sent).toHaveLength(1)
  })

  test.each([
    ['20', 20],
    ['31536000', 300],
  ])('a response waits %s s, as a bank requests that gets too many, but at most 300 s', async (stated, expected) => {
    respond = () => ({ status: 429, headers: { 'retry-after': stated }, text: '' })
    const error = await desk()
      .send(ANSWER)
      .catch((thrown: unknown) => thrown as GatewayError)
    expect(error).toMatchObject({ code: 'BANK_RATE_LIMITED', retryAfterSeconds: expected })
  })

  test('a response cannot be sent to a bank without an endpoint for it', () => {
    expect(connect('CDR', () => ok({}), {}).bank.sendAlertResponse).toBeUndefined()
  })
})

describe('the registration of an endpoint for responses', () => {
  function faultsOf(members: Record<string, unknown>): string[] {
    const standard = STANDARDS.CDR
    const registration = { ...common, ...members } as unknown as Registration
    const profile = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
    return registrationFaults(registration, profile, standard.resourceServers(registration)).map(({ path }) =>
      path.join('.'),
    )
  }
  const alertResponses = { url: URL_OF_ANSWERS, accepts: ['IT_WAS_ME', 'FREEZE_REQUESTED'] }

  test('a registration may accept IT_WAS_ME only if the bank sends events', () => {
    expect(faultsOf({ alertResponses })).toEqual([])
    expect(faultsOf({ alertResponses, events: undefined })).toContain('alertResponses.accepts')
  })

  test('a registration may not name an address of the account API or of another host', () => {
    expect(faultsOf({ alertResponses: { ...alertResponses, url: `${common.apiBase}/banking/accounts` } })).toContain(
      'alertResponses.url',
    )
    expect(faultsOf({ alertResponses: { ...alertResponses, url: 'https://elsewhere.example/answers' } })).toContain(
      'alertResponses.url',
    )
  })

  test('the endpoint is part of the plan that a dry run prints', () => {
    const registration = { ...common, alertResponses: { ...alertResponses, scope: 'fraud' } } as unknown as Registration
    const planned = planRequests(STANDARDS.CDR, registration).find(({ url }) => url === URL_OF_ANSWERS)
    expect(planned).toMatchObject({ method: 'POST', authentication: 'signed token and bearer token' })
  })
})
