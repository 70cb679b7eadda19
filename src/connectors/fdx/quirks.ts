/** The wrappers of 4.x and 5.x, `{ "depositAccount": { … } }`, and the categories that 6.x has instead. */
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
 * The account flat, with its category: told by its shape and not by the version that the bank states, since one server
 * may send either. Anything else is returned as it is.
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
 * What the id of the consent is called in a token answer: by FDX itself, by Grant Management for OAuth 2.0, and beside
 * the granted details.
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
