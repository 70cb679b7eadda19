import { randomBytes } from 'node:crypto'
import { parseChoices, createBrowser, type Browser } from './browser.ts'
import { OauthError } from './errors.ts'
import { generateDpopKey, createOauthClient, type ClientFile, type Token } from './oauth-client.ts'

/** Which customer opts in at which bank, for which client and scopes. */
export interface OptInOptions {
  readonly issuer: string
  readonly client: ClientFile
  readonly bearer: boolean
  readonly customer: string
  readonly bank: string
  readonly scopes: readonly string[]
  readonly idTokenHint?: string
  readonly browser?: Browser
}

/** The scopes behind each switch of the consent page. */
const SWITCHES: readonly [name: string, scopes: readonly string[]][] = [
  ['range', ['balances:threshold', 'balances:band']],
  ['exact', ['balances:exact']],
  ['alerts', ['alerts:read']],
]

/** Runs a whole opt-in as a customer would: consent pages, the bank's pages, the redirect back, and the token request. */
export async function optIn(options: OptInOptions): Promise<Token> {
  const { issuer, client, customer, bank, scopes, bearer, idTokenHint } = options
  const oauth = createOauthClient(issuer, client, bearer)
  const dpopJwk = await generateDpopKey()
  const state = randomBytes(12).toString('base64url')
  const details = {
    type: 'urn:guichet:account-information',
    actions: scopes,
    purposes: ['ANSWER_CUSTOMER', 'FRAUD_AND_SECURITY_ALERTS'],
    chat: { label: 'Sandbox chat' },
  }
  const scope = ['openid', 'offline_access', ...scopes].join(' ')
  const { url, codeVerifier } = await oauth.pushAuthorizationRequest(
    { scope, details, state, ...(idTokenHint && { idTokenHint }) },
    dpopJwk,
  )

  const browser = options.browser ?? createBrowser()
  const isPlatformUrl = (url: URL) => url.href.startsWith(client.redirectUri!)
  const bankPage = await browser.open(url, isPlatformUrl)
  // A browser is used for one persona only.
  const same = parseChoices(bankPage, 'same').includes('yes') ? [['same', 'yes'] as const] : []
  const sharingPage = await browser.submit(bankPage, [['bank', bank], ...same, ['decision', 'go']], isPlatformUrl)
  const switches = SWITCHES.filter(([, switchScopes]) =>
    switchScopes.some((switchScope) => scopes.includes(switchScope)),
  ).map(([name]) => ['share', name] as const)
  const confirmationPage = await browser.submit(
    sharingPage,
    [...switches, ['days', '90'], ['decision', 'go']],
    isPlatformUrl,
  )
  const signInPage = await browser.submit(confirmationPage, [['decision', 'go']], isPlatformUrl)
  if (isPlatformUrl(new URL(signInPage.url))) throw parseOauthError(signInPage.url)
  const accountsPage = await browser.submit(
    signInPage,
    [
      ['customer', customer],
      ['password', 'sandbox'],
      ['decision', 'sign-in'],
    ],
    isPlatformUrl,
  )
  const accountFields = parseChoices(accountsPage, 'account').map((account) => ['account', account] as const)
  if (accountFields.length === 0) throw new Error(`${customer} could not sign in at ${bank}`)
  const platformPage = await browser.submit(accountsPage, [...accountFields, ['decision', 'allow']], isPlatformUrl)

  const authorizationResponse = new URL(platformPage.url).searchParams
  if (authorizationResponse.get('state') !== state) throw new Error('the opt-in did not end at the platform')
  const code = authorizationResponse.get('code')
  if (code === null) throw parseOauthError(platformPage.url)
  return oauth.redeemCode(code, codeVerifier, dpopJwk)
}

function parseOauthError(redirectUrl: string): OauthError {
  const parameters = new URL(redirectUrl).searchParams
  return new OauthError(parameters.get('error') ?? 'server_error', parameters.get('error_description') ?? '')
}
