import type { HttpResponse } from '../../kernel/http.ts'
import type { World } from '../../kernel/world.ts'
import type { Banks } from '../../modules/banks/index.ts'
import type { Clients } from '../../modules/clients/index.ts'
import { asOf, type Consent, type Consents } from '../../modules/consents/index.ts'
import { outcomePage, waitingPage } from './interaction-pages.ts'
import type { SharingCard } from './texts.ts'

/** Dependencies of sharing cards. */
export interface CardDependencies {
  readonly banks: Banks
  readonly clients: Clients
  readonly consents: Consents
  readonly world: World
}

/** Builds cards: consents in their present status with the names of platform and bank. */
export function createCards({ banks, clients, consents, world }: CardDependencies) {
  /** For a client that no longer exists, its ID stands in for the platform. */
  async function platformOf(clientId: string): Promise<{ readonly organizationId: string; readonly platform: string }> {
    const client = await clients.find(clientId)
    const organization = client && (await clients.organizations.find(client.organizationId))
    return { organizationId: organization?.id ?? clientId, platform: organization?.name ?? clientId }
  }

  async function cardOf(consent: Consent): Promise<SharingCard> {
    const present = asOf(consent, world.clock.now())
    return {
      consent: { ...present, status: await consents.statusOf(present) },
      ...(await platformOf(consent.clientId)),
      bank: (await banks.findBank(consent.bankId))?.name ?? consent.bankId,
    }
  }
  return { cardOf, platformOf }
}

/** Pages that show the outcome of interactions. */
export type InteractionOutcomes = ReturnType<typeof createInteractionOutcomes>

/** Shows the present outcome of a finished interaction, whichever of its pages is opened. */
export function createInteractionOutcomes(dependencies: CardDependencies) {
  const { consents } = dependencies
  const { cardOf } = createCards(dependencies)
  return {
    /** The page with the interaction's outcome. */
    async page(uid: string): Promise<HttpResponse> {
      const outcome = await consents.optIn.findOutcome(uid)
      // The code is being issued or the consent is being rejected.
      if (outcome?.consent.status === 'PENDING') return waitingPage(`/interaction/${uid}`)
      return outcomePage(outcome && (await cardOf(outcome.consent)), outcome?.isRedeemed ?? false)
    },

    /** Whether the platform already has its tokens, or the consent has ended since. */
    async isFinal(uid: string): Promise<boolean> {
      const outcome = await consents.optIn.findOutcome(uid)
      const { status } = outcome?.consent ?? {}
      return outcome?.isRedeemed === true || status === 'REVOKED' || status === 'EXPIRED'
    },

    /** Whether the customer has returned from the bank, or can no longer sign in there. */
    isSignInClosed: async (uid: string): Promise<boolean> =>
      (await consents.optIn.findOutcome(uid))?.isSignInClosed ?? false,
  }
}
