import type { BankConsent } from './bank.ts'
import type { Routes, SandboxRequest } from './server.ts'

/** How the standards differ in their authorization server. */
export interface AuthorizationProfile {
  /** Returns the consent that an authorization request names, or creates it from the request. */
  findConsent(parameters: Readonly<Record<string, unknown>>, clientId: string): BankConsent | undefined
  readonly usesSignedRequests: boolean
  readonly usesOpenIdConnect: boolean
  /** Whether authorization requests must be pushed (RFC 9126). */
  readonly usesPar: boolean
  /** Members that the standard adds to the token response. */
  extendTokenResponse?(consent: BankConsent): Record<string, unknown>
  /** Members that the standard adds to the metadata. */
  metadata?(): Record<string, unknown>
  /** Further endpoints of the standard that require client authentication. */
  routes?(authenticateClient: (request: SandboxRequest) => Promise<string>): Routes
  /** Called when the customer has agreed. */
  onAuthorized(consent: BankConsent): void
}
