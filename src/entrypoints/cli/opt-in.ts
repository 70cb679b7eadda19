import { randomBytes } from 'node:crypto'
import { parseChoices, createBrowser, type Browser, type Page } from './browser.ts'
import { CommandError, OauthError } from './errors.ts'
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

/** The scopes that each switch of the consent page stands for. */
const SWITCHES: readonly [name: string, scopes: readonly string[]][] = [
  ['range', ['balances:threshold', 'balances:band']],
  ['exact', ['balances:exact']],
  ['alerts', ['alerts:read', 'alerts:respond']],
]

/**
 * Runs a whole opt-in as a customer would: the consent pages, the bank's pages, the redirect back, and the token request. Throws
 * `OauthError` if it ends with an error, `CommandError` if the customer cannot sign in.
 */
export async function optIn(options: OptInOptions): Promise<Token> {
  const { issuer, client, bearer } = options
  const oauth = createOauthClient(issuer, client, bearer)
  const dpopJwk = await generateDpopKey()
  const state = randomBytes(12).toString('base64url')
  const { url, codeVerifier } = await oauth.pushAuthorizationRequest({ ...createRequest(options), state }, dpopJwk)
  const visit: Visit = {
    browser: options.browser ?? createBrowser(),
    isPlatformUrl: (pageUrl) => pageUrl.href.startsWith(client.redirectUri!),
  }
  const signInPage = await completeConsentPages(visit, url, options)
  const platformPage = await completeBankPages(visit, signInPage, options)
  return oauth.redeemCode(readCode(platformPage.url, state), codeVerifier, dpopJwk)
}

/** A browser on its way to the platform's redirect URI. */
interface Visit {
  readonly browser: Browser
  readonly isPlatformUrl: (url: URL) => boolean
}

function createRequest({ scopes, idTokenHint }: OptInOptions) {
  const details = {
    type: 'urn:guichet:account-information',
    actions: scopes,
    purposes: ['ANSWER_CUSTOMER', 'FRAUD_AND_SECURITY_ALERTS'],
    chat: { label: 'Sandbox chat' },
  }
  return { scope: ['openid', 'offline_access', ...scopes].join(' '), details, ...(idTokenHint && { idTokenHint }) }
}

/** Chooses the bank, what is shared and for how long. Returns the bank's sign-in page. */
async function completeConsentPages(
  { browser, isPlatformUrl }: Visit,
  url: string,
  { bank, scopes }: OptInOptions,
): Promise<Page> {
  const submit = (page: Page, fields: readonly Field[]): Promise<Page> => browser.submit(page, fields, isPlatformUrl)
  const bankPage = await browser.open(url, isPlatformUrl)
  // One browser is used for one persona, who is therefore the same person as before.
  const same = parseChoices(bankPage, 'same').includes('yes') ? [['same', 'yes'] as const] : []
  const sharingPage = await submit(bankPage, [['bank', bank], ...same, ['decision', 'go']])
  const switches = SWITCHES.filter(([, switchScopes]) => switchScopes.some((scope) => scopes.includes(scope)))
  const shared = switches.map(([name]) => ['share', name] as const)
  const confirmationPage = await submit(sharingPage, [...shared, ['days', '90'], ['decision', 'go']])
  const signInPage = await submit(confirmationPage, [['decision', 'go']])
  if (isPlatformUrl(new URL(signInPage.url))) throw parseOauthError(signInPage.url)
  return signInPage
}

/** Signs in and shares all accounts. Returns the response to the platform. */
async function completeBankPages(
  { browser, isPlatformUrl }: Visit,
  signInPage: Page,
  { customer, bank }: OptInOptions,
): Promise<Page> {
  const credentials: Field[] = [
    ['customer', customer],
    ['password', 'sandbox'],
  ]
  const accountsPage = await browser.submit(signInPage, [...credentials, ['decision', 'sign-in']], isPlatformUrl)
  const accounts = parseChoices(accountsPage, 'account').map((account) => ['account', account] as const)
  if (accounts.length === 0) throw new CommandError(`${customer} cannot sign in at ${bank}`)
  return browser.submit(accountsPage, [...accounts, ['decision', 'allow']], isPlatformUrl)
}

type Field = readonly [name: string, value: string]

/** The authorization code of a response to the platform (RFC 6749, 4.1.2). */
function readCode(redirectUrl: string, state: string): string {
  const parameters = new URL(redirectUrl).searchParams
  if (parameters.get('state') !== state) throw new CommandError('the opt-in did not end at the platform')
  const code = parameters.get('code')
  if (code === null) throw parseOauthError(redirectUrl)
  return code
}

function parseOauthError(redirectUrl: string): OauthError {
  const parameters = new URL(redirectUrl).searchParams
  return new OauthError(parameters.get('error') ?? 'server_error', parameters.get('error_description') ?? '')
}
