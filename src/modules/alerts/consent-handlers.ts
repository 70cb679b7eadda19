import type { ConsentHandlers } from '../consents/index.ts'
import { deletePhrase } from './phrase-store.ts'
import { deleteReadState } from './read-state-store.ts'

/** What alerts change in their own tables in the transaction that ends a consent. */
export const onConsentEnded: ConsentHandlers['onConsentEnded'] = async (...ended) => {
  await deleteReadState(...ended)
  await deletePhrase(...ended)
}
