import { MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { createBankApi, createInteractionId, parseResponse, type BankCall, type BankResponse } from '../bank-api.ts'
import { createCodeMap } from '../code-map.ts'
import type { ConnectorTools, PresentCustomer, Registration } from '../connector.ts'
import type { AllowedOperations } from '../endpoints.ts'
import type { ErrorCodes } from '../error-bodies.ts'
import { createRequestSigner } from '../http-signatures.ts'
import type { OauthClient } from '../oauth-client.ts'
import type { BerlinGroupProfile } from './registration.ts'
import { consentStatusResponse } from './wire.ts'

/** Every operation that Guichet calls at a NextGenPSD2 bank, below the paths of its profile. */
export function operationsOf({ paths: { version, newConsents }, sca, cardAccounts }: OperationRules) {
  const root = `/${version}` as const
  const consent = `${root}/consents/{consent}` as const
  const hasAuthorisations = sca === 'DECOUPLED' || sca === 'EMBEDDED'
  return {
    createConsent: ['POST', `${root}/${newConsents}`],
    consentStatus: ['GET', `${consent}/status`],
    deleteConsent: ['DELETE', consent],
    ...(hasAuthorisations && {
      startAuthorisation: ['POST', `${consent}/authorisations`],
      updateAuthorisation: ['PUT', `${consent}/authorisations/{authorisation}`],
      authorisationStatus: ['GET', `${consent}/authorisations/{authorisation}`],
    }),
    accounts: ['GET', `${root}/accounts`],
    balances: ['GET', `${root}/accounts/{account}/balances`],
    ...(cardAccounts && {
      cardAccounts: ['GET', `${root}/card-accounts`],
      cardBalances: ['GET', `${root}/card-accounts/{account}/balances`],
    }),
  } as const satisfies AllowedOperations
}

/** The members of a registration that decide which operations there are. */
type OperationRules = Pick<BerlinGroupProfile, 'paths' | 'sca'> & { readonly cardAccounts: boolean }

/** The name of an operation. */
export type Operation = keyof Required<ReturnType<typeof operationsOf>>
/** Calls an operation of the bank. */
export type CallBank = (operation: Operation, call?: BankCall) => Promise<BankResponse>

/** A client credentials token is reused for this long. */
export const CLIENT_TOKEN_TTL_MS = 4 * MINUTE_MS

/** Message codes that are more specific than their HTTP status (1.3.11, 14.11). */
const ERROR_CODES: ErrorCodes = {
  codes: createCodeMap<ErrorCode>({
    CONSENT_INVALID: 'RECONNECT_REQUIRED',
    CONSENT_EXPIRED: 'RECONNECT_REQUIRED',
    CONSENT_UNKNOWN: 'RECONNECT_REQUIRED',
    TOKEN_UNKNOWN: 'RECONNECT_REQUIRED',
    TOKEN_INVALID: 'RECONNECT_REQUIRED',
    TOKEN_EXPIRED: 'RECONNECT_REQUIRED',
    RESOURCE_UNKNOWN: 'BALANCE_NOT_PROVIDED',
    RESOURCE_EXPIRED: 'BALANCE_NOT_PROVIDED',
    SERVICE_BLOCKED: 'BANK_REFUSED',
    CERTIFICATE_INVALID: 'BANK_REFUSED',
    CERTIFICATE_EXPIRED: 'BANK_REFUSED',
    CERTIFICATE_MISSING: 'BANK_REFUSED',
    SIGNATURE_INVALID: 'BANK_REFUSED',
    SIGNATURE_MISSING: 'BANK_REFUSED',
    PSU_CREDENTIALS_INVALID: 'BANK_REFUSED',
    FORMAT_ERROR: 'BANK_REFUSED',
    // The daily quota of this consent is used up; the bank itself is available.
    ACCESS_EXCEEDED: 'BANK_QUOTA_EXHAUSTED',
  }),
}

const withQuery = (call: BankCall = {}, query: Readonly<Record<string, string>>): BankCall => ({
  ...call,
  query: { ...query, ...call.query },
})

/** Calls to one bank, as its profile says. */
export type BerlinGroupClient = ReturnType<typeof createBerlinGroupClient>

/** Creates the calls to a bank: their headers, tokens and signatures. */
export function createBerlinGroupClient(
  registration: Registration & { readonly cardAccounts: boolean },
  profile: BerlinGroupProfile,
  tools: ConnectorTools,
  oauth: OauthClient | undefined,
) {
  const { clientId } = registration
  const sign = profile.signatures ? createRequestSigner(profile.signatures, tools, clientId) : undefined
  const operations: AllowedOperations = operationsOf({ ...profile, cardAccounts: registration.cardAccounts })
  const callApi = createBankApi(operations, registration.apiBase, tools, ERROR_CODES, sign)
  const { queryParameters } = profile
  const callBank: CallBank = (operation, call) =>
    callApi(operation, Object.keys(queryParameters).length === 0 ? call : withQuery(call, queryParameters))

  const clientToken = async (): Promise<string | undefined> =>
    profile.clientToken ? await oauth?.clientCredentialsToken() : undefined

  /** Headers of every request. */
  const commonHeaders = (token: string | undefined): Record<string, string> => ({
    ...(token !== undefined && token !== '' && { authorization: `Bearer ${token}` }),
    'x-request-id': createInteractionId(tools),
    ...(profile.clientIdHeader !== null && clientId !== undefined && { [profile.clientIdHeader]: clientId }),
  })

  return {
    callBank,
    clientToken,
    commonHeaders,

    /** Headers of requests about a consent: with the customer's token if that is all there is. */
    consentHeaders: async (accessToken?: string): Promise<Record<string, string>> =>
      commonHeaders(accessToken ?? (await clientToken())),

    /** The customer's address as the bank types it (1.3.11, 6.3.1). Undefined if it is of another kind: a false one is a breach. */
    addressOf: ({ ip }: PresentCustomer): string | undefined =>
      profile.customerIp === 'IPV4' && ip.includes(':') ? undefined : ip,

    /** Throws `BANK_RESPONSE_INVALID` if the bank states the status of another consent. */
    async fetchConsentStatus(consentRef: string, accessToken?: string): Promise<string> {
      const response = await callBank('consentStatus', {
        params: { consent: consentRef },
        headers: commonHeaders(accessToken ?? (await clientToken())),
      })
      const { consentStatus, consentId = consentRef } = parseResponse(consentStatusResponse, response, tools.report)
      if (consentId !== consentRef)
        throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'the status is of another consent' })
      return consentStatus
    },
  }
}
