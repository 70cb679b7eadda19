import { toGatewayError, type GatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import { BANK_CALLBACK_PATH, outlineSignIn } from '../../modules/banks/index.ts'
import { parseDays } from '../../modules/consents/index.ts'
import { createBankSignIn, type BankSignInDependencies } from './bank-sign-in.ts'
import { parseAgreement, parseBankChoice, requestedAgreement } from './consent-choices.ts'
import { bankPage, confirmationPage, sharingPage } from './consent-pages.ts'
import type { PendingInteraction } from './interaction-flow.ts'
import { assertSameOrigin, withErrorPage } from './page-handlers.ts'
import { isPrefetch, rejectPrefetch } from './prefetch.ts'
import { MAX_FORM_BYTES } from './sign-in-pages.ts'

/** The consent pages: choose a bank, see what is shared, sign in at the bank, come back. */
export function interactionRoutes(dependencies: BankSignInDependencies): Route[] {
  const { banks, flow, issuer } = dependencies
  const bankSignIn = createBankSignIn(dependencies)
  return [
    route(
      'GET',
      '/interaction/{uid}',
      withInteraction((_request, interaction) => showBanks(interaction, interaction.requested.bank)),
    ),
    route('POST', '/interaction/{uid}/bank', withDecisionForm(chooseBank)),
    route(
      'GET',
      '/interaction/{uid}/sharing',
      withInteraction(async ({ url }, interaction) =>
        sharingPage(
          interaction,
          await parseBankChoice(banks, interaction, url.searchParams),
          requestedAgreement(interaction),
        ),
      ),
    ),
    route('POST', '/interaction/{uid}/sharing', withDecisionForm(chooseSharing)),
    route(
      'GET',
      '/interaction/{uid}/leave',
      withInteraction(async ({ url: { searchParams } }, interaction) => {
        const chosen = await parseBankChoice(banks, interaction, searchParams)
        return confirmationPage(
          interaction,
          chosen,
          parseAgreement(interaction, searchParams),
          searchParams.getAll('share'),
          parseDays(searchParams.get('days')),
          outlineSignIn(await banks.requireConnectorForNewConsent(chosen.bank.id)),
        )
      }),
    ),
    route('POST', '/interaction/{uid}/leave', withDecisionForm(bankSignIn.startBankSignIn)),
    route('GET', '/interaction/{uid}/bank-sign-in', exceptPrefetch(withInteraction(bankSignIn.showStep))),
    route('POST', '/interaction/{uid}/bank-sign-in', withDecisionForm(bankSignIn.submitStep)),
    route('GET POST', '/interaction/{uid}/return', exceptPrefetch(withInteraction(bankSignIn.completeBankSignIn))),
    route('GET POST', BANK_CALLBACK_PATH, bankSignIn.callback),
  ]

  function withInteraction(
    handle: (request: HttpRequest, interaction: PendingInteraction) => Promise<HttpResponse>,
  ): Route['handle'] {
    return withErrorPage(async (request) => {
      const loaded = await flow.load(request)
      if (!('interaction' in loaded)) return loaded.reply
      const { interaction } = loaded
      return orOtherBanks(interaction, request.url.searchParams, () => handle(request, interaction))
    })
  }

  function withDecisionForm(
    handle: (request: HttpRequest, interaction: PendingInteraction, form: URLSearchParams) => Promise<HttpResponse>,
  ): Route['handle'] {
    return withErrorPage(async (request) => {
      assertSameOrigin(request, issuer)
      const form = new URLSearchParams(await request.body(MAX_FORM_BYTES))
      if (form.get('decision') !== 'go') return flow.cancel(request)
      const loaded = await flow.load(request)
      if (!('interaction' in loaded)) return loaded.reply
      const { interaction } = loaded
      return orOtherBanks(interaction, form, () => handle(request, interaction, form))
    })
  }

  async function showBanks(
    interaction: PendingInteraction,
    bankId: string | undefined,
    error?: GatewayError,
  ): Promise<HttpResponse> {
    const connectable = await banks.connectableBanks(interaction.clientId)
    return bankPage(interaction, interaction.requested.actions, connectable, bankId, error)
  }

  /** If the chosen bank does not serve the platform, returns the first page, which says so and offers the other banks. */
  async function orOtherBanks(
    interaction: PendingInteraction,
    fields: URLSearchParams,
    handle: () => Promise<HttpResponse>,
  ): Promise<HttpResponse> {
    try {
      return await handle()
    } catch (thrown) {
      const error = toGatewayError(thrown)
      if (error.code !== 'PLATFORM_NOT_ALLOWED') throw thrown
      return showBanks(interaction, fields.get('bank') ?? undefined, error)
    }
  }

  function chooseBank(
    _request: HttpRequest,
    interaction: PendingInteraction,
    form: URLSearchParams,
  ): Promise<HttpResponse> {
    const chosen = new URLSearchParams({ bank: form.get('bank') ?? '', same: form.get('same') ?? '' })
    return Promise.resolve(seeOther(`/interaction/${interaction.uid}/sharing?${chosen.toString()}`))
  }

  async function chooseSharing(
    _request: HttpRequest,
    interaction: PendingInteraction,
    form: URLSearchParams,
  ): Promise<HttpResponse> {
    if (parseAgreement(interaction, form).scopes.length === 0)
      return sharingPage(
        interaction,
        await parseBankChoice(banks, interaction, form),
        requestedAgreement(interaction),
        true,
      )
    const chosen = new URLSearchParams()
    for (const name of ['bank', 'same', 'days']) chosen.set(name, form.get(name) ?? '')
    for (const share of form.getAll('share')) chosen.append('share', share)
    return seeOther(`/interaction/${interaction.uid}/leave?${chosen.toString()}`)
  }
}

/** Rejects prefetches of a step that can be taken only once. */
const exceptPrefetch =
  (handle: Route['handle']): Route['handle'] =>
  (request) =>
    isPrefetch(request) ? rejectPrefetch() : handle(request)
