import type { ConsentHandlers } from '../consents/index.ts'
import { mergeHistories } from './disclosure-store.ts'
import { deleteUnsharedSnapshots } from './store.ts'

/** What accounts change in their own tables in the transaction that changes a consent. */
export const consentHandlers: ConsentHandlers = {
  onConsentEnded: deleteUnsharedSnapshots,
  // Without this, a bank that begins to give account numbers would reset the limits of all of its accounts.
  onDisclosureKeyChanged: mergeHistories,
}
