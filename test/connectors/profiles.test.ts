import { describe, expect, test } from 'vitest'
import { bankProfiles, completeProfile, planRequests, requirementsOf, STANDARDS } from '../../src/connectors/index.ts'
import { urlFault } from '../../src/kernel/addresses.ts'
import type { GatewayError } from '../../src/kernel/errors.ts'
import { parseRegistration } from '../../src/modules/banks/registration.ts'

const PRODUCTION = { urlFault: (url: string) => urlFault(url, { allowLoopback: false, allowPlainHttp: false }) }
const profiles = [...bankProfiles().values()]
const inReach = profiles.filter(({ outOfReach }) => outOfReach === null)
const faultsOf = (profile: string, registration: unknown = {}, standard?: string): string[] => {
  try {
    parseRegistration({ profile, registration, standard }, PRODUCTION)
    return []
  } catch (error) {
    return (error as GatewayError).faults.map(({ message }) => message)
  }
}

describe('the profiles of named banks', () => {
  test.each(inReach.map(({ id }) => [id]))('the profile %s is a complete registration without any addition', (id) => {
    expect(faultsOf(id)).toEqual([])
  })

  test.each(inReach.map(({ id }) => [id]))(
    'the plan of %s reaches only operations of the standard, never purchases',
    (id) => {
      const { standard, registration } = parseRegistration({ profile: id, registration: {} }, PRODUCTION)
      const requests = planRequests(STANDARDS[standard], registration)
      const text = JSON.stringify([requests, registration.oauth?.scope, registration.oauth?.authorizationParameters])
      expect(text).not.toMatch(
        /transaction|statement|payment|payee|beneficiar|direct.?debit|standing.?order|reward|receipt/i,
      )
      expect(requests.find(({ method }) => method === 'BROWSER')).toBeDefined()
      expect(requests.some(({ purpose }) => purpose === 'accounts')).toBe(true)
    },
  )

  test.each(profiles.map((profile) => [profile.id, profile] as const))(
    'the profile %s states its sources, and no client id, secret or certificate of an operator',
    (_id, { evidence, registration }) => {
      expect(evidence.length).toBeGreaterThan(0)
      for (const member of ['clientId', 'testInterface']) expect(registration).not.toHaveProperty(member)
      expect(JSON.stringify(registration)).not.toMatch(/PRIVATE KEY|secret"/)
    },
  )

  test('banks of different profiles have different ids and names', () => {
    const banks = inReach.map(({ registration }) => registration['bank'] as { id: string; name: string })
    expect(new Set(banks.map(({ id }) => id)).size).toBe(banks.length)
    expect(new Set(banks.map(({ name }) => name)).size).toBe(banks.length)
  })
})

describe('a registration that begins with a profile', () => {
  test('members of the operator take precedence, inside objects too, and lists are replaced', () => {
    const profile = { a: 1, b: { c: [1, 2], d: 'kept' } }
    expect(completeProfile(profile, { b: { c: [3] }, e: null })).toEqual({ a: 1, b: { c: [3], d: 'kept' }, e: null })
    expect(completeProfile(profile, {})).toEqual(profile)
  })

  test('a member with the name of an inherited property changes no object but its own', () => {
    const hostile: unknown = JSON.parse(
      '{ "__proto__": { "polluted": true }, "constructor": { "prototype": { "polluted": true } } }',
    )
    completeProfile({ a: {} }, hostile)
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
    expect(faultsOf('akoya', hostile).join()).toContain('registration')
  })

  test('an unknown profile, another standard and unknown members are refused by path', () => {
    expect(faultsOf('akoyya')).toEqual(['`profile` must be the id of a profile (docs/BANKS.md); did you mean akoya?'])
    expect(faultsOf('akoya', {}, 'CDR')).toEqual(['`standard` must be FDX, or absent: the profile names it.'])
    expect(faultsOf('akoya', { oauth: { scop: 'x' }, apiBse: 1 }).join('\n')).toMatch(
      /apiBse[^]*oauth\.scop|oauth\.scop[^]*apiBse/,
    )
  })

  test('the requirements name what an operator must bring', () => {
    const required = (members: object): string[] => {
      const { standard, registration } = parseRegistration({ profile: 'akoya', registration: members }, PRODUCTION)
      return requirementsOf(STANDARDS[standard], registration)
    }
    expect(required({})).toEqual(['CLIENT_ID', 'CLIENT_SECRET'])
    const issued = { mutualTls: true, certificates: { transport: 'ISSUED', signing: 'ISSUED' } }
    expect(required({ ...issued, oauth: { clientAuthentication: 'tls_client_auth' } })).toEqual([
      'TRANSPORT_CERTIFICATE',
      'SIGNING_CERTIFICATE',
      'CLIENT_ID',
    ])
    expect(required({ oauth: { clientAuthentication: 'private_key_jwt' } })).toEqual(['CLIENT_ID', 'KEYS_AT_BANK'])
  })
})
