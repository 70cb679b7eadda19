import { z } from 'zod'
import type { Registration, RegistrationFault } from '../connector.ts'
import { keyAlgorithmOf, signatureMembers, type SignatureRules } from '../http-signatures.ts'
import { furtherParameters, type OauthProfile } from '../oauth-profile.ts'
import { commonRegistration } from '../registration.ts'
import { CUSTOMER_ID_LABELS, type CustomerIdLabel } from '../sign-in.ts'
import type { UrlSchema } from '../url-schema.ts'

/** What the gateway asks the customer before the consent (PSU-ID and PSU-ID-Type, 1.3.11, 4.8). */
interface CustomerIdentification {
  /** What the bank calls PSU-ID. Absent if it is not sent. */
  readonly label?: CustomerIdLabel | undefined
  /** The values of PSU-ID-Type. One is sent as it is; of several, the customer chooses one. */
  readonly types?: readonly { readonly value: string; readonly name: string }[] | undefined
}

/** How long the customer or the bank may take, in seconds. */
interface WaitingTimes {
  readonly pollAfterSeconds: number
  /** For the customer, who confirms in the bank's app. */
  readonly customerSeconds: number
  /** For the bank, whose consent is not valid yet when the customer returns. */
  readonly bankSeconds: number
}

/** How a Berlin Group bank speaks the standard. Every member has a default of the standard. */
export interface BerlinGroupProfile {
  /** How the customer signs in (1.3.11, 5). */
  readonly sca: 'OAUTH' | 'OAUTH_PRE_STEP' | 'REDIRECT' | 'DECOUPLED' | 'EMBEDDED'
  /** Whether the bank's embedded sign-in needs the customer's password, so that it cannot be used. */
  readonly needsPassword: boolean
  /** Whether the gateway gets a token of its own; otherwise its certificate identifies it. */
  readonly clientToken: boolean
  /** Which accounts the consent asks for: those that the customer chooses at the bank, all, or one that the customer names. */
  readonly consentAccess: 'BANK_OFFERED' | 'ALL_PSD2' | 'DEDICATED'
  readonly paths: { readonly version: string; readonly newConsents: 'consents' | 'bank-offered-consents' }
  readonly customerIdentification: CustomerIdentification
  /** Null if requests are not signed. */
  readonly signatures: SignatureRules | null
  /** Which addresses PSU-IP-Address may have. */
  readonly customerIp: 'ANY' | 'IPV4'
  /** Whether balances are read with the list of accounts. */
  readonly balancesWithAccounts: boolean
  /** The header in which the bank's API gateway expects the client id. Null if it does not. */
  readonly clientIdHeader: string | null
  /** What the bank expects in the query of every request. */
  readonly queryParameters: Readonly<Record<string, string>>
  readonly waiting: WaitingTimes
}

/** A registration, with members of the profile that differ from the standard. */
export interface BerlinGroupRegistration extends Registration, StatedProfile {
  readonly version: '1.3.11'
  readonly cardAccounts: boolean
}
type StatedProfile = { readonly [K in keyof BerlinGroupProfile]?: Stated<BerlinGroupProfile[K]> | undefined }
type Stated<T> = T extends WaitingTimes | BerlinGroupProfile['paths']
  ? { readonly [K in keyof T]?: T[K] | undefined }
  : T

const DEFAULTS: BerlinGroupProfile = {
  sca: 'OAUTH',
  needsPassword: false,
  clientToken: true,
  consentAccess: 'BANK_OFFERED',
  paths: { version: 'v1', newConsents: 'consents' },
  customerIdentification: {},
  signatures: null,
  customerIp: 'ANY',
  balancesWithAccounts: false,
  clientIdHeader: null,
  queryParameters: {},
  waiting: { pollAfterSeconds: 3, customerSeconds: 300, bankSeconds: 15 },
}

/** The stated members over the standard's defaults. */
export function resolveProfile(registration: StatedProfile): BerlinGroupProfile {
  const stated = Object.keys(DEFAULTS).flatMap((name) => {
    const value = registration[name as keyof BerlinGroupProfile]
    const standard = DEFAULTS[name as keyof BerlinGroupProfile]
    if (value === undefined) return []
    return [[name, name === 'paths' || name === 'waiting' ? { ...(standard as object), ...(value as object) } : value]]
  })
  return { ...DEFAULTS, ...(Object.fromEntries(stated) as Partial<BerlinGroupProfile>) }
}

