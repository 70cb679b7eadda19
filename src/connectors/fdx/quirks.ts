/** The account wrappers of 4.x and 5.x, `{ "depositAccount": { … } }`, and the matching categories of 6.x. */
const WRAPPERS = Object.entries({
  depositAccount: 'DEPOSIT_ACCOUNT',
  locAccount: 'LOC_ACCOUNT',
  loanAccount: 'LOAN_ACCOUNT',
  digitalWallet: 'DIGITAL_WALLET',
  investmentAccount: 'INVESTMENT_ACCOUNT',
  annuityAccount: 'ANNUITY_ACCOUNT',
  insuranceAccount: 'INSURANCE_ACCOUNT',
  commercialAccount: 'COMMERCIAL_ACCOUNT',
})

/**
 * Converts a wrapped account to the flat form with its category. Detects the form by its shape, not by the registered
 * version, because one server may send both. Returns anything else unchanged.
 */
export function unwrapAccount(entry: unknown): unknown {
  if (typeof entry !== 'object' || entry === null) return entry
  for (const [wrapper, accountCategory] of WRAPPERS) {
    const account = (entry as Record<string, unknown>)[wrapper]
    if (typeof account === 'object' && account !== null) return { ...account, accountCategory }
  }
  return entry
}

/**
 * The consent id in a token response, under the name of FDX, of Grant Management for OAuth 2.0, or within the granted
 * authorization details; undefined if there is none.
 */
export function findConsentId(tokenResponse: Readonly<Record<string, unknown>>): string | undefined {
  const [details] = Array.isArray(tokenResponse['authorization_details'])
    ? (tokenResponse['authorization_details'] as unknown[])
    : []
  const candidates = [
    tokenResponse['fdx_consent_id'],
    tokenResponse['grant_id'],
    tokenResponse['consent_id'],
    (details as { consentId?: unknown } | undefined)?.consentId,
  ]
  return candidates.find((id): id is string => typeof id === 'string' && /^[A-Za-z0-9._~:-]{1,128}$/.test(id))
}
