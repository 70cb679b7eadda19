import { randomBytes } from 'node:crypto'
import type { Browser, Page } from '../../src/entrypoints/cli/browser.ts'
import { generateDpopKey, createOauthClient, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { ALL_SCOPES, type TestGateway } from './gateway.ts'

/** A good request's details. */
export const DETAILS = { type: 'urn:guichet:account-information', actions: ALL_SCOPES, purposes: ['ANSWER_CUSTOMER'] }

/** What is filled in on one page. */
export type Fields = [string, string][]
export const BANK: Fields = [
  ['bank', 'northbank'],
  ['decision', 'go'],
]
export const SHARING: Fields = [
  ['share', 'exact'],
  ['days', '30'],
  ['decision', 'go'],
]
export const GO: Fields = [['decision', 'go']]
export const SIGN_IN: Fields = [
  ['customer', 'ada'],
  ['password', 'sandbox'],
  ['decision', 'sign-in'],
]
export const AGREE: Fields = [
  ['account', 'nb-10001'],
  ['decision', 'allow'],
]
export const CANCEL: Fields = [['decision', 'cancel']]

/** What the platform is told in the address that the customer comes back to. */
export const answerOf = ({ url }: Page) => Object.fromEntries(new URL(url).searchParams)

/** The consent pages of a gateway, a page at a time. */
export function consentPages(gateway: TestGateway) {
  const isPlatform = (url: URL): boolean => url.origin === gateway.sandbox.platform

  /** Pushes a request and opens the first consent page. */
  async function begin(
    browser: Browser,
    change: { details?: unknown; scope?: string; idTokenHint?: string } = {},
  ): Promise<{ page: Page; state: string; redeem: (code: string) => Promise<Token> }> {
    const oauth = createOauthClient(gateway.issuer, gateway.client('chatterbox'))
    const key = await generateDpopKey()
    const state = randomBytes(9).toString('base64url')
    const { url, codeVerifier } = await oauth.pushAuthorizationRequest(
      {
        scope: change.scope ?? ['openid', ...ALL_SCOPES].join(' '),
        details: change.details ?? DETAILS,
        state,
        ...(change.idTokenHint && { idTokenHint: change.idTokenHint }),
      },
      key,
    )
    return {
      page: await browser.open(url, isPlatform),
      state,
      redeem: (code) => oauth.redeemCode(code, codeVerifier, key),
    }
  }

  /** Fills in page after page and stops at the platform's address. */
  async function walk(browser: Browser, page: Page, ...steps: Fields[]): Promise<Page> {
    for (const fields of steps) page = await browser.submit(page, fields, isPlatform)
    return page
  }

  /** Goes as far as the bank's callback and stops there, as a thief who reads the address would. */
  async function untilCallback(browser: Browser): Promise<Page> {
    const accounts = await walk(browser, (await begin(browser)).page, BANK, SHARING, GO, SIGN_IN)
    return browser.submit(accounts, AGREE, (url) => url.pathname === '/bank/callback')
  }

  return { begin, walk, untilCallback, isPlatform }
}
