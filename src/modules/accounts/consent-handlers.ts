import type { ConsentHandlers } from '../consents/index.ts'
import { deleteUnsharedLines, moveLines } from './balance-line-store.ts'
import { mergeHistories } from './disclosure-store.ts'
import { deleteUnsharedSnapshots } from './store.ts'

/** What accounts change in their own tables in the transaction that changes a consent. */
export const consentHandlers: ConsentHandlers = {
  async onConsentEnded(tx, consentId, now) {
    await deleteUnsharedSnapshots(tx, consentId, now)
    await deleteUnsharedLines(tx, consentId, now)
  },
  // Without this, a bank that begins to give account numbers would reset the limits of all of its accounts.
  async onDisclosureKeyChanged(tx, previousKey, disclosureKey) {
    await mergeHistories(tx, previousKey, disclosureKey)
    await moveLines(tx, previousKey, disclosureKey)
  },
}
