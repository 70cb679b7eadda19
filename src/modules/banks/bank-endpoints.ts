/** The path to which a bank redirects customers after their sign-in. */
export const BANK_CALLBACK_PATH = '/bank/callback'

/** The gateway's addresses for one connector's bank: issuer, redirect URI, events, and public keys. */
export const bankEndpointsOf = (issuer: string, connectorId: string) => ({
  issuer,
  redirectUri: `${issuer}${BANK_CALLBACK_PATH}`,
  eventsUrl: `${issuer}/bank-events/${connectorId}`,
  jwksUrl: `${issuer}/bank-keys/${connectorId}/jwks.json`,
})