const label = z.string().regex(/^[\p{L}\p{N} .&'-]{1,60}$/u, "1 to 60 letters, digits, spaces and . & ' -")

/** The query parameters of 1.3.11. */
const STANDARD_PARAMETERS: ReadonlySet<string> = new Set([
  'withbalance',
  'bookingstatus',
  'datefrom',
  'dateto',
  'entryreferencefrom',
  'deltalist',
])

/** The schema of a registration. Every URL uses `urlSchema`. */
export const registrationSchema = (urlSchema: UrlSchema): z.ZodType<BerlinGroupRegistration> =>
  z.strictObject({
    ...commonRegistration(urlSchema),
    authorizationServer: urlSchema.optional(),
    version: z.literal('1.3.11'),
    cardAccounts: z.boolean(),
    sca: z.enum(['OAUTH', 'OAUTH_PRE_STEP', 'REDIRECT', 'DECOUPLED', 'EMBEDDED']).optional(),
    needsPassword: z.boolean().optional(),
    clientToken: z.boolean().optional(),
    consentAccess: z.enum(['BANK_OFFERED', 'ALL_PSD2', 'DEDICATED']).optional(),
    paths: z
      .strictObject({
        version: z.string().regex(/^v\d{1,2}(\.\d{1,2})?$/, 'v and a number, such as v1 or v2'),
        newConsents: z.enum(['consents', 'bank-offered-consents']),
      })
      .partial()
      .optional(),
    customerIdentification: z
      .strictObject({
        label: z.enum(CUSTOMER_ID_LABELS),
        types: z
          .array(
            z.strictObject({
              value: z.string().regex(/^[\w.-]{1,64}$/, '1 to 64 letters, digits, dots, hyphens or underscores'),
              name: label,
            }),
          )
          .min(1)
          .max(20),
      })
      .partial()
      .optional(),
    signatures: signatureMembers.nullable().optional(),
    customerIp: z.enum(['ANY', 'IPV4']).optional(),
    balancesWithAccounts: z.boolean().optional(),
    clientIdHeader: z.enum(['x-ibm-client-id', 'x-client-id', 'app-id']).nullable().optional(),
    queryParameters: furtherParameters
      .refine(
        (record) => Object.keys(record).every((name) => !STANDARD_PARAMETERS.has(name.toLowerCase())),
        'must not name a parameter of the standard',
      )
      .optional(),
    waiting: z
      .strictObject({
        pollAfterSeconds: z.int().min(1).max(30),
        customerSeconds: z.int().min(30).max(300),
        bankSeconds: z.int().min(0).max(60),
      })
      .partial()
      .optional(),
  })

/** Whether the customer's tokens come from the bank's authorization server. */
export const usesOauth = ({ sca }: Pick<BerlinGroupProfile, 'sca'>): boolean =>
  sca === 'OAUTH' || sca === 'OAUTH_PRE_STEP'

/** The contradictions between members of a registration. */
export function berlinGroupFaults(registration: BerlinGroupRegistration, oauth: OauthProfile): RegistrationFault[] {
  const profile = resolveProfile(registration)
  const { sca, clientToken, signatures, paths, consentAccess } = profile
  const needsServer = usesOauth(profile) || clientToken
  const isSigned = signatures !== null
  const { events, mutualTls = false } = registration
  const rules: readonly (readonly [isBroken: boolean, path: readonly string[], message: string])[] = [
    [
      profile.needsPassword,
      ['needsPassword'],
      'must be false: a customer enters a password only on pages of the bank, so this sign-in cannot be used',
    ],
    [
      needsServer && registration.authorizationServer === undefined && !oauth.usesMetadataLink,
      ['authorizationServer'],
      'is required unless `sca` is REDIRECT, DECOUPLED or EMBEDDED and `clientToken` is false, or `oauth.usesMetadataLink` is true',
    ],
    [
      sca === 'OAUTH_PRE_STEP' && oauth.scope.includes('{consentId}'),
      ['oauth', 'scope'],
      'must not have {consentId} if `sca` is OAUTH_PRE_STEP: there is no consent yet',
    ],
    [
      oauth.usesMetadataLink && (clientToken || sca !== 'OAUTH'),
      ['oauth', 'usesMetadataLink'],
      'needs `sca` OAUTH and `clientToken` false: the link comes with the consent',
    ],
    [
      paths.newConsents !== 'consents' && consentAccess !== 'BANK_OFFERED',
      ['paths', 'newConsents'],
      'must be consents unless `consentAccess` is BANK_OFFERED',
    ],
    [
      isSigned && registration.certificates?.signing !== 'ISSUED',
      ['certificates', 'signing'],
      'must be ISSUED if requests are signed: the bank verifies them with the certificate',
    ],
    [
      isSigned && keyAlgorithmOf(signatures) !== oauth.signingAlgorithm,
      ['oauth', 'signingAlgorithm'],
      `must be ${isSigned ? keyAlgorithmOf(signatures) : ''} to sign requests with this algorithm: there is one signing key`,
    ],
    [
      (events?.pollUrl !== undefined || events?.stream !== undefined) && !clientToken && !mutualTls,
      ['events', events?.pollUrl === undefined ? 'stream' : 'pollUrl'],
      'needs `mutualTls` or `clientToken`: nothing else identifies the gateway there',
    ],
    [
      signatures?.placement === 'AUTHORIZATION' && needsServer,
      ['signatures', 'placement'],
      'must be SIGNATURE if requests have a token',
    ],
  ]
  return rules.flatMap(([isBroken, path, message]) => (isBroken ? [{ path, message }] : []))
}
