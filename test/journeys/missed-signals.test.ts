import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())
afterEach(() => {
  gateway.intercept = undefined
})

const ACCOUNTS = '{ customer { accounts { nodes { id balances { __typename } } } alerts { nodes { id } } } }'

test('a malformed signal ends no process, and nothing that was cached before it is used afterwards', async () => {
  const token = await gateway.customer('bo', ['northbank'])
  expect((await gateway.ask(token, ACCOUNTS)).errors).toBeUndefined()
  for (const payload of ['no JSON', 'null', '{"kind":"ALERTS_CHANGED"}', ''])
    await gateway.database.query(`select pg_notify('guichet_signal', $1)`, [payload])
  // A change without a signal.
  await gateway.database.query(`update consent set status = 'REVOKED'`)
  await eventually('the refusal', async () => {
    const { errors } = await gateway.ask(token, ACCOUNTS)
    return errors?.[0]?.extensions?.code === 'UNAUTHENTICATED'
  })
})

test('a consent that a bank reports as changed is checked until the bank responds, and then ends', async () => {
  await gateway.customer('ada', ['rheinbank'])
  let failures = 0
  gateway.intercept = ({ method, url }) => {
    if (method !== 'GET' || !/\/consents\/[^/]+\/status$/.test(url) || failures >= 2) return undefined
    failures++
    return Promise.resolve({ status: 503, headers: {}, text: '' })
  }
  const response = await fetch(`${gateway.sandbox.banks.rheinbank}/sandbox/revocations`, {
    method: 'POST',
    body: JSON.stringify({ customer: 'ada' }),
  })
  const { pushed } = (await response.json()) as { pushed: { status: number }[] }
  expect(pushed.map(({ status }) => status)).toEqual([204])
  await eventually('the end of the consent', async () => {
    const [row] = await gateway.database.query<{ status: string; ended_by: string }>(
      `select status, ended_by from consent where bank_id = 'rheinbank' order by created_at desc limit 1`,
    )
    return row!.status === 'REVOKED' && row!.ended_by === 'CUSTOMER_AT_BANK'
  })
  expect(failures).toBe(2)
})

test('an account number that a bank begins to provide does not renew the limits of the account', async () => {
  const token = await gateway.customer('dan', ['northbank'])
  await gateway.ask(
    token,
    '{ customer { accounts { nodes { balances { ... on ExactBalance { value { amount } } } } } } }',
  )
  const [before] = await gateway.database.query<{ disclosure_key: string; exact_at: Date[] }>(
    'select disclosure_key, exact_at from disclosure order by updated_at desc limit 1',
  )
  expect(before!.exact_at).toHaveLength(1)
  // As before the bank provided numbers: the account is identified by the bank's ID alone.
  await gateway.database.query(
    `update disclosure set disclosure_key = 'northbank/' || account.ref_digest from account
     where disclosure_key = 'northbank/' || account.number_digest`,
  )
  await gateway.database.query('update account set number_digest = null')
  await gateway.customer('dan', ['northbank'])
  const [after] = await gateway.database.query('select exact_at from disclosure where disclosure_key = $1', [
    before!.disclosure_key,
  ])
  expect(after).toEqual({ exact_at: before!.exact_at })
})
