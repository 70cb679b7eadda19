import { parseIban } from '../account-number.ts'
import type { SignInField, SignInValues } from '../sign-in.ts'
import type { BerlinGroupProfile } from './registration.ts'

/** What the customer stated before the consent. */
export interface Identification {
  readonly psuId?: string | undefined
  readonly psuIdType?: string | undefined
  /** The account of a dedicated consent. */
  readonly iban?: string | undefined
}

/** What is sent in a header: visible ASCII, with spaces inside. */
const PSU_ID = /^[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?$/

/** The fields that the customer fills in before the consent. */
export function identificationFields({ customerIdentification, consentAccess }: BerlinGroupProfile): SignInField[] {
  const { label, types = [] } = customerIdentification
  const choices = types.map(({ value, name }) => ({ value, label: name }))
  return [
    ...(types.length > 1 ? [{ name: 'PSU_ID_TYPE', choices } as const] : []),
    ...(label === undefined ? [] : [{ name: 'PSU_ID', label } as const]),
    ...(consentAccess === 'DEDICATED' ? [{ name: 'IBAN' } as const] : []),
  ]
}

/** Reads the fields. Undefined if one is missing or wrong. */
export function readIdentification(profile: BerlinGroupProfile, values: SignInValues): Identification | undefined {
  const { types = [] } = profile.customerIdentification
  const psuId = values.PSU_ID?.trim()
  const psuIdType = types.length > 1 ? values.PSU_ID_TYPE : types[0]?.value
  const iban = values.IBAN?.replaceAll(/\s/g, '').toUpperCase()
  const isValid = identificationFields(profile).every(({ name }) => {
    if (name === 'PSU_ID') return psuId !== undefined && PSU_ID.test(psuId)
    if (name === 'PSU_ID_TYPE') return types.some(({ value }) => value === psuIdType)
    return iban !== undefined && parseIban(iban) !== null
  })
  if (!isValid) return undefined
  const { label } = profile.customerIdentification
  return {
    ...(label !== undefined && { psuId }),
    ...(psuIdType !== undefined && { psuIdType }),
    ...(profile.consentAccess === 'DEDICATED' && { iban }),
  }
}

/** The `access` of the consent (1.3.11, 14.3). It never covers purchases, unless the bank has nothing but `allPsd2`. */
export function consentAccessOf({ consentAccess }: BerlinGroupProfile, { iban }: Identification): object {
  switch (consentAccess) {
    case 'BANK_OFFERED':
      // Empty lists let the customer choose the accounts at the bank.
      return { accounts: [], balances: [] }
    case 'ALL_PSD2':
      return { allPsd2: 'allAccounts' }
    case 'DEDICATED':
      return { accounts: [{ iban }], balances: [{ iban }] }
  }
}

/** PSU-ID and PSU-ID-Type (1.3.11, 4.8). */
export const identificationHeaders = ({ psuId, psuIdType }: Identification): Record<string, string> => ({
  ...(psuId !== undefined && { 'psu-id': psuId }),
  ...(psuIdType !== undefined && { 'psu-id-type': psuIdType }),
})
