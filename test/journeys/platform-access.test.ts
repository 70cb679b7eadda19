import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { listen } from '../support/event-stream.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { subject } from '../support/interactions.ts'
import { holdRows } from '../support/locked-rows.ts'
import { platformsOf } from '../support/platforms.ts'
import { startSecondGateway } from '../support/second-gateway.ts'

let gateway: TestGateway
let platforms: ReturnType<typeof platformsOf>
let chatterbox: string
beforeAll(async () => {
  gateway = await startGateway()
  platforms = platformsOf(gateway)
  chatterbox = await platforms.organizationOf('chatterbox')
  await platforms.add('pigeon', 'Pigeon')
})
afterAll(() => gateway.close())
afterEach(() => platforms.set('northbank', { all: true }))

const refuseChatterbox = () => platforms.set('northbank', { allExcept: [chatterbox] })

const READ = `{ customer { banks { id } alerts { totalCount }
  accounts { nodes { displayName bank { id } balances { __typename ... on BalanceUnavailable { reason { code } } } } }
  currentConsents { status bank { availability } accounts { nodes { id } } } } }`

interface Shown {
  banks: { id: string }[]
  alerts: { totalCount: number }
  accounts: { nodes: { displayName: string; bank: { id: string }; balances: { __typename: string }[] }[] }
  currentConsents: { status: string; bank: { availability: string }; accounts: { nodes: unknown[] } }[]
}
async function read(token: Token): Promise<Shown> {
  const { data, errors } = await gateway.ask(token, READ)
  if (!data) throw new Error(JSON.stringify(errors))
  return data['customer'] as Shown
}
const banksIn = ({ accounts }: Shown): string[] => [...new Set(accounts.nodes.map(({ bank }) => bank.id))].sort()
const explain = async (token: Token, path: string) =>
  (
    (
      await gateway.ask(
        token,
        `{ explainAccess(target: { path: "${path}" }) { allowed reason grantableBy consentIds } }`,
      )
    ).data!['explainAccess'] as { allowed: boolean; reason: string; grantableBy: string | null; consentIds: string[] }[]
  ).at(-1)!
const settled = (): Promise<unknown> =>
  eventually('an empty outbox', async () => {
    const left = await gateway.database.query('select 1 from outbox_message where processed_at is null')
    return left.length === 0
  })

test('a platform reads nothing of a bank from the moment of its refusal, and all of it when the bank serves it again', async () => {
  const browser = createBrowser()
  const token = await gateway.customer('ada', ['northbank', 'rheinbank'], { browser })
  await gateway.alert('northbank', { account: 'nb-10001', type: 'CARD_SECURITY' })
  const before = await read(token)
  expect(before.alerts.totalCount).toBe(1)
  expect(banksIn(before)).toEqual(['northbank', 'rheinbank'])
  await refuseChatterbox()
  const refused = await read(token)
  expect(banksIn(refused)).toEqual(['rheinbank'])
  expect(refused.alerts.totalCount).toBe(0)
  expect(refused.banks).toEqual([{ id: 'rheinbank' }])
  expect(JSON.stringify(refused)).not.toContain('northbank')
  await platforms.set('northbank', { all: true })
  expect(await read(token)).toEqual(before)
})

test('the consent of a refused platform is SUSPENDED and not ended, and its token says why nothing is shared', async () => {
  const token = await gateway.customer('bo', ['northbank'])
  await refuseChatterbox()
  expect(await read(token)).toMatchObject({
    accounts: { nodes: [] },
    currentConsents: [{ status: 'SUSPENDED', bank: { availability: 'NOT_OFFERED' }, accounts: { nodes: [] } }],
  })
  for (const path of ['customer.accounts.nodes.balances', 'customer.alerts', 'customer.accounts'])
    expect(await explain(token, path)).toMatchObject({
      allowed: false,
      reason: 'PLATFORM_NOT_ALLOWED',
      grantableBy: 'BANK',
      consentIds: [expect.stringMatching(/^cons_/) as string],
    })
  // The platform can keep the customer's decision alive.
  const renewed = await gateway.renew(token)
  await platforms.set('northbank', { all: true })
  expect(banksIn(await read(renewed))).toEqual(['northbank'])
  expect(await explain(renewed, 'customer.accounts')).toMatchObject({ allowed: true, reason: 'CONSENT' })
})

