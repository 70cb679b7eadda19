import type { Provider } from 'oidc-provider'
import { GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { Ledger } from '../../modules/ledger/index.ts'
import { setStoppedCookie, endSession, hasStoppedCookie, findSessionCustomer } from './browser-session.ts'
import {
  dashboardPage,
  endedPage,
  signedOutPage,
  stopPage,
  notSignedInPage,
  type LedgerLine,
} from './dashboard-pages.ts'
import type { OauthStore } from './store.ts'
import { createCards, type CardDependencies } from './interaction-outcome.ts'
import { assertSameOrigin, withErrorPage } from './page-handlers.ts'
import type { SharingCard } from './texts.ts'

/** Dependencies of the customer's dashboard. */
export interface DashboardDependencies extends CardDependencies {
  readonly provider: Provider
  readonly ledger: Ledger
  readonly store: OauthStore
  readonly issuer: string
}

const SHOWN_READS = 50
/** Whether the customer can stop the consent. A SUSPENDED one can become ACTIVE again. */
const isCurrent = ({ consent: { status } }: SharingCard): boolean => status === 'ACTIVE' || status === 'SUSPENDED'
type LedgerRow = Awaited<ReturnType<Ledger['ofCustomer']>>[number]

/** Pages on which customers see and stop what they share, in the browser in which they agreed. */
export function dashboardRoutes(dependencies: DashboardDependencies): Route[] {
  const { provider, consents, ledger, store, issuer } = dependencies
  const { cardOf, platformOf } = createCards(dependencies)
  return [
    route('GET', '/sharing', withCustomer(dashboard)),
    route('POST', '/sharing/sign-out', withErrorPage(signOut)),
    route(
      'GET',
      '/sharing/signed-out',
      withErrorPage(async (request) =>
        (await findSessionCustomer(provider, request)) === undefined ? signedOutPage() : seeOther('/sharing'),
      ),
    ),
    route('GET', '/sharing/{consentId}/stop', withCustomer(confirmStop)),
    route('POST', '/sharing/{consentId}/stop', withCustomer(stopSharing)),
    route('GET', '/sharing/{consentId}/stopped', withErrorPage(showStopped)),
  ]

  async function dashboard(_request: HttpRequest, customerId: string): Promise<HttpResponse> {
    const cards = await findCards(customerId)
    const lines = await Promise.all((await ledger.ofCustomer(customerId, SHOWN_READS)).map(toLedgerLine))
    return dashboardPage(
      cards.filter(isCurrent),
      cards.filter((card) => !isCurrent(card) && card.consent.status !== 'PENDING'),
      lines,
    )
  }

  async function signOut(request: HttpRequest): Promise<HttpResponse> {
    assertSameOrigin(request, issuer)
    await endSession(provider, store, request)
    return seeOther('/sharing/signed-out')
  }

  async function confirmStop(request: HttpRequest, customerId: string): Promise<HttpResponse> {
    const card = await findOwnCard(request, customerId)
    return isCurrent(card)
      ? stopPage(card, await findOtherActiveCards(card, customerId))
      : renderEnded(card, customerId)
  }

  async function stopSharing(request: HttpRequest, customerId: string): Promise<HttpResponse> {
    assertSameOrigin(request, issuer)
    const { consent } = await findOwnCard(request, customerId)
    await consents.revoke(consent.id, 'CUSTOMER_AT_GATEWAY')
    const next = `/sharing/${consent.id}/stopped`
    if (await consents.hasStoppedSharing(customerId)) {
      setStoppedCookie(provider, request, next, consent.id)
      await endSession(provider, store, request)
      await store.endSessions(customerId)
    }
    return seeOther(next)
  }

  async function showStopped(request: HttpRequest): Promise<HttpResponse> {
    const consentId = request.params['consentId'] ?? ''
    const sessionCustomerId = await findSessionCustomer(provider, request)
    if (sessionCustomerId !== undefined) {
      const card = await findOwnCard(request, sessionCustomerId)
      return isCurrent(card) ? seeOther('/sharing') : renderEnded(card, sessionCustomerId)
    }
    const consent = hasStoppedCookie(provider, request, consentId) ? await consents.find(consentId) : null
    if (!consent?.customerId) return notSignedInPage()
    return renderEnded(await cardOf(consent), consent.customerId, await consents.hasStoppedSharing(consent.customerId))
  }

  async function renderEnded(card: SharingCard, customerId: string, isSignedOut = false): Promise<HttpResponse> {
    const others = await findOtherActiveCards(card, customerId)
    return endedPage({ card, others, isSignedOut, receipts: await consents.receipts(card.consent.id) })
  }

  /** The customer's other ACTIVE consents with the same platform. */
  async function findOtherActiveCards(
    { organizationId, consent: { id } }: SharingCard,
    customerId: string,
  ): Promise<SharingCard[]> {
    return (await findCards(customerId)).filter(
      (card) => card.organizationId === organizationId && card.consent.id !== id && card.consent.status === 'ACTIVE',
    )
  }

  async function findCards(customerId: string): Promise<SharingCard[]> {
    return Promise.all((await consents.findByCustomer(customerId)).map(cardOf))
  }

  function withCustomer(handle: (request: HttpRequest, customerId: string) => Promise<HttpResponse>): Route['handle'] {
    return withErrorPage(async (request) => {
      const customerId = await findSessionCustomer(provider, request)
      return customerId === undefined ? notSignedInPage() : handle(request, customerId)
    })
  }

  async function toLedgerLine({ action, occurredAt, clientId }: LedgerRow): Promise<LedgerLine> {
    return { action, occurredAt, platform: (await platformOf(clientId ?? '')).platform }
  }

  /** Throws `NOT_FOUND` for an unknown consent and for one of another customer. */
  async function findOwnCard({ params }: HttpRequest, customerId: string): Promise<SharingCard> {
    const consent = await consents.find(params['consentId'] ?? '')
    if (consent?.customerId !== customerId) throw new GatewayError('NOT_FOUND')
    return cardOf(consent)
  }
}
