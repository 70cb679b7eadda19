import { createHash, generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { importJWK, SignJWT, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseChoices, createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { createHistory } from '../../src/sandbox/history.ts'
import { SANDBOX_BANKS } from '../../src/sandbox/personas.ts'
import { runSandbox } from '../../src/sandbox/run.ts'

/** A client of the banks that requests all data, purchases included: everything that Guichet does not request. */
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const key: JWK = { ...(pair.privateKey.export({ format: 'jwk' }) as JWK), kid: 'greedy' }
const REDIRECT = 'http://127.0.0.1:1/back'
const stateDir = mkdtempSync(join(tmpdir(), 'guichet-banks-'))
const options = { host: '127.0.0.1', port: 0, publicHost: undefined, stateDir, seed: 'guichet', canary: undefined }
let sandbox: Awaited<ReturnType<typeof runSandbox>>

beforeAll(async () => {
  sandbox = await runSandbox(options)
  for (const bank of Object.values(sandbox.addresses.banks))
    await fetch(`${bank}/sandbox/clients/greedy`, {
      method: 'PUT',
      body: JSON.stringify({
        keys: [{ ...pair.publicKey.export({ format: 'jwk' }), kid: 'greedy' }],
        redirectUri: REDIRECT,
        eventsUrl: 'http://127.0.0.1:1/events',
      }),
    })
})
afterAll(async () => {
  await sandbox.stop()
  rmSync(stateDir, { recursive: true, force: true })
})

const sign = async (claims: Record<string, unknown>, audience: string): Promise<string> =>
  new SignJWT({ jti: randomUUID(), ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: 'greedy' })
    .setIssuer('greedy')
    .setSubject('greedy')
    .setAudience(audience)
    .setIssuedAt()
    .setExpirationTime('1m')
    .sign(await importJWK(key, 'ES256'))

async function tokenOf(bank: string, fields: Record<string, string>): Promise<string> {
  const body = new URLSearchParams({
    ...fields,
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: await sign({}, bank),
  })
  return ((await (await fetch(`${bank}/token`, { method: 'POST', body })).json()) as { access_token: string })
    .access_token
}

/** Signs in as the customer on the bank's own pages, shares all accounts, and redeems the code. */
async function giveConsent(
  bank: string,
  customer: string,
  address: (challenge: string) => Promise<string>,
): Promise<string> {
  const verifier = randomBytes(32).toString('base64url')
  const browser = createBrowser()
  const atHome = (url: URL) => url.href.startsWith(REDIRECT)
  const signIn = await browser.open(await address(createHash('sha256').update(verifier).digest('base64url')), atHome)
  const accounts = await browser.submit(
    signIn,
    [
      ['customer', customer],
      ['password', 'sandbox'],
      ['decision', 'sign-in'],
    ],
    atHome,
  )
  const chosen = parseChoices(accounts, 'account').map((account): [string, string] => ['account', account])
  const back = new URL((await browser.submit(accounts, [...chosen, ['decision', 'allow']], atHome)).url)
  const signed = back.searchParams.get('response')
  const code = signed
    ? (JSON.parse(Buffer.from(signed.split('.')[1]!, 'base64url').toString()) as { code: string }).code
    : back.searchParams.get('code')!
  return tokenOf(bank, { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: REDIRECT })
}

describe('a sandbox bank', () => {
  test("a party with the customer's consent gets full transaction histories over UK Open Banking", async () => {
    const bank = sandbox.addresses.banks.northbank
    const api = `${bank}/open-banking/v4.0/aisp`
    const own = await tokenOf(bank, { grant_type: 'client_credentials', scope: 'accounts' })
    const created = (await (
      await fetch(`${api}/account-access-consents`, {
        method: 'POST',
        headers: { authorization: `Bearer ${own}` },
        body: JSON.stringify({
          Data: { Permissions: ['ReadAccountsDetail', 'ReadBalances', 'ReadTransactionsDetail'] },
          Risk: {},
        }),
      })
    ).json()) as { Data: { ConsentId: string; Status: string } }
    expect(created.Data.Status).toBe('AWAU')
    const token = await giveConsent(bank, 'ada', async (challenge) => {
      const claims = { id_token: { openbanking_intent_id: { value: created.Data.ConsentId, essential: true } } }
      const request = await sign(
        {
          redirect_uri: REDIRECT,
          response_type: 'code',
          code_challenge: challenge,
          code_challenge_method: 'S256',
          state: 's',
          nonce: 'n',
          claims,
        },
        bank,
      )
      return `${bank}/authorize?client_id=greedy&request=${request}`
    })
    const answer = (await (
      await fetch(`${api}/accounts/nb-10001/transactions`, { headers: { authorization: `Bearer ${token}` } })
    ).json()) as { Data: { Transaction: { MerchantDetails: { MerchantName: string }; Amount: { Amount: string } }[] } }
    expect(answer.Data.Transaction).toHaveLength(120)
    expect(new Set(answer.Data.Transaction.map(({ MerchantDetails }) => MerchantDetails.MerchantName)).size).toBe(120)
  })

  test("a party with the customer's consent gets full transaction histories over Berlin Group", async () => {
    const bank = sandbox.addresses.banks.rheinbank
    const api = `${bank}/psd2/v1`
    const own = await tokenOf(bank, { grant_type: 'client_credentials', scope: 'AIS' })
    const headers = { 'x-request-id': randomUUID() }
    const created = (await (
      await fetch(`${api}/consents`, {
        method: 'POST',
        headers: { ...headers, authorization: `Bearer ${own}`, 'psu-ip-address': '192.0.2.1' },
        body: JSON.stringify({
          access: { accounts: [], balances: [], transactions: [] },
          recurringIndicator: true,
          validUntil: '2099-01-01',
          frequencyPerDay: 4,
          combinedServiceIndicator: false,
        }),
      })
    ).json()) as { consentId: string; consentStatus: string }
    expect(created.consentStatus).toBe('received')
    const token = await giveConsent(bank, 'ada', (challenge) =>
      Promise.resolve(
        `${bank}/authorize?${new URLSearchParams({ client_id: 'greedy', redirect_uri: REDIRECT, response_type: 'code', code_challenge: challenge, code_challenge_method: 'S256', state: 's', scope: `AIS:${created.consentId}` }).toString()}`,
      ),
    )
    const on = { ...headers, authorization: `Bearer ${token}`, 'consent-id': created.consentId }
    const { accounts } = (await (await fetch(`${api}/accounts`, { headers: on })).json()) as {
      accounts: { resourceId: string }[]
    }
    const answer = (await (
      await fetch(`${api}/accounts/${accounts[0]!.resourceId}/transactions`, { headers: on })
    ).json()) as { transactions: { booked: object[]; pending: { creditorName: string }[] } }
    expect(answer.transactions.booked).toHaveLength(117)
    expect(answer.transactions.pending[0]!.creditorName).toMatch(/\w+/)
  })

  test('a bank requires a signed assertion and accepts each one once', async () => {
    const bank = sandbox.addresses.banks.northbank
    expect(
      (
        await fetch(`${bank}/token`, {
          method: 'POST',
          body: new URLSearchParams({ grant_type: 'client_credentials', client_id: 'greedy' }),
        })
      ).status,
    ).toBe(401)
    const assertion = await sign({}, bank)
    const use = () =>
      fetch(`${bank}/token`, {
        method: 'POST',
        body: new URLSearchParams({ grant_type: 'client_credentials', client_assertion: assertion }),
      })
    expect([(await use()).status, (await use()).status]).toEqual([200, 401])
    expect((await fetch(`${bank}/open-banking/v4.0/aisp/accounts`)).status).toBe(401)
  })

  test('histories are the same in every run with one seed, and differ with another', () => {
    const [account] = SANDBOX_BANKS[0]!.accounts
    expect(createHistory(account!, 'guichet', undefined)).toEqual(createHistory(account!, 'guichet', undefined))
    expect(createHistory(account!, 'other', undefined)).not.toEqual(createHistory(account!, 'guichet', undefined))
  })

  test('a bank keeps its consents over a restart', async () => {
    const before = (await (
      await fetch(`${sandbox.addresses.banks.northbank}/sandbox/consents?customer=ada`)
    ).json()) as { consents: object[] }
    expect(before.consents.length).toBeGreaterThan(0)
    await sandbox.stop()
    sandbox = await runSandbox(options)
    expect(await (await fetch(`${sandbox.addresses.banks.northbank}/sandbox/consents?customer=ada`)).json()).toEqual(
      before,
    )
  })
})
