import type { Provider } from 'oidc-provider'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { Consents } from '../../modules/consents/index.ts'
import type { Ledger } from '../../modules/ledger/index.ts'
import { sessionCustomer } from './browser-session.ts'
import { dashboardPage, stoppedPage, stopPage, strangerPage, type LedgerLine } from './dashboard-pages.ts'
import { createCards, type CardDependencies } from './visit-outcome.ts'
import { problemPage } from './visit-pages.ts'
import type { SharingCard } from './words.ts'

/** What the customer's own pages need. */
export interface DashboardDependencies extends CardDependencies {
  readonly provider: Provider
  readonly consents: Consents
  readonly ledger: Ledger
  readonly issuer: string
}

const SHOWN_LOOKS = 50
type LookRow = Awaited<ReturnType<Ledger['ofCustomer']>>[number]

/** Where customers see what they share and stop it, in the browser in which they agreed. */
export function dashboardRoutes({
  provider,
  consents,
  ledger,
  issuer,
  ...dependencies
}: DashboardDependencies): Route[] {
  const { cardOf, platformOf } = createCards(dependencies)
  return [
    route(
      'GET',
      '/sharing',
      known(async (_request, customerId) => {
        const cards = await Promise.all((await consents.ofCustomer(customerId)).map(cardOf))
        const looks = await Promise.all((await ledger.ofCustomer(customerId, SHOWN_LOOKS)).map(lineOf))
        return dashboardPage(
          cards.filter(({ consent }) => consent.state === 'ACTIVE'),
          cards.filter(({ consent }) => consent.state !== 'ACTIVE' && consent.state !== 'PENDING'),
          looks,
        )
      }),
    ),
    route(
      'GET',
      '/sharing/{consentId}/stop',
      known(async (request, customerId) => stopPage(await own(request, customerId))),
    ),
    route(
      'POST',
      '/sharing/{consentId}/stop',
      known(async (request, customerId) => {
        const { origin } = request.headers
        if (origin !== undefined && origin !== issuer)
          throw new GatewayError('FORBIDDEN', { internal: 'form of another origin' })
        const { consent } = await own(request, customerId)
        await consents.revoke(consent.id, 'CUSTOMER_AT_GATEWAY')
        return seeOther(`/sharing/${consent.id}/stopped`)
      }),
    ),
    route(
      'GET',
      '/sharing/{consentId}/stopped',
      known(async (request, customerId) => {
        const card = await own(request, customerId)
        if (card.consent.state !== 'REVOKED') return seeOther('/sharing')
        return stoppedPage(card, await consents.receipts(card.consent.id))
      }),
    ),
  ]

  function known(handle: (request: HttpRequest, customerId: string) => Promise<HttpReply>): Route['handle'] {
    return async (request) => {
      const customerId = await sessionCustomer(provider, request)
      if (customerId === undefined) return strangerPage()
      try {
        return await handle(request, customerId)
      } catch (thrown) {
        return problemPage(asGatewayError(thrown))
      }
    }
  }

  async function lineOf({ kind, at, clientId }: LookRow): Promise<LedgerLine> {
    return { kind, at, platform: await platformOf(clientId ?? '') }
  }

  /** Another customer's consent answers as one that does not exist. */
  async function own({ params }: HttpRequest, customerId: string): Promise<SharingCard> {
    const consent = await consents.find(params['consentId'] ?? '')
    if (consent?.customerId !== customerId) throw new GatewayError('NOT_FOUND')
    return cardOf(consent)
  }
}
