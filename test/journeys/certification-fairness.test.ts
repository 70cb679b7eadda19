import { afterAll, beforeAll, expect, test } from 'vitest'
import type { OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { certifications } from '../support/certification.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const { register } = certifications(() => gateway)

test("six certification runs at a hanging bank do not delay another partner's run", async () => {
  const { banks } = gateway.app.services
  const over = Promise.withResolvers<OutboundResponse>()
  let hung = 0
  gateway.intercept = ({ url }) => (url.startsWith(gateway.sandbox.banks.eastbank) ? (hung++, over.promise) : undefined)
  const slow: string[] = []
  for (let index = 0; index < 6; index++) slow.push(await register('eastbank'))
  for (const id of slow) await banks.startCertification('eastbank-partner', id)
  await eventually('that one hangs', () => Promise.resolve(hung > 0))
  const quick = await register('lakebank')
  await banks.startCertification('lakebank-partner', quick)
  await eventually(
    'the run of the other partner',
    async () => (await banks.findConnector(quick))!.status === 'CERTIFIED',
  )
  expect(hung).toBe(1)
  over.resolve({ status: 503, headers: {}, text: '' })
  await eventually(
    'the end of all runs',
    async () =>
      (await Promise.all(slow.map(async (id) => (await banks.findConnector(id))!.status))).every(
        (status) => status === 'DRAFT',
      ),
    30_000,
  )
})
