import { serverAudits } from 'graphql-http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

/** The audits of the GraphQL-over-HTTP working group; the address is not known before the gateway listens. */
const audits = serverAudits({
  url: () => `${gateway.issuer}/graphql`,
  fetchFn: (input: string, init: RequestInit) => fetch(input, init),
})

describe('GraphQL over HTTP', () => {
  test('GraphQL over HTTP has 61 audits', () => expect(audits).toHaveLength(61))

  test.each(audits.map((audit) => [audit.name, audit] as const))('%s', async (_name, audit) => {
    const result = await audit.fn()
    expect(result.status, 'reason' in result ? result.reason : '').toBe('ok')
  })
})
