import { describe, expect, test } from 'vitest'
import {
  bankProfiles,
  completeProfile,
  describeAuthentication,
  describeSignIn,
  fillOpenMembers,
  openRequirements,
  planRequests,
  requestedDataOf,
  STANDARDS,
} from '../../src/connectors/index.ts'
import { parseRegistration } from '../../src/modules/banks/registration.ts'

/** The registration of a profile with these members of the operator. */
function registrationOf(id: string, members: object = {}) {
  const { standard, registration, operatorStates } = bankProfiles().get(id)!
  const filled = fillOpenMembers(completeProfile(registration, members), operatorStates)
  const parsed = parseRegistration({ standard, registration: filled.registration }, { urlFault: () => undefined })
  return [STANDARDS[parsed.standard], parsed.registration] as const
}
const requestsOf = (id: string, members?: object) => planRequests(...registrationOf(id, members))
const findRequest = (id: string, purpose: string, members?: object) =>
  requestsOf(id, members).find((request) => request.purpose === purpose)

describe('the plan of a registration', () => {
  test('the plan shows how a consent ends at the bank in every standard', () => {
    expect(findRequest('nationwide', 'deleteConsent')?.method).toBe('DELETE')
    expect(findRequest('commerzbank', 'deleteConsent')?.method).toBe('DELETE')
    expect(findRequest('mx', 'end of a consent')).toMatchObject({
      method: 'POST',
      url: '{revocation_endpoint} of the metadata',
      parameters: ['token'],
    })
    expect(findRequest('cdr-major-banks', 'end of a consent')).toMatchObject({
      method: 'POST',
      url: '{cdr_arrangement_revocation_endpoint} of the metadata',
      parameters: ['cdr_arrangement_id'],
    })
  })

  test('the plan shows the keys of the bank if it signs anything, and the registration if a statement leads to it', () => {
    expect(findRequest('nationwide', 'keys of the bank')?.url).toBe('{jwks_uri} of the metadata')
    expect(findRequest('commerzbank', 'keys of the bank')).toBeUndefined()
    expect(findRequest('nationwide', 'registration of the gateway')).toMatchObject({ method: 'POST' })
    expect(findRequest('nationwide', 'registration of the gateway', { clientId: 'one' })).toBeUndefined()
    expect(findRequest('barclays', 'registration of the gateway')).toBeUndefined()
  })

  test('a bank that knows the gateway by its certificate is sent requests with a client certificate', () => {
    expect(findRequest('commerzbank', 'tokens of the customer')?.authentication).toBe('client certificate')
    expect(findRequest('commerzbank', 'createConsent')?.authentication).toBe('client certificate')
    expect(describeAuthentication(...registrationOf('commerzbank'))).toBe('client certificate')
    expect(describeAuthentication(...registrationOf('nationwide'))).toBe('tls_client_auth, mutual TLS')
  })

  test('a client ID is needed unless it is stated, or a software statement leads to it', () => {
    const requirements = (id: string, members?: object) => openRequirements(...registrationOf(id, members))
    const certificates = ['TRANSPORT_CERTIFICATE', 'SIGNING_CERTIFICATE']
    expect(requirements('nationwide')).toEqual([...certificates, 'SOFTWARE_STATEMENT'])
    expect(requirements('nationwide', { clientId: 'one' })).toEqual(certificates)
    expect(requirements('barclays')).toEqual([...certificates, 'CLIENT_ID'])
    expect(requirements('barclays', { clientId: 'one' })).toEqual(certificates)
  })

  test('a bank whose standard asks by scope alone shows its scope as the data that is requested', () => {
    expect(requestedDataOf(...registrationOf('cdr-major-banks'))).toEqual(['openid', 'bank:accounts.basic:read'])
    expect(requestedDataOf(...registrationOf('commerzbank'))).toEqual(['accounts', 'balances'])
  })

  test('the sign-in names the request and the response, or what the gateway asks the customer', () => {
    expect(describeSignIn(...registrationOf('nationwide'))).toBe(
      'code id_token, signed (PS256) request, response in the fragment',
    )
    const embedded = { sca: 'EMBEDDED', consentAccess: 'DEDICATED', customerIdentification: { label: 'USER_NAME' } }
    expect(describeSignIn(...registrationOf('unicredit', embedded))).toBe(
      'a code on the page of the gateway (embedded); the gateway asks for PSU-ID, the IBAN of the account, the method, the code',
    )
  })
})
