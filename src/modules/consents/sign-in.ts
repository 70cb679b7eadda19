import type { Resume } from '../../connectors/index.ts'
import type { Seal } from '../../storage/seal.ts'
import type { SignInRow } from './sign-in-store.ts'

/** What is stored, sealed, while the customer is at the bank. */
export interface OpenSignIn {
  readonly url: string
  readonly resume: Resume
  readonly saysSame: boolean
}

/** What was stored when the customer left for the bank. */
export const readSignIn = async (seal: Seal, { consentId, sealed }: SignInRow): Promise<OpenSignIn> =>
  (await seal.open(`sign-in:${consentId}`, sealed)) as OpenSignIn