test('what a platform reads follows the setting of the bank, even if the worker has recorded nothing yet', async () => {
  const token = await gateway.customer('bo', ['northbank'])
  await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
  await settled()
  const held = await holdRows(gateway, "select 1 from consent where bank_id = 'northbank' for update")
  const counts: [number, number][] = []
  for (const access of [{ all: true }, { allExcept: [chatterbox] }, { all: true }]) {
    await platforms.set('northbank', access)
    const { accounts, alerts } = await read(token)
    counts.push([accounts.nodes.length, alerts.totalCount])
  }
  await held.release()
  const [before, refused, after] = counts
  expect(before![0] * before![1]).toBeGreaterThan(0)
  expect(refused).toEqual([0, 0])
  expect(after).toEqual(before)
})

test('a customer who still shares another bank reads that bank, and explainAccess names that consent alone', async () => {
  const token = await gateway.customer('ada', ['northbank', 'rheinbank'], { browser: createBrowser() })
  await refuseChatterbox()
  const { reason, consentIds } = await explain(token, 'customer.accounts')
  expect(reason).toBe('CONSENT')
  const banks = await gateway.database.query<{ bank_id: string }>(
    'select distinct bank_id from consent where id = any($1)',
    [consentIds],
  )
  expect(banks).toEqual([{ bank_id: 'rheinbank' }])
  expect((await read(token)).currentConsents).toMatchObject([{ status: 'ACTIVE' }])
})

test('a refusal concerns all clients of the organization, and no other platform of the same customer', async () => {
  const browser = createBrowser()
  const own = await gateway.customer('cleo', ['rheinbank'], { browser })
  const sameOrganization = await gateway.customer('cleo', ['rheinbank'], { browser, clientId: 'chatterbox-bearer' })
  const other = await gateway.customer('cleo', ['rheinbank'], { browser, clientId: 'pigeon' })
  await platforms.set('rheinbank', { allExcept: [chatterbox] })
  expect([await read(own), await read(sameOrganization), await read(other)].map(banksIn)).toEqual([
    [],
    [],
    ['rheinbank'],
  ])
  await platforms.set('rheinbank', { only: [chatterbox] })
  expect([await read(own), await read(sameOrganization), await read(other)].map(banksIn)).toEqual([
    ['rheinbank'],
    ['rheinbank'],
    [],
  ])
  await platforms.set('rheinbank', { all: true })
})

test('a process that has cached everything discloses nothing after the refusal in another process', async () => {
  const second = await startSecondGateway(gateway)
  try {
    const token = await gateway.customer('bo', ['northbank'])
    const customerId = await gateway.app.services.consents.findCustomerBySubject('chatterbox', subject(token))
    const caller = { kind: 'CUSTOMER', clientId: 'chatterbox', customerId } as never
    for (let round = 0; round < 2; round++)
      expect((await second.app.services.consents.findShared(caller)).suspended).toEqual([])
    await refuseChatterbox()
    await eventually('the other process', async () => {
      const { grants, suspended, accounts } = await second.app.services.consents.findShared(caller)
      return grants.length === 0 && accounts.length === 0 && suspended.length > 0
    })
  } finally {
    await second.close()
  }
})

test('a balance that a bank returns after it has refused the platform is not disclosed', async () => {
  const token = await gateway.customer('bo', ['northbank'])
  await gateway.database.query('delete from snapshot')
  const held = gateway.holdNext('/balances')
  const answer = gateway.ask(
    token,
    '{ customer { accounts { nodes { balances(detail: BAND, maxAgeSeconds: 0) { __typename ... on BalanceUnavailable { reason { code category retryable resolvableBy } } } } } } }',
  )
  await held.reached
  await refuseChatterbox()
  held.letGo()
  const { accounts } = (await answer).data!['customer'] as { accounts: { nodes: { balances: unknown[] }[] } }
  expect(accounts.nodes[0]!.balances).toEqual([
    {
      __typename: 'BalanceUnavailable',
      reason: { code: 'PLATFORM_NOT_ALLOWED', category: 'AUTHORIZATION', retryable: false, resolvableBy: 'BANK' },
    },
  ])
})

test('an alert reaches neither stream nor webhook of a refused platform, but reaches another platform', async () => {
  const browser = createBrowser()
  const token = await gateway.customer('bo', ['northbank'], { browser })
  const other = await gateway.customer('bo', ['northbank'], { browser, clientId: 'pigeon' })
  const RECEIVED = 'subscription { alertReceived { id } }'
  const streams = [await listen(gateway.issuer, token, RECEIVED), await listen(gateway.issuer, other, RECEIVED)]
  const received = (await gateway.received()).length
  await refuseChatterbox()
  expect(await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })).toEqual([202])
  await eventually("the other platform's alert", () => Promise.resolve(/^data: \{"data"/m.test(streams[1]!.text())))
  await settled()
  expect(streams[0]!.text()).not.toMatch(/^data: \{"data"/m)
  expect(streams[0]!.ended()).toBe(false)
  expect((await gateway.received()).length).toBe(received)
  expect(await gateway.database.query("select 1 from delivery where status = 'PENDING'")).toEqual([])
  for (const stream of streams) stream.close()
})

