import type { PendingSignIn } from '../../connectors/index.ts'
import type { Seal } from '../../storage/seal.ts'
import type { SignInRow } from './sign-in-store.ts'

/** What is stored, sealed, while the customer signs in at the bank. */
export interface SignInSecrets {
  readonly url: string
  readonly resume: PendingSignIn
  readonly claimsSameCustomer: boolean
}

/** Unseals what was stored for a sign-in. */
export const unsealSignIn = async (seal: Seal, { consentId, sealedData }: SignInRow): Promise<SignInSecrets> =>
  (await seal.unseal(`sign-in:${consentId}`, sealedData)) as SignInSecrets
