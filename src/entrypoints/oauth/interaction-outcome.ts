import type { HttpResponse } from '../../kernel/http.ts'
import type { World } from '../../kernel/world.ts'
import type { Banks } from '../../modules/banks/index.ts'
import type { Clients } from '../../modules/clients/index.ts'
import { asOf, type Consent, type Consents } from '../../modules/consents/index.ts'
import { outcomePage, waitingPage } from './interaction-pages.ts'
import type { SharingCard } from './texts.ts'

/** What the words about a consent are taken from. */
export interface CardDependencies {
  readonly banks: Banks
  readonly clients: Clients
  readonly world: World
}

/** Consents as they are now, with the names that a customer knows. */
export function createCards({ banks, clients, world }: CardDependencies) {
  /** A client that nobody knows any more stands for its platform. */
  async function platformOf(clientId: string): Promise<{ readonly platformId: string; readonly platform: string }> {
    const client = await clients.find(clientId)
    const platform = client && (await clients.findPlatform(client.platformId))
    return { platformId: platform?.id ?? clientId, platform: platform?.name ?? clientId }
  }

  async function cardOf(consent: Consent): Promise<SharingCard> {
    return {
      consent: asOf(consent, world.clock.now()),
      ...(await platformOf(consent.clientId)),
      bank: (await banks.findBank(consent.bankId))?.name ?? consent.bankId,
    }
  }
  return { cardOf, platformOf }
}

/** What visits have come to, as pages. */
export type InteractionOutcomes = ReturnType<typeof createInteractionOutcomes>

/** Says of a visit that is over what is true now, whichever page of it is opened. */
export function createInteractionOutcomes({
  consents,
  ...dependencies
}: CardDependencies & { readonly consents: Consents }) {
  const { cardOf } = createCards(dependencies)
  return {
    /** The page that says what the visit has come to. */
    async page(uid: string): Promise<HttpResponse> {
      const outcome = await consents.findVisitOutcome(uid)
      // The code is being made, or the consent is being rejected: nobody knows yet.
      if (outcome?.consent.status === 'PENDING') return waitingPage(`/interaction/${uid}`)
      return outcomePage(outcome && (await cardOf(outcome.consent)), outcome?.isRedeemed ?? false)
    },

    /** Whether the way back to the platform leads nowhere any more: it has its tokens, or the sharing has ended since. */
    async isFinal(uid: string): Promise<boolean> {
      const outcome = await consents.findVisitOutcome(uid)
      const { status: state } = outcome?.consent ?? {}
      return outcome?.isRedeemed === true || state === 'REVOKED' || state === 'EXPIRED'
    },

    /** Whether the way to the bank leads nowhere any more. */
    hasReturnedFromBank: async (uid: string): Promise<boolean> =>
      (await consents.findVisitOutcome(uid))?.hasReturned ?? false,
  }
}
