import type { PendingSignIn, StoredStep } from '../../connectors/index.ts'
import type { Seal } from '../../storage/seal.ts'
import type { SignInRow } from './sign-in-store.ts'

/** What is stored, sealed, until the sign-in continues. */
export interface SignInSecrets extends StoredStep {
  readonly claimsSameCustomer: boolean
}

/** What a version before the steps stored. */
interface RedirectSecrets {
  readonly url: string
  readonly resume: PendingSignIn
  readonly claimsSameCustomer: boolean
}

/** Unseals what was stored for a sign-in. */
export async function unsealSignIn(seal: Seal, { consentId, sealedData }: SignInRow): Promise<SignInSecrets> {
  const stored = (await seal.unseal(`sign-in:${consentId}`, sealedData)) as SignInSecrets | RedirectSecrets
  if ('step' in stored) return stored
  const { url, resume, claimsSameCustomer } = stored
  return { step: { kind: 'REDIRECT', url, pending: resume }, number: 1, claimsSameCustomer }
}