test('a webhook that waits for its next attempt is dropped if the bank refuses the platform before it', async () => {
  await gateway.customer('bo', ['northbank'])
  gateway.intercept = (request) =>
    request.url.endsWith('/webhooks') ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
  await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
  const waiting = await eventually('the first attempt', async () => {
    const [row] = await gateway.database.query<{ id: string }>(
      "select id from delivery where status = 'PENDING' and attempt_count = 1 and claimed_until is null",
    )
    return row?.id
  })
  await refuseChatterbox()
  gateway.intercept = undefined
  const received = (await gateway.received()).length
  await gateway.database.query('update delivery set next_attempt_at = now() where id = $1', [waiting])
  await eventually('the end of the delivery', async () => {
    const [row] = await gateway.database.query<{ status: string }>('select status from delivery where id = $1', [
      waiting,
    ])
    return row!.status === 'DROPPED'
  })
  expect((await gateway.received()).length).toBe(received)
})

test('each suspension and each resumption is published and recorded once', async () => {
  const token = await gateway.customer('fay', ['westbank'])
  await settled()
  const stream = await listen(gateway.issuer, token, 'subscription { consentChanged { id status } }')
  const eventsOf = (text: string): string[] => [...text.matchAll(/^id: [\w-]+\.(\w+)/gm)].map(([, status]) => status!)
  const received = (events: string[]) =>
    eventually(events.join(), () => Promise.resolve(eventsOf(stream.text()).join() === events.join()))
  const changes: string[] = []
  for (let round = 0; round < 2; round++) {
    await platforms.set('westbank', { allExcept: [chatterbox] })
    await received(changes.concat('SUSPENDED'))
    await platforms.set('westbank', { all: true })
    changes.push('SUSPENDED', 'ACTIVE')
    await received(changes)
  }
  await settled()
  expect(eventsOf(stream.text())).toEqual(['SUSPENDED', 'ACTIVE', 'SUSPENDED', 'ACTIVE'])
  const entries = await gateway.database.query<{ action: string }>(
    `select action from ledger_entry where action in ('CONSENT_SUSPENDED', 'CONSENT_RESUMED') and consent_id in
       (select id from consent where bank_id = 'westbank') order by occurred_at`,
  )
  expect(entries.map(({ action }) => action)).toEqual([
    'CONSENT_SUSPENDED',
    'CONSENT_RESUMED',
    'CONSENT_SUSPENDED',
    'CONSENT_RESUMED',
  ])
  stream.close()
})

