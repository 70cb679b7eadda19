import { request } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type App } from '../../src/app.ts'
import { readConfig } from '../../src/config.ts'
import type { GraphqlResponse, Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createWorld } from '../../src/kernel/world.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { patientTimers } from '../support/patient-time.ts'

// Nobody works the outbox off here: what takes effect does so by the commit alone.
const ROLE = { GUICHET_ROLE: 'gateway' }
let gateway: TestGateway
let other: { app: App; port: number; database: Database }
beforeAll(async () => {
  gateway = await startGateway({ env: ROLE })
  const config = readConfig({
    ...ROLE,
    ISSUER: gateway.issuer,
    PORT: '0',
    METRICS_PORT: '0',
    GUICHET_DATA_DIR: gateway.dataDir,
    DATABASE_URL: gateway.database.url,
  })
  const database = openDatabase(gateway.database.url, 4, patientTimers)
  const log = createLog(
    'error',
    () => new Date(),
    () => undefined,
  )
  const http = createOutboundHttp(config.egress, undefined, { timers: patientTimers })
  const app = await createApp(config, { ...createWorld(log, http), timers: patientTimers }, database)
  other = { app, database, port: await app.start() }
})
afterAll(async () => {
  await other.app.stop()
  await other.database.close()
  await gateway.close()
})

/** Asks the second process, under the name that both have. */
function askThere(token: Token, query: string): Promise<{ status: number; answer: GraphqlResponse }> {
  const body = JSON.stringify({ query })
  return new Promise((resolve, reject) => {
    const call = request(
      {
        port: other.port,
        host: '127.0.0.1',
        path: '/graphql',
        method: 'POST',
        headers: {
          host: new URL(gateway.issuer).host,
          authorization: `Bearer ${token.accessToken}`,
          'content-type': 'application/json',
        },
      },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        answer.on('end', () => resolve({ status: answer.statusCode!, answer: JSON.parse(text) as GraphqlResponse }))
      },
    )
    call.on('error', reject)
    call.end(body)
  })
}

const customer = () => gateway.customer('ada', ['northbank'], { clientId: 'chatterbox-bearer' })
const QUERY = '{ customer { currentConsents { id } accounts { nodes { id } } } }'
/** Twice: the second is answered from what the process remembers. */
async function known(token: Token): Promise<string> {
  await askThere(token, QUERY)
  const { status, answer } = await askThere(token, QUERY)
  expect(status).toBe(200)
  return (answer.data!['customer'] as { currentConsents: [{ id: string }] }).currentConsents[0].id
}
const refusedWithinMs = async (token: Token): Promise<number> => {
  const began = patientTimers.monotonicMs()
  await eventually('the refusal', async () => (await askThere(token, QUERY)).status === 401)
  return patientTimers.monotonicMs() - began
}

describe('a change in one process applies to another within a second, even if no process drains the outbox', () => {
  test('a consent that one process withdraws is refused by another within a second', async () => {
    const token = await customer()
    await gateway.app.services.consents.revoke(await known(token), 'CUSTOMER_AT_GATEWAY')
    expect(await refusedWithinMs(token)).toBeLessThan(1_000)
  })

  test('a client that one process suspends is refused by another within a second', async () => {
    const token = await customer()
    await known(token)
    await gateway.app.services.clients.suspend('admin', 'chatterbox-bearer')
    expect(await refusedWithinMs(token)).toBeLessThan(1_000)
    await gateway.app.services.clients.resume('admin', 'chatterbox-bearer')
    await eventually('that it is back', async () => (await askThere(token, QUERY)).status === 200)
  })

  test('a token that one process revokes is refused by another within a second', async () => {
    const token = await customer()
    await known(token)
    const { createOauthClient } = await import('../../src/entrypoints/cli/oauth-client.ts')
    await createOauthClient(gateway.issuer, gateway.client('chatterbox-bearer')).revoke(token.accessToken)
    expect(await refusedWithinMs(token)).toBeLessThan(1_000)
  })

  test('cached data of a bank whose connector is suspended is not returned', async () => {
    const token = await customer()
    const BAND =
      '{ customer { accounts { nodes { balances(detail: BAND) { __typename ... on BalanceUnavailable { reason { code } } } } } } }'
    await askThere(token, BAND)
    expect(JSON.stringify((await askThere(token, BAND)).answer)).toContain('BalanceBand')
    const { banks } = gateway.app.services
    const [connector] = await banks.connectorsOfClient('northbank-partner')
    await banks.suspend('admin', connector!.id)
    await eventually(
      'that nothing is told',
      async () => {
        const text = JSON.stringify((await askThere(token, BAND)).answer)
        return text.includes('BANK_UNAVAILABLE') && !text.includes('"BalanceBand"')
      },
      1_000,
    )
    await banks.activate('admin', connector!.id)
  })

  test('a new alert is in the list of a process that had cached the list', async () => {
    const token = await customer()
    const ALERTS = '{ customer { alerts { totalCount } } }'
    await askThere(token, ALERTS)
    expect(JSON.stringify((await askThere(token, ALERTS)).answer.data)).toContain('"totalCount":0')
    expect(await gateway.alert('northbank', { account: 'nb-10001', type: 'NEW_SIGN_IN' })).toEqual([202])
    await eventually(
      'the alert',
      async () => JSON.stringify((await askThere(token, ALERTS)).answer.data).includes('"totalCount":1'),
      1_000,
    )
  })

  test('a process that may miss signals bypasses its caches until signals arrive', async () => {
    const token = await customer()
    await known(token)
    const listening = async () =>
      gateway.database.query<{ pid: number }>(
        "select pid from pg_stat_activity where query ilike 'listen%' or query = 'select 1'",
      )
    await gateway.database.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query ilike 'listen %guichet_signal%'",
    )
    expect((await askThere(token, QUERY)).status).toBe(200)
    await eventually(
      'that it listens again',
      async () => other.app.services.signals.coherence() && (await listening()).length > 0,
    )
    const consentId = await known(token)
    await gateway.app.services.consents.revoke(consentId, 'CUSTOMER_AT_GATEWAY')
    expect(await refusedWithinMs(token)).toBeLessThan(1_000)
  })
})
