import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { expect, test } from 'vitest'
import { createSubscriptions, type SubscriptionDependencies } from '../../src/entrypoints/graphql/subscriptions.ts'
import type { HttpRequest } from '../../src/kernel/http.ts'
import { createLog } from '../../src/kernel/log.ts'
import type { CustomerCaller } from '../../src/kernel/request-context.ts'

const caller: CustomerCaller = {
  kind: 'CUSTOMER',
  clientId: 'client',
  customerId: 'customer',
  consentId: 'consent',
  tokenId: 'token',
  tokenType: 'DPoP',
  tokenExpiresAtMs: 60_000,
  quota: { pointsPerMinute: 1, pointsPerCustomerPerMinute: 1 },
  registeredOnly: false,
  scopes: new Set(),
}
/** Every subscription is allowed, and has one open root field. */
const dependencies = {
  operations: {
    prepare: () => ({
      plan: { root: { fields: [{ kind: 'authorized', name: 'alertReceived' }] }, cost: () => 1 },
      coerced: {},
    }),
    chargeSubscription: () => Promise.resolve(undefined),
  },
  isStillAuthorized: () => Promise.resolve(true),
  clock: { now: () => new Date(0) },
  log: createLog(
    'error',
    () => new Date(0),
    () => undefined,
  ),
} as unknown as SubscriptionDependencies

/** A response of which only what a stream does is there, and what was done to it. */
function response(closed: boolean) {
  const written: string[] = []
  const fake = Object.assign(new EventEmitter(), {
    closed,
    destroyed: closed,
    socket: { writableLength: 0, write: () => true, setTimeout: () => undefined },
    writeHead: (status: number) => written.push(`head ${status}`),
    write: () => written.push('chunk'),
    end: () => written.push('end'),
  })
  return { written, response: fake as unknown as ServerResponse }
}
const MAX_PER_CUSTOMER = 100

test('a subscriber that left before its stream began is sent nothing and occupies no slot', async () => {
  const subscriptions = createSubscriptions(dependencies)
  const subscribe = async (closed: boolean) => {
    const { written, response: stream } = response(closed)
    const request = {
      method: 'GET',
      headers: {},
      raw: { request: { httpVersion: '1.1', socket: stream.socket }, response: stream },
    } as unknown as HttpRequest
    const operation = { key: 'operation' } as never
    const context = { caller, requestId: 'req_test', charge: {} } as never
    await subscriptions.subscribe(request, { operation, variables: {} }, context)
    return written
  }
  for (let i = 0; i < MAX_PER_CUSTOMER; i++) expect(await subscribe(true)).toEqual([])
  expect(await subscribe(false)).toEqual(['head 200', 'chunk'])
  for (let i = 1; i < MAX_PER_CUSTOMER; i++) await subscribe(false)
  await expect(subscribe(false)).rejects.toMatchObject({ code: 'RATE_LIMITED' })
})
