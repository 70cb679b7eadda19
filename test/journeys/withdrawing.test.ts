import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { createAuthorizationHeaders } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'

const WITHDRAW =
  'mutation ($input: WithdrawConsentsInput!) { withdrawConsents(input: $input) { consents { id status } userErrors { code path } } }'
const CONSENTS =
  '{ customer { consents { nodes { id status bank { id } } } accounts { nodes { bank { id } balances { ... on ExactBalance { value { amount } } } } } } }'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())
beforeEach(() => {
  gateway.intercept = undefined
})

const bankConsents = async (bank: 'northbank' | 'rheinbank', customer: string) =>
  (
    (await (await fetch(`${gateway.sandbox.banks[bank]}/sandbox/consents?customer=${customer}`)).json()) as {
      consents: { id: string; status: string }[]
    }
  ).consents

/** Pushes an alert of Cleo to a webhook that responds 503. Returns a function that counts the attempts, after the
 * first. No other is due within an hour. */
async function alertToClosedDoor(): Promise<() => number> {
  let attempts = 0
  gateway.intercept = (request) => {
    if (!request.url.endsWith('/webhooks')) return undefined
    attempts++
    return Promise.resolve({ status: 503, headers: { 'retry-after': '3600' }, text: '' })
  }
  await gateway.alert('rheinbank', { account: '8f1c2a44-0004-4000-8000-000000000004', type: 'CARD_SECURITY' })
  await eventually('the first attempt', () => Promise.resolve(attempts > 0))
  return () => attempts
}

