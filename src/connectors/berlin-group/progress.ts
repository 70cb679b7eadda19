import { GatewayError } from '../../kernel/errors.ts'
import type { ConnectorTools } from '../connector.ts'
import type { OauthClient } from '../oauth-client.ts'
import type { PendingSignIn, SignInField } from '../sign-in.ts'
import type { BerlinGroupClient } from './client.ts'
import type { Identification } from './identification.ts'
import type { BerlinGroupProfile } from './registration.ts'

/** What is stored between the steps. */
export interface Progress {
  /** When the consent will end, ISO 8601, UTC. */
  readonly expiresAt: string
  readonly identification?: Identification | undefined
  /** How often a form was repeated. */
  readonly repeats: number
  /** The bank's id of the authorisation that the customer confirms. */
  readonly authorisation?: string | undefined
  /** The field that was requested while the customer authorises the consent. */
  readonly requestedField?: SignInField | undefined
  /** For whom the sign-in waits, and until when, ISO 8601, UTC. */
  readonly waiting?: { readonly waitsFor: 'CUSTOMER' | 'BANK'; readonly until: string } | undefined
}

/** A sign-in of this standard that waits for its next step. */
export type Pending = PendingSignIn & { readonly progress?: Progress | undefined }

/** What sign-ins need of the connector. */
export interface SignInParts {
  readonly profile: BerlinGroupProfile
  readonly tools: ConnectorTools
  readonly client: BerlinGroupClient
  /** Absent if nothing is authorized by OAuth. */
  readonly oauth: OauthClient | undefined
  /** The URL of a sign-in page that the bank names. Throws `BANK_RESPONSE_INVALID` unless it is on a registered origin. */
  resolveSignInUrl(href: string | undefined): string
}

/** Refuses a sign-in. */
export const refused = (internalMessage: string): GatewayError => new GatewayError('BANK_REFUSED', { internalMessage })

/** The progress of a sign-in that began with this version of the gateway. */
export function progressOf({ progress }: Pending): Progress {
  if (!progress) throw new GatewayError('INTERNAL', { internalMessage: 'the sign-in has no progress' })
  return progress
}

/** The same sign-in with a changed progress. */
export const withProgress = (pending: Pending, changes: Partial<Progress>): Pending => ({
  ...pending,
  progress: { expiresAt: '', repeats: 0, ...pending.progress, ...changes },
})
