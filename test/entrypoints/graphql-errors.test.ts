import { describe, expect, test } from 'vitest'
import { buildError, deniedError, fieldError, requestError } from '../../src/entrypoints/graphql/errors.ts'
import { ERROR_CODES, GatewayError, type ErrorCode } from '../../src/kernel/errors.ts'
import { createLog } from '../../src/kernel/log.ts'
import { ANONYMOUS, type RequestContext } from '../../src/kernel/request-context.ts'

const clock = { now: () => new Date('2026-11-27T10:00:00.000Z') }
const log = createLog('error', clock.now, () => undefined)
const context = { requestId: 'req_test', clock, log }
const requestContext = (caller: object): RequestContext => ({ caller, requestId: 'req_test' }) as never

describe('an error', () => {
  test('an error of each code states who can resolve it', () => {
    for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
      const { category, retryable, resolvableBy } = ERROR_CODES[code]
      expect(buildError(code, 'req_test').extensions).toEqual({
        code,
        category,
        retryable,
        resolvableBy,
        requestId: 'req_test',
      })
    }
  })

  test('a temporary error states when the request can be retried', () => {
    const error = new GatewayError('RATE_LIMITED', { retryAfterSeconds: 90 })
    const expected = { code: 'RATE_LIMITED', retryAt: '2026-11-27T10:01:30.000Z' }
    expect(requestError(error, 'req_test', clock).extensions).toMatchObject(expected)
    expect(fieldError({ thrown: error, path: ['banks'] }, context).extensions).toMatchObject(expected)
  })

  test('an error of an input names the argument', () => {
    const error = new GatewayError('INVALID_INPUT', { faults: [{ path: ['input', 'name'], message: 'Too long.' }] })
    expect(requestError(error, 'req_test', clock)).toMatchObject({
      message: 'Too long.',
      extensions: { argument: 'input.name' },
    })
  })

  test('an error of a field that a policy denies names the policy and no scopes', () => {
    const field = { path: ['client'], parentType: 'Query', missingScopes: [], missingPolicies: ['CLIENT_TOKEN'] }
    const { extensions } = deniedError(field, requestContext({ kind: 'CUSTOMER' }))
    expect(extensions).toMatchObject({ code: 'UNAUTHORIZED_FIELD_OR_TYPE', missingPolicies: ['CLIENT_TOKEN'] })
    expect(extensions).not.toHaveProperty('missingScopes')
  })

  test('an error of a field that scopes deny names the scopes and no policies', () => {
    const field = { path: ['clients'], parentType: 'Query', missingScopes: [['clients:manage']], missingPolicies: [] }
    const { extensions } = deniedError(field, requestContext(ANONYMOUS))
    expect(extensions).toMatchObject({ code: 'UNAUTHENTICATED', missingScopes: [['clients:manage']] })
    expect(extensions).not.toHaveProperty('missingPolicies')
  })
})