describe('a customer stops sharing', () => {
  test('a valid token authorizes nothing from the response on, and the bank-side consent is deleted', async () => {
    const token = await gateway.customer('bo', ['northbank'])
    expect((await gateway.ask(token, CONSENTS)).errors).toBeUndefined()
    const ended = await gateway.ask(token, WITHDRAW, { input: { all: true } })
    expect(ended.data!['withdrawConsents']).toMatchObject({ consents: [{ status: 'REVOKED' }], userErrors: [] })
    const refused = await gateway.ask(token, CONSENTS)
    expect(refused.data).toBeUndefined()
    expect(refused.errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED')
    await expect(gateway.renew(token)).rejects.toThrow()
    await eventually(
      'the bank to be told',
      async () => (await bankConsents('northbank', 'bo')).at(-1)?.status === 'DELETED',
    )
  })

  test('the page ends the consent after one confirmation, and the receipt names each party', async () => {
    const browser = createBrowser()
    const token = await gateway.customer('ada', ['northbank'], { browser })
    await gateway.ask(token, CONSENTS)
    const page = await browser.open(`${gateway.issuer}/sharing`)
    expect(page.text).toContain('Chatterbox · Northbank')
    // The page shows who read what, and in which detail, including the last read.
    expect(page.text).toMatch(/\d\d:\d\d UTC: Chatterbox asked for an exact balance/)
    expect(page.text).toMatch(/Chatterbox was allowed to see what you chose/)
    const stop = await browser.open(
      new URL(/href="(\/sharing\/[^"]+\/stop)"/.exec(page.text)![1]!, gateway.issuer).href,
    )
    const done = await browser.submit(stop, [])
    expect(done.text).toContain('Sharing has stopped')
    expect(done.text).toMatch(/<dt>You<\/dt>\s*<dd>done<\/dd>/)
    expect((await gateway.ask(token, CONSENTS)).errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED')
    expect(done.text).toMatch(/You stopped sharing Northbank with Chatterbox on/)
  })

  test('stopping one bank removes its accounts and leaves those of the other bank', async () => {
    const token = await gateway.customer('ada', ['northbank', 'rheinbank'])
    const customer = (await gateway.ask(token, CONSENTS)).data!['customer'] as {
      consents: { nodes: { id: string; bank: { id: string } }[] }
    }
    const north = customer.consents.nodes.find(({ bank }) => bank.id === 'northbank')!
    await gateway.ask(token, WITHDRAW, { input: { consentIds: [north.id] } })
    const after = (await gateway.ask(token, CONSENTS)).data!['customer'] as {
      accounts: { nodes: { bank: { id: string } }[] }
    }
    expect([...new Set(after.accounts.nodes.map(({ bank }) => bank.id))]).toEqual(['rheinbank'])
  })

  test('the platform can end a consent by grant management', async () => {
    const token = await gateway.customer('cleo', ['rheinbank'])
    const url = `${gateway.issuer}/oauth/grants/${token.grantId}`
    const own = await gateway.own('chatterbox', 'grant_management_revoke')
    const ended = await fetch(url, { method: 'DELETE', headers: await createAuthorizationHeaders(own, 'DELETE', url) })
    expect(ended.status).toBe(204)
    expect((await gateway.ask(token, CONSENTS)).errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED')
  })

  test("another customer's consent cannot be ended, and the response is the same as for an unknown consent", async () => {
    const ada = await gateway.customer('ada', ['northbank'])
    const bo = await gateway.customer('bo', ['northbank'])
    const [theirs] = ((await gateway.ask(ada, CONSENTS)).data!['customer'] as { consents: { nodes: { id: string }[] } })
      .consents.nodes
    const foreign = await gateway.ask(bo, WITHDRAW, { input: { consentIds: [theirs!.id] } })
    const unknown = await gateway.ask(bo, WITHDRAW, { input: { consentIds: ['cons_doesnotexist0000000'] } })
    expect(foreign.data).toEqual(unknown.data)
    expect((await gateway.ask(ada, CONSENTS)).errors).toBeUndefined()
    expect((await createBrowser().open(`${gateway.issuer}/sharing/${theirs!.id}/stop`)).status).toBe(401)
    const known = createBrowser()
    await gateway.customer('cleo', ['rheinbank'], { browser: known })
    const page = await known.open(`${gateway.issuer}/sharing/${theirs!.id}/stop`)
    expect([page.status, page.text.includes('Northbank')]).toEqual([404, false])
  })

  test('queued deliveries are dropped, and an open subscription ends within two seconds', async () => {
    const token = await gateway.customer('cleo', ['rheinbank'])
    await gateway.database.query("update consent set status = 'REVOKED' where oauth_grant_id <> $1", [token.grantId])
    const heard = await listen(gateway.issuer, token, 'subscription { alertReceived { type } }')
    const attempts = await alertToClosedDoor()
    const made = attempts()
    await gateway.ask(token, WITHDRAW, { input: { all: true } })
    await eventually('the listener to be closed', () => Promise.resolve(heard.ended()), 2_000)
    expect(heard.text()).toContain('event: complete')
    // Immediately, and not only when the next attempt is due.
    await eventually(
      'the deliveries to be dropped',
      async () => {
        const rows = await gateway.database.query<{ status: string }>(
          "select d.status from delivery d join consent c on c.id = d.consent_id where c.bank_id = 'rheinbank' and c.status = 'REVOKED'",
        )
        return rows.some(({ status }) => status === 'DROPPED') && rows.every(({ status }) => status !== 'PENDING')
      },
      2_000,
    )
    expect(attempts()).toBe(made)
  })

  test('each delivery attempt checks the consent, even if the signal of its end was missed', async () => {
    const token = await gateway.customer('cleo', ['rheinbank'])
    await gateway.database.query(
      "update consent set status = 'REVOKED' where client_id = 'chatterbox' and oauth_grant_id <> $1",
      [token.grantId],
    )
    const attempts = await alertToClosedDoor()
    await gateway.database.query("update consent set status = 'REVOKED' where oauth_grant_id = $1", [token.grantId])
    await eventually('the delivery to be dropped', async () => {
      await gateway.database.query("update delivery set next_attempt_at = now() where status = 'PENDING'")
      const rows = await gateway.database.query<{ status: string }>(
        'select d.status from delivery d join consent c on c.id = d.consent_id where c.oauth_grant_id = $1',
        [token.grantId],
      )
      return rows.length === 1 && rows[0]!.status === 'DROPPED'
    })
    expect(attempts()).toBe(1)
  })

  test('if two consents of one connection end at the same time, the bank-side consent is revoked', async () => {
    const browser = createBrowser()
    const first = await gateway.customer('ada', ['rheinbank'], { browser })
    const second = await gateway.customer('ada', ['rheinbank'], { browser, clientId: 'chatterbox-bearer' })
    const rows = await gateway.database.query<{ id: string; connection_id: string }>(
      'select id, connection_id from consent where oauth_grant_id = any($1)',
      [[first.grantId, second.grantId]],
    )
    expect(new Set(rows.map((row) => row.connection_id)).size).toBe(1)
    await Promise.all(rows.map(({ id }) => gateway.app.services.consents.revoke(id, 'CUSTOMER_AT_GATEWAY')))
    const promises = await gateway.database.query(
      "select 1 from outbox_message where topic = 'connection.end' and subject_id = $1",
      [rows[0]!.connection_id],
    )
    expect(promises).toHaveLength(1)
    await eventually(
      'the bank to be told',
      async () => (await bankConsents('rheinbank', 'ada')).at(-1)?.status === 'DELETED',
    )
  })

  test("the bank's receipt says whether the bank-side consent ended with this consent, and does not change later", async () => {
    const { clients, signals } = gateway.app.services
    const { id: organizationId } = await clients.organizations.register('sandbox', { kind: 'PLATFORM', name: 'Parley' })
    await gateway.database.query("update client set organization_id = $1 where id = 'chatterbox-bearer'", [
      organizationId,
    ])
    await signals.publishNow({ kind: 'CLIENT', id: 'chatterbox-bearer' })
    const browser = createBrowser()
    await gateway.customer('ada', ['rheinbank'], { browser })
    await gateway.customer('ada', ['rheinbank'], { browser, clientId: 'chatterbox-bearer' })
    const stops = [
      ...(await browser.open(`${gateway.issuer}/sharing`)).text.matchAll(/href="(\/sharing\/[^"]+\/stop)"/g),
    ]
    expect(stops).toHaveLength(2)
    const stop = async (path: string) => browser.submit(await browser.open(new URL(path, gateway.issuer).href), [])
    const ofBank = (text: string) => /<dt>Bank<\/dt>\s*<dd>([^<]*)<\/dd>/.exec(text)?.[1]
    const first = await stop(stops[0]![1]!)
    expect(ofBank(first.text)).toBe('not notified, because another agreement of yours still needed the connection')
    expect(first.text).not.toContain('You still share')
    const last = await stop(stops[1]![1]!)
    expect(['being notified', 'done']).toContain(ofBank(last.text))
    await eventually('the bank to be told', async () => ofBank((await browser.open(last.url)).text) === 'done')
    const banks = await gateway.database.query<{ result: string }>(
      "select result from receipt where kind = 'REVOKED' and party = 'BANK' and consent_id = $1",
      [stops[0]![1]!.split('/')[2]],
    )
    expect(banks).toEqual([{ result: 'NOT_NEEDED' }])
    await gateway.database.query(
      "update client set organization_id = (select organization_id from client where id = 'chatterbox') where id = 'chatterbox-bearer'",
    )
    await signals.publishNow({ kind: 'CLIENT', id: 'chatterbox-bearer' })
  })

  test('stored balances and bank tokens are deleted', async () => {
    const token = await gateway.customer('dan', ['northbank'])
    await gateway.ask(token, CONSENTS)
    const kept = () =>
      gateway.database.query<{ n: number }>(
        'select count(*)::int n from snapshot s join account a on concat(a.bank_id, chr(47), a.ref_digest) = s.bank_account_key join consent_account x on x.account_id = a.id join consent c on c.id = x.consent_id where c.oauth_grant_id = $1',
        [token.grantId],
      )
    expect((await kept())[0]!.n).toBe(1)
    await gateway.ask(token, WITHDRAW, { input: { all: true } })
    expect((await kept())[0]!.n).toBe(0)
    await eventually('the connection to end', async () => {
      const [row] = await gateway.database.query<{ sealed_access: string | null }>(
        'select n.sealed_access from connection n join consent c on c.connection_id = n.id where c.oauth_grant_id = $1',
        [token.grantId],
      )
      return row?.sealed_access === null
    })
  })

  test('a consent whose stored balances cannot be deleted stays active, and ends once they can', async () => {
    const token = await gateway.customer('finn', ['northbank'])
    await gateway.ask(token, CONSENTS)
    const [{ id }] = (await gateway.database.query<{ id: string }>('select id from consent where oauth_grant_id = $1', [
      token.grantId,
    ])) as [{ id: string }]
    const revoke = () => gateway.app.services.consents.revoke(id, 'CUSTOMER_AT_GATEWAY')
    const readEnd = async () =>
      (
        await gateway.database.query(
          `select status, (select count(*)::int from receipt where consent_id = consent.id and kind = 'REVOKED') as receipts
           from consent where id = $1`,
          [id],
        )
      )[0]
    await gateway.database.query(`
      create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
      create trigger refuse before delete on snapshot for each row execute function refuse()`)
    try {
      await expect(revoke()).rejects.toThrow()
      expect(await readEnd()).toEqual({ status: 'ACTIVE', receipts: 0 })
    } finally {
      await gateway.database.query('drop trigger refuse on snapshot; drop function refuse')
    }
    expect(await revoke()).toBe(true)
    expect(await readEnd()).toEqual({ status: 'REVOKED', receipts: 3 })
  })

  test('a response of the bank that arrives after the withdrawal is not stored', async () => {
    const token = await gateway.customer('bo', ['northbank'])
    const answers: (() => void)[] = []
    gateway.intercept = (request) =>
      request.url.endsWith('/balances')
        ? new Promise((resolve) => {
            answers.push(() => {
              const balance = {
                AccountId: 'nb-10003',
                Type: 'ITAV',
                CreditDebitIndicator: 'Credit',
                Amount: { Amount: '1.00', Currency: 'GBP' },
              }
              resolve({ status: 200, headers: {}, text: JSON.stringify({ Data: { Balance: [balance] } }) })
            })
          })
        : undefined
    const asking = gateway.ask(token, '{ customer { accounts { nodes { balances { __typename } } } } }')
    await eventually('the question to reach the bank', () => Promise.resolve(answers.length === 1))
    await gateway.ask(token, WITHDRAW, { input: { all: true } })
    for (const answer of answers) answer()
    gateway.intercept = undefined
    await asking
    const kept = await gateway.database.query(
      'select 1 from snapshot s join account a on concat(a.bank_id, chr(47), a.ref_digest) = s.bank_account_key join consent_account x on x.account_id = a.id join consent c on c.id = x.consent_id where c.oauth_grant_id = $1',
      [token.grantId],
    )
    expect(kept).toEqual([])
  })

  test('if the bank cannot be reached, its consent is revoked later, and the customer does not wait', async () => {
    const token = await gateway.customer('bo', ['northbank'])
    let refusals = 0
    gateway.intercept = (request) =>
      request.method === 'DELETE' && refusals++ === 0
        ? Promise.resolve({ status: 503, headers: {}, text: '' })
        : undefined
    await gateway.ask(token, WITHDRAW, { input: { all: true } })
    await eventually('a refusal', () => Promise.resolve(refusals > 0))
    await gateway.database.query(
      "update outbox_message set next_attempt_at = now() - interval '1 minute' where processed_at is null",
    )
    await eventually(
      'the bank to be told',
      async () => (await bankConsents('northbank', 'bo')).at(-1)?.status === 'DELETED',
    )
  })

  test('a withdrawal at the bank ends the consent here, and a repeated event changes nothing', async () => {
    const token = await gateway.customer('ada', ['rheinbank'])
    const revoke = () =>
      fetch(`${gateway.sandbox.banks.rheinbank}/sandbox/revocations`, {
        method: 'POST',
        body: JSON.stringify({ customer: 'ada' }),
      })
    const first = (await (await revoke()).json()) as { pushed: { status: number }[] }
    expect(first.pushed.map(({ status }) => status)).toEqual([204])
    const [told] = await gateway.database.query<{ url: string }>(
      "select '/bank-events/' || id as url from connector where bank_id = 'rheinbank'",
    )
    const notice = { consentId: (await bankConsents('rheinbank', 'ada')).at(-1)!.id, consentStatus: 'revokedByPsu' }
    const again = await fetch(`${gateway.issuer}${told!.url}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(notice),
    })
    expect(again.status).toBe(204)
    await eventually(
      'the refusal',
      async () => (await gateway.ask(token, CONSENTS)).errors?.[0]?.extensions?.code === 'UNAUTHENTICATED',
    )
    const [row] = await gateway.database.query<{ ended_by: string }>(
      'select ended_by from consent where oauth_grant_id = $1',
      [token.grantId],
    )
    expect(row!.ended_by).toBe('CUSTOMER_AT_BANK')
    const lines = await gateway.database.query(
      "select 1 from ledger_entry l join consent c on c.id = l.consent_id where l.action = 'CONSENT_REVOKED' and c.oauth_grant_id = $1",
      [token.grantId],
    )
    expect(lines).toHaveLength(1)
  })

  test('an expired consent authorizes nothing, even before housekeeping ends it', async () => {
    const token = await gateway.customer('bo', ['northbank'])
    await gateway.database.query(
      "update consent set expires_at = now() - interval '1 second' where oauth_grant_id = $1",
      [token.grantId],
    )
    expect((await gateway.ask(token, CONSENTS)).errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED')
  })

  test('fifty concurrent withdrawals end a consent once, with one ledger entry and one receipt for each party', async () => {
    const token = await gateway.customer('cleo', ['rheinbank'])
    const [{ id } = { id: '' }] = await gateway.database.query<{ id: string }>(
      'select id from consent where oauth_grant_id = $1',
      [token.grantId],
    )
    const ended = await Promise.all(
      Array.from({ length: 50 }, () => gateway.app.services.consents.revoke(id, 'CUSTOMER_AT_GATEWAY')),
    )
    expect(ended.filter(Boolean)).toHaveLength(1)
    const lines = await gateway.database.query(
      "select 1 from ledger_entry where action = 'CONSENT_REVOKED' and consent_id = $1",
      [id],
    )
    expect(lines).toHaveLength(1)
    expect(
      await gateway.database.query("select 1 from receipt where kind = 'REVOKED' and consent_id = $1", [id]),
    ).toHaveLength(3)
  })
})