test('a bank changes which platforms it serves while another transaction holds its consents', async () => {
  await gateway.customer('bo', ['northbank'])
  await settled()
  const held = await holdRows(gateway, "select 1 from consent where bank_id = 'northbank' for update")
  try {
    await refuseChatterbox()
    // What the worker does as soon as it hears of the change. It waits for neither the consents nor the lock timeout.
    await expect(gateway.app.services.consents.jobs.recordSuspensions('northbank')).rejects.toMatchObject({
      code: 'INTERNAL',
    })
    await platforms.set('northbank', { all: true })
    await refuseChatterbox()
    const waiting = await gateway.database.query(
      "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
    expect(waiting).toEqual([])
  } finally {
    await held.release()
  }
  // The message whose consents were locked is handled again.
  await settled()
  const left = await gateway.database.query(
    "select 1 from consent where bank_id = 'northbank' and status = 'ACTIVE' and client_id like 'chatterbox%' and suspended_at is null",
  )
  expect(left).toEqual([])
})

test('concurrent workers record one suspension once', async () => {
  await gateway.customer('bo', ['northbank'])
  await settled()
  const countEntries = async (): Promise<number> =>
    (await gateway.database.query("select 1 from ledger_entry where action = 'CONSENT_SUSPENDED'")).length
  const before = await countEntries()
  const { consents } = gateway.app.services
  const rows = await gateway.database.query(
    "select 1 from consent where bank_id = 'northbank' and client_id like 'chatterbox%' and status = 'ACTIVE'",
  )
  // These read the setting at the same moment, and find the same consents.
  const held = await holdRows(gateway, "select 1 from bank where id = 'northbank' for no key update")
  await held.change(
    "update bank set platform_access_mode = 'ALL_EXCEPT', platform_organization_ids = array[$1] where id = 'northbank'",
    [chatterbox],
  )
  const recorded = [1, 2, 3].map(() => consents.jobs.recordSuspensions('northbank'))
  await held.waiting(3)
  await held.release()
  // One that finds all of them locked by another is handled again, and finds nothing then.
  await Promise.allSettled(recorded)
  await consents.jobs.recordSuspensions('northbank')
  expect((await countEntries()) - before).toBe(rows.length)
})

test('a bank with more consents than one transaction takes has all of them recorded', async () => {
  await gateway.customer('bo', ['northbank'])
  await gateway.database.query(
    `insert into consent (id, client_id, customer_id, bank_id, connection_id, status, scopes, purposes, expires_at, activated_at, oauth_grant_id)
     select 'cons_many_' || number, client_id, customer_id, bank_id, connection_id, status, scopes, purposes, expires_at, activated_at, 'grnt_many_' || number
     from (select * from consent where bank_id = 'northbank' and client_id = 'chatterbox' and status = 'ACTIVE' limit 1) as one,
       generate_series(1, 250) as number`,
  )
  const left = async (condition: string): Promise<number> =>
    (await gateway.database.query(`select 1 from consent where id like 'cons_many_%' and (${condition})`)).length
  await refuseChatterbox()
  await settled()
  expect(await left('suspended_at is null')).toBe(0)
  await platforms.set('northbank', { all: true })
  await settled()
  expect(await left('suspended_at is not null or resumed_at is null')).toBe(0)
  await gateway.database.query("delete from consent where id like 'cons_many_%'")
})

test('a stream that resumes behind the event of a newer consent receives the suspension of an older one', async () => {
  const browser = createBrowser()
  const token = await gateway.customer('ada', ['northbank', 'rheinbank'], { browser })
  const CHANGED = 'subscription { consentChanged { id status bank { id } } }'
  const [newest] = await gateway.database.query<{ id: string }>(
    'select id from consent order by created_at desc limit 1',
  )
  await settled()
  await refuseChatterbox()
  await settled()
  const stream = await listen(gateway.issuer, token, CHANGED, { 'last-event-id': `${newest!.id}.ACTIVE` })
  await eventually('the suspension', () =>
    Promise.resolve(stream.text().includes('"SUSPENDED","bank":{"id":"northbank"')),
  )
  stream.close()
})

test('SUSPENDED consents are listed as such, and are neither ACTIVE nor about to expire', async () => {
  await gateway.customer('bo', ['northbank'])
  await refuseChatterbox()
  const client = await gateway.own('chatterbox', 'deliveries:read')
  const list = async (filter: string): Promise<string[]> => {
    const { data } = await gateway.ask(
      client,
      `{ client { consents(filter: ${filter}) { nodes { status bank { id } } } } }`,
    )
    const { nodes } = (data!['client'] as { consents: { nodes: { status: string; bank: { id: string } }[] } }).consents
    return [...new Set(nodes.map(({ status, bank }) => `${status} ${bank.id}`))]
  }
  expect(await list('{ statuses: [SUSPENDED] }')).toEqual(['SUSPENDED northbank'])
  expect(await list('{ statuses: [ACTIVE], bankIds: ["northbank"] }')).toEqual([])
  expect(await list('{ statuses: [ACTIVE, SUSPENDED], bankIds: ["northbank"] }')).toEqual(['SUSPENDED northbank'])
  expect(await list('{ expiringBefore: "2036-01-01T00:00:00Z", bankIds: ["northbank"] }')).toEqual([])
})

test('a customer can stop a suspended consent, and it does not come back when the bank serves the platform again', async () => {
  const token = await gateway.customer('bo', ['northbank'])
  await refuseChatterbox()
  const { data } = await gateway.ask(
    token,
    'mutation { withdrawConsents(input: { all: true }) { consents { status endedBy } userErrors { code } } }',
  )
  expect(data!['withdrawConsents']).toMatchObject({ userErrors: [] })
  const { consents } = data!['withdrawConsents'] as { consents: { status: string; endedBy: string }[] }
  expect(new Set(consents.map(({ status, endedBy }) => `${status} ${endedBy}`))).toEqual(
    new Set(['REVOKED CUSTOMER_AT_GATEWAY']),
  )
  await settled()
  await platforms.set('northbank', { all: true })
  await settled()
  const afterwards = await gateway.ask(token, '{ customer { id } }')
  expect(afterwards.errors?.[0]).toMatchObject({ extensions: { code: 'UNAUTHENTICATED' } })
})
