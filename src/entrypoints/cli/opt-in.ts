import { randomBytes } from 'node:crypto'
import { choicesOf, createBrowser, type Browser } from './browser.ts'
import { newDpopKey, oauthClient, OauthRefusal, type ClientFile, type Token } from './oauth-client.ts'

export interface OptInWish {
  readonly issuer: string
  readonly client: ClientFile
  readonly bearer: boolean
  readonly customer: string
  readonly bank: string
  readonly scopes: readonly string[]
  readonly idTokenHint?: string
  readonly browser?: Browser
}

/** Which switch of the consent page stands for which scopes. */
const SWITCHES: readonly [name: string, scopes: readonly string[]][] = [
  ['range', ['balances:threshold', 'balances:band']],
  ['exact', ['balances:exact']],
  ['alerts', ['alerts:read', 'alerts:respond']],
]

/** The whole opt-in as a customer would click through it: consent pages, the bank's pages, back, and the token. */
export async function optIn(wish: OptInWish): Promise<Token> {
  const { issuer, client, customer, bank, scopes, bearer, idTokenHint } = wish
  const oauth = oauthClient(issuer, client, bearer)
  const dpopJwk = await newDpopKey()
  const state = randomBytes(12).toString('base64url')
  const details = {
    type: 'urn:guichet:account-information',
    actions: scopes,
    purposes: ['ANSWER_CUSTOMER', 'FRAUD_AND_SECURITY_ALERTS'],
    chat: { label: 'Sandbox chat' },
  }
  const scope = ['openid', 'offline_access', ...scopes].join(' ')
  const { url, codeVerifier } = await oauth.push(
    { scope, details, state, ...(idTokenHint && { idTokenHint }) },
    dpopJwk,
  )

  const browser = wish.browser ?? createBrowser()
  const atPlatform = (address: URL) => address.href.startsWith(client.redirectUri!)
  const choosing = await browser.open(url, atPlatform)
  // The same persona in the same browser.
  const same = choicesOf(choosing, 'same').includes('yes') ? [['same', 'yes'] as const] : []
  const sharing = await browser.submit(choosing, [['bank', bank], ...same, ['decision', 'go']], atPlatform)
  const switches = SWITCHES.filter(([, opened]) => opened.some((one) => scopes.includes(one))).map(
    ([name]) => ['share', name] as const,
  )
  const leaving = await browser.submit(sharing, [...switches, ['days', '90'], ['decision', 'go']], atPlatform)
  const signIn = await browser.submit(leaving, [['decision', 'go']], atPlatform)
  if (atPlatform(new URL(signIn.url))) throw refusalIn(signIn.url)
  const accounts = await browser.submit(
    signIn,
    [
      ['customer', customer],
      ['password', 'sandbox'],
      ['decision', 'sign-in'],
    ],
    atPlatform,
  )
  const chosen = choicesOf(accounts, 'account').map((account) => ['account', account] as const)
  if (chosen.length === 0) throw new Error(`${customer} could not sign in at ${bank}`)
  const back = await browser.submit(accounts, [...chosen, ['decision', 'allow']], atPlatform)

  const answer = new URL(back.url).searchParams
  if (answer.get('state') !== state) throw new Error('the way back did not end at the platform')
  const code = answer.get('code')
  if (code === null) throw refusalIn(back.url)
  return oauth.redeem(code, codeVerifier, dpopJwk)
}

function refusalIn(address: string): OauthRefusal {
  const answer = new URL(address).searchParams
  return new OauthRefusal(answer.get('error') ?? 'server_error', answer.get('error_description') ?? '')
}
