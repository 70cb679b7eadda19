import type { Provider } from 'oidc-provider'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { Consents } from '../../modules/consents/index.ts'
import type { Ledger } from '../../modules/ledger/index.ts'
import { allowFarewell, endSession, isFarewell, sessionCustomer } from './browser-session.ts'
import { dashboardPage, endedPage, signedOutPage, stopPage, strangerPage, type LedgerLine } from './dashboard-pages.ts'
import type { OauthStore } from './store.ts'
import { createCards, type CardDependencies } from './visit-outcome.ts'
import { problemPage } from './visit-pages.ts'
import type { SharingCard } from './words.ts'

/** What the customer's own pages need. */
export interface DashboardDependencies extends CardDependencies {
  readonly provider: Provider
  readonly consents: Consents
  readonly ledger: Ledger
  readonly store: OauthStore
  readonly issuer: string
}

const SHOWN_LOOKS = 50
type LookRow = Awaited<ReturnType<Ledger['ofCustomer']>>[number]

/** Where customers see what they share and stop it, in the browser in which they agreed. */
export function dashboardRoutes({
  provider,
  consents,
  ledger,
  store,
  issuer,
  ...dependencies
}: DashboardDependencies): Route[] {
  const { cardOf, platformOf } = createCards(dependencies)
  return [
    route('GET', '/sharing', known(dashboard)),
    route('POST', '/sharing/sign-out', safely(signOut)),
    route(
      'GET',
      '/sharing/signed-out',
      safely(async (request) =>
        (await sessionCustomer(provider, request)) === undefined ? signedOutPage() : seeOther('/sharing'),
      ),
    ),
    route('GET', '/sharing/{consentId}/stop', known(askToStop)),
    route('POST', '/sharing/{consentId}/stop', known(stop)),
    route('GET', '/sharing/{consentId}/stopped', safely(stopped)),
  ]

  async function dashboard(_request: HttpRequest, customerId: string): Promise<HttpReply> {
    const cards = await cardsOf(customerId)
    const looks = await Promise.all((await ledger.ofCustomer(customerId, SHOWN_LOOKS)).map(lineOf))
    return dashboardPage(
      cards.filter(({ consent }) => consent.status === 'ACTIVE'),
      cards.filter(({ consent }) => consent.status !== 'ACTIVE' && consent.status !== 'PENDING'),
      looks,
    )
  }

  async function signOut(request: HttpRequest): Promise<HttpReply> {
    checkOrigin(request)
    await endSession(provider, store, request)
    return seeOther('/sharing/signed-out')
  }

  async function askToStop(request: HttpRequest, customerId: string): Promise<HttpReply> {
    const card = await own(request, customerId)
    return card.consent.status === 'ACTIVE' ? stopPage(card, await othersOf(card, customerId)) : ended(card, customerId)
  }

  async function stop(request: HttpRequest, customerId: string): Promise<HttpReply> {
    checkOrigin(request)
    const { consent } = await own(request, customerId)
    await consents.revoke(consent.id, 'CUSTOMER_AT_GATEWAY')
    const next = `/sharing/${consent.id}/stopped`
    if (await consents.hasStopped(customerId)) {
      allowFarewell(provider, request, next, consent.id)
      await endSession(provider, store, request)
      await store.endSessions(customerId)
    }
    return seeOther(next)
  }

  async function stopped(request: HttpRequest): Promise<HttpReply> {
    const consentId = request.params['consentId'] ?? ''
    const session = await sessionCustomer(provider, request)
    if (session !== undefined) {
      const card = await own(request, session)
      return card.consent.status === 'ACTIVE' ? seeOther('/sharing') : ended(card, session)
    }
    const consent = isFarewell(provider, request, consentId) ? await consents.find(consentId) : null
    if (!consent?.customerId) return strangerPage()
    return ended(await cardOf(consent), consent.customerId, await consents.hasStopped(consent.customerId))
  }

  async function ended(card: SharingCard, customerId: string, isSignedOut = false): Promise<HttpReply> {
    const others = await othersOf(card, customerId)
    return endedPage({ card, others, isSignedOut, receipts: await consents.receipts(card.consent.id) })
  }

  /** What the customer shares with the same platform beside this. */
  async function othersOf({ platformId, consent: { id } }: SharingCard, customerId: string): Promise<SharingCard[]> {
    return (await cardsOf(customerId)).filter(
      (one) => one.platformId === platformId && one.consent.id !== id && one.consent.status === 'ACTIVE',
    )
  }

  async function cardsOf(customerId: string): Promise<SharingCard[]> {
    return Promise.all((await consents.ofCustomer(customerId)).map(cardOf))
  }

  function checkOrigin({ headers: { origin } }: HttpRequest): void {
    if (origin !== undefined && origin !== issuer)
      throw new GatewayError('FORBIDDEN', { internal: 'form of another origin' })
  }

  function safely(handle: (request: HttpRequest) => Promise<HttpReply>): Route['handle'] {
    return async (request) => {
      try {
        return await handle(request)
      } catch (thrown) {
        return problemPage(asGatewayError(thrown))
      }
    }
  }

  function known(handle: (request: HttpRequest, customerId: string) => Promise<HttpReply>): Route['handle'] {
    return safely(async (request) => {
      const customerId = await sessionCustomer(provider, request)
      return customerId === undefined ? strangerPage() : handle(request, customerId)
    })
  }

  async function lineOf({ kind, at, clientId }: LookRow): Promise<LedgerLine> {
    return { kind, at, platform: (await platformOf(clientId ?? '')).platform }
  }

  /** Another customer's consent answers as one that does not exist. */
  async function own({ params }: HttpRequest, customerId: string): Promise<SharingCard> {
    const consent = await consents.find(params['consentId'] ?? '')
    if (consent?.customerId !== customerId) throw new GatewayError('NOT_FOUND')
    return cardOf(consent)
  }
}
