/** The bank-side consent and its tokens. */
export interface BankAccess {
  readonly consentRef: string
  readonly accessToken: string
  readonly refreshToken: string | null
  /** ISO 8601, UTC. */
  readonly expiresAt: string
  /** When the customer signed in, ISO 8601, UTC. Some standards require it in every request. */
  readonly signedInAt?: string | undefined
  /**
   * The bank's identifier of the person who signed in: unique at this bank and never reassigned (OpenID Connect Core 1.0,
   * section 2, `sub`). Absent if the standard has none or the bank only repeats the consent id.
   */
  readonly customerRef?: string | undefined
  /** The bank's link to the metadata of its authorization server, if the profile follows such links. */
  readonly metadataUrl?: string | undefined
}

/** The customer, if present. Banks count attended requests differently, so presence must never be claimed falsely. */
export interface PresentCustomer {
  /** The IP address of the customer's browser or app. */
  readonly ip: string
  /** The `User-Agent` of that browser or app. */
  readonly userAgent: string | null
}
