import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseChoices, type Browser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { subjectOf, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { answerOf, BANK, consentPages, GO, SHARING, type Fields } from './consent-pages.ts'
import type { TestGateway } from './gateway.ts'

export const signInAs = (customer: string): Fields => [
  ['customer', customer],
  ['password', 'sandbox'],
  ['decision', 'sign-in'],
]
export const RHEINBANK: Fields = [
  ['bank', 'rheinbank'],
  ['decision', 'go'],
]
/** Ticks these accounts at the bank and agrees. */
export const agreeTo = (accounts: readonly string[]): Fields => [
  ...accounts.map((account): [string, string] => ['account', account]),
  ['decision', 'allow'],
]
/** Ticks every account that the bank's page offers and agrees. */
export const agreeToAll = (page: Page): Fields => agreeTo(parseChoices(page, 'account'))
/** The address at which a visit goes on after the bank, before there is a code. */
export const isResume = (url: URL): boolean => url.pathname.startsWith('/oauth/authorize/')
export const subject = (token: Token | undefined): string => subjectOf(token!)!

interface Walk {
  readonly browser: Browser
  readonly customer: string
  readonly bank?: Fields
  readonly idTokenHint?: string | undefined
  /** Those that are ticked at the bank; all where absent. */
  readonly accounts?: string[]
  /** The answer to "Was that you?", where it is asked. */
  readonly same?: 'yes' | 'no'
}

/** Whole visits of a gateway's consent pages, and what is left of them. */
export function visits(gateway: TestGateway) {
  const pages = consentPages(gateway)
  return {
    pages,

    /** Walks through the consent pages and the bank's; returns what the platform is told, and its token. */
    async walk({ browser, customer, bank = BANK, idTokenHint, accounts, same = 'yes' }: Walk) {
      const { page, redeem } = await pages.begin(browser, idTokenHint === undefined ? {} : { idTokenHint })
      const answer: Fields = parseChoices(page, 'same').length > 0 ? [['same', same]] : []
      const atBank = await pages.walk(browser, page, [...answer, ...bank], SHARING, GO, signInAs(customer))
      const back = answerOf(await pages.walk(browser, atBank, accounts ? agreeTo(accounts) : agreeToAll(atBank)))
      return { ...back, token: back['code'] === undefined ? undefined : await redeem(back['code']) }
    },

    sharing: (browser: Browser): Promise<Page> => browser.open(`${gateway.issuer}/sharing`),

    async accountsOf(token: Token): Promise<number> {
      const { data } = await gateway.ask(token, '{ customer { accounts { nodes { id } } } }')
      return (data!['customer'] as { accounts: { nodes: unknown[] } }).accounts.nodes.length
    },

    /** The consent that was made last, with its connection. */
    async newest() {
      const [row] = await gateway.database.query<{
        id: string
        status: string
        ended_by: string | null
        customer_id: string | null
        connection_id: string | null
        connection: string | null
      }>(
        `select consent.id, consent.status, consent.ended_by, consent.customer_id, consent.connection_id,
           connection.status as connection
         from consent left join connection on connection.id = consent.connection_id
         order by consent.created_at desc limit 1`,
      )
      return row!
    },

    /** Opens a page on another port of the gateway's host, which sets these cookies: browsers do not tell ports apart. */
    async plant(browser: Browser, cookies: string): Promise<void> {
      const page = createServer((_request, response) => {
        response.setHeader(
          'set-cookie',
          cookies.split('; ').map((pair) => `${pair}; path=/`),
        )
        response.end('a page')
      })
      await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve))
      await browser.open(`http://127.0.0.1:${(page.address() as AddressInfo).port}/`)
      page.close()
    },
  }
}
