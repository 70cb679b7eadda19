/** The path to which a bank redirects customers after their sign-in. */
export const BANK_CALLBACK_PATH = '/bank/callback'

/** The gateway's redirect URI and the address for events of one connector's bank. */
export const bankEndpointsOf = (issuer: string, connectorId: string) => ({
  redirectUri: `${issuer}${BANK_CALLBACK_PATH}`,
  eventsUrl: `${issuer}/bank-events/${connectorId}`,
})
