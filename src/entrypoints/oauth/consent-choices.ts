import { GatewayError } from '../../kernel/errors.ts'
import type { Banks } from '../../modules/banks/index.ts'
import type { BankChoice } from './consent-pages.ts'
import type { PendingInteraction } from './interaction-flow.ts'
import { scopesOfSwitches, type Agreement } from './texts.ts'

/**
 * The bank of this ID. Throws `BANK_UNAVAILABLE` if it accepts no new consents, and `PLATFORM_NOT_ALLOWED` if it does not serve
 * the interaction's client.
 */
export async function findConnectableBank(
  banks: Banks,
  { clientId }: Pick<PendingInteraction, 'clientId'>,
  id: string | null,
) {
  const bank = (await banks.connectableBanks(clientId)).find((connectable) => connectable.id === id)
  if (!bank) throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'not a connectable bank' })
  if (!bank.isOffered) throw new GatewayError('PLATFORM_NOT_ALLOWED')
  return bank
}

/** The choices of the first page, which the later pages carry on. */
export async function parseBankChoice(
  banks: Banks,
  interaction: PendingInteraction,
  fields: URLSearchParams,
): Promise<BankChoice> {
  const bank = await findConnectableBank(banks, interaction, fields.get('bank'))
  return { bank, isSameCustomer: fields.get('same') === 'yes' }
}

/** Everything that the platform requests. */
export const requestedAgreement = ({ requested: { actions, purposes } }: PendingInteraction): Agreement => ({
  scopes: actions,
  purposes,
})

/** The agreement that the switches of a form or a query select. */
export const parseAgreement = (
  { requested: { actions, purposes } }: PendingInteraction,
  fields: URLSearchParams,
): Agreement => ({
  scopes: scopesOfSwitches(actions, fields.getAll('share')),
  purposes,
})
