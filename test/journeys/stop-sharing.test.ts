import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { createAuthorizationHeaders, createOauthClient, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const STOP = `mutation ($input: WithdrawConsentsInput!) {
  withdrawConsents(input: $input) { consents { bank { id } status } userErrors { code path } }
}`
const ALL = { input: { all: true } }

/** The status of the consents of these tokens, by bank. */
async function statesOf(...tokens: Token[]): Promise<Record<string, string>> {
  const rows = await gateway.database.query<{ bank_id: string; status: string; ended_by: string | null }>(
    'select bank_id, status, ended_by from consent where oauth_grant_id = any($1)',
    [tokens.map(({ grantId }) => grantId)],
  )
  return Object.fromEntries(rows.map(({ bank_id, status, ended_by }) => [bank_id, ended_by ?? status]))
}

/** A customer who shares both banks with one platform: the tokens of each bank. */
async function sharesTwo(browser = createBrowser(), name = 'ada'): Promise<{ north: Token; rhein: Token }> {
  const north = await gateway.customer(name, ['northbank'], { browser })
  const rhein = await gateway.customer(name, ['rheinbank'], { browser, idTokenHint: north.idToken })
  return { north, rhein }
}

const opensNothing = async (token: Token): Promise<void> => {
  const { errors } = await gateway.ask(token, '{ customer { id } }')
  expect(errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED')
  await expect(gateway.renew(token)).rejects.toThrow()
}

describe('STOP SHARING', () => {
  test.each(['rhein', 'north'] as const)(
    'STOP SHARING with a token of one of two banks (%s) ends both consents, both tokens and both bank-side consents',
    async (which) => {
      const tokens = await sharesTwo()
      const { data } = await gateway.ask(tokens[which], STOP, ALL)
      expect(data!['withdrawConsents']).toEqual({
        consents: expect.arrayContaining([
          { bank: { id: 'northbank' }, status: 'REVOKED' },
          { bank: { id: 'rheinbank' }, status: 'REVOKED' },
        ]) as unknown,
        userErrors: [],
      })
      const ended = { northbank: 'CUSTOMER_AT_GATEWAY', rheinbank: 'CUSTOMER_AT_GATEWAY' }
      expect(await statesOf(tokens.north, tokens.rhein)).toEqual(ended)
      await opensNothing(tokens.north)
      await opensNothing(tokens.rhein)
      await eventually('the end at both banks', async () => {
        const open = await gateway.database.query(
          `select 1 from connection join consent on connection.id = connection_id
           where oauth_grant_id = any($1) and connection.status = 'OPEN'`,
          [[tokens.north.grantId, tokens.rhein.grantId]],
        )
        return open.length === 0
      })
    },
  )

  test('if STOP SHARING cannot end one consent, every consent and the token stay valid', async () => {
    const tokens = await sharesTwo()
    await gateway.database.query(`create function refuse_end() returns trigger language plpgsql as $$
      begin if new.bank_id = 'rheinbank' and new.status = 'REVOKED' then raise exception 'refused'; end if; return new; end $$`)
    await gateway.database.query(
      'create trigger refuse_end before update on consent for each row execute function refuse_end()',
    )
    try {
      const { errors } = await gateway.ask(tokens.north, STOP, ALL)
      expect(errors).toHaveLength(1)
      expect(await statesOf(tokens.north, tokens.rhein)).toEqual({ northbank: 'ACTIVE', rheinbank: 'ACTIVE' })
    } finally {
      await gateway.database.query('drop trigger refuse_end on consent')
      await gateway.database.query('drop function refuse_end')
    }
    await gateway.ask(tokens.north, STOP, ALL)
    await opensNothing(tokens.rhein)
  })

  test('STOP SHARING does not affect another platform or another customer', async () => {
    const browser = createBrowser()
    const tokens = await sharesTwo(browser)
    const elsewhere = await gateway.customer('ada', ['northbank'], { browser, clientId: 'chatterbox-bearer' })
    const bo = await gateway.customer('bo', ['northbank'])
    await gateway.ask(tokens.rhein, STOP, ALL)
    for (const token of [elsewhere, bo])
      expect((await gateway.ask(token, '{ customer { id } }')).errors).toBeUndefined()
  })

  test('STOP SHARING with two tokens at the same time ends each consent once', async () => {
    const tokens = await sharesTwo()
    await Promise.all(
      Array.from({ length: 20 }, (_, index) => gateway.ask(index % 2 === 0 ? tokens.north : tokens.rhein, STOP, ALL)),
    )
    const receipts = await gateway.database.query(
      `select 1 from receipt join consent on consent.id = consent_id
       where kind = 'REVOKED' and oauth_grant_id = any($1)`,
      [[tokens.north.grantId, tokens.rhein.grantId]],
    )
    expect(receipts).toHaveLength(6)
  })

  test.each([
    ['nothing', {}],
    ['both', { all: true, consentIds: [] }],
    ['null', { all: null }],
  ])('STOP SHARING with %s chosen is refused before anything ends', async (_what, input) => {
    const token = await gateway.customer('bo', ['northbank'])
    expect((await gateway.ask(token, STOP, { input })).errors).toBeDefined()
    expect(await statesOf(token)).toEqual({ northbank: 'ACTIVE' })
  })

  test('STOP SHARING with all: false or an empty list names the invalid field, and ends nothing', async () => {
    const token = await gateway.customer('bo', ['northbank'])
    for (const input of [{ all: false }, { consentIds: [] }]) {
      const { data } = await gateway.ask(token, STOP, { input })
      expect(data!['withdrawConsents']).toEqual({
        consents: [],
        userErrors: [{ code: 'INVALID_INPUT', path: Object.keys(input) }],
      })
    }
    expect(await statesOf(token)).toEqual({ northbank: 'ACTIVE' })
  })

  test('STOP SHARING with IDs ends those consents, and none of them if one is not the customer’s', async () => {
    const tokens = await sharesTwo()
    const bo = await gateway.customer('bo', ['northbank'])
    const idOf = async (token: Token) =>
      (
        (await gateway.ask(token, '{ customer { currentConsents { id } } }')).data!['customer'] as {
          currentConsents: [{ id: string }]
        }
      ).currentConsents[0].id
    const [north, foreign] = [await idOf(tokens.north), await idOf(bo)]
    const refused = await gateway.ask(tokens.rhein, STOP, { input: { consentIds: [north, foreign, 'cons_none'] } })
    expect(refused.data!['withdrawConsents']).toEqual({
      consents: [],
      userErrors: [
        { code: 'NOT_FOUND', path: ['consentIds', '1'] },
        { code: 'NOT_FOUND', path: ['consentIds', '2'] },
      ],
    })
    expect(await statesOf(tokens.north)).toEqual({ northbank: 'ACTIVE' })
    await gateway.ask(tokens.rhein, STOP, { input: { consentIds: [north, north] } })
    expect(await statesOf(tokens.north, tokens.rhein)).toEqual({
      northbank: 'CUSTOMER_AT_GATEWAY',
      rheinbank: 'ACTIVE',
    })
    expect((await gateway.ask(tokens.rhein, '{ customer { id } }')).errors).toBeUndefined()
  })
})

describe('a platform that revokes one of two grants', () => {
  test('a platform that revokes one of two grants ends that one, and the customer’s page shows the other as active', async () => {
    const browser = createBrowser()
    const tokens = await sharesTwo(browser, 'finn')
    const url = `${gateway.issuer}/oauth/grants/${tokens.north.grantId}`
    const own = await gateway.own('chatterbox', 'grant_management_revoke')
    expect(
      (await fetch(url, { method: 'DELETE', headers: await createAuthorizationHeaders(own, 'DELETE', url) })).status,
    ).toBe(204)
    expect(await statesOf(tokens.north, tokens.rhein)).toEqual({ northbank: 'CLIENT', rheinbank: 'ACTIVE' })
    const page = (await browser.open(`${gateway.issuer}/sharing`)).text
    expect(page.match(/Stop sharing<\/a>/g)).toHaveLength(1)
    expect(page).not.toMatch(/You share nothing|may see nothing/)
    expect(page).toContain('Chatterbox lost access to one bank')
    await createOauthClient(gateway.issuer, gateway.client('chatterbox')).revoke(tokens.rhein.refreshToken!)
    expect(await statesOf(tokens.rhein)).toEqual({ rheinbank: 'CLIENT' })
  })
})

describe('the command line', () => {
  const run = promisify(execFile)
  const guichet = async (...words: string[]): Promise<{ code: number; text: string }> =>
    run(process.execPath, ['src/entrypoints/cli/main.ts', ...words], {
      env: { ...process.env, ISSUER: gateway.issuer, GUICHET_DATA_DIR: gateway.dataDir },
    }).then(
      ({ stdout }) => ({ code: 0, text: stdout }),
      (thrown: unknown) => {
        const error = thrown as { code: number; stdout: string; stderr: string }
        return { code: error.code, text: error.stdout + error.stderr }
      },
    )

  test('the command line stops and lists all banks of a persona, and states nothing that it does not know', async () => {
    await guichet('sandbox', 'token', '--customer', 'dan', '--json')
    const listed = JSON.parse((await guichet('consents', 'list', '--customer', 'dan', '--json')).text) as {
      id: string
      bank: { id: string }
    }[]
    const one = listed.find(({ bank }) => bank.id === 'northbank')!
    const single = await guichet('consents', 'withdraw', one.id, '--customer', 'dan', '--json')
    expect(JSON.parse(single.text)).toMatchObject([{ id: one.id, status: 'REVOKED', bank: { id: 'northbank' } }])
    const all = await guichet('consents', 'withdraw', '--customer', 'dan', '--json')
    expect(JSON.parse(all.text)).toMatchObject([{ status: 'REVOKED', bank: { id: 'rheinbank' } }])
    const refused = await guichet('consents', 'list', '--customer', 'dan')
    expect(refused.code).toBe(1)
    expect(refused.text).toMatch(/the token of dan is no longer valid/)
    expect(refused.text).not.toMatch(/share any more/)
  })
})
