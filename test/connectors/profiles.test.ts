import { describe, expect, test } from 'vitest'
import type { ZodError } from 'zod'
import {
  bankProfiles,
  completeProfile,
  parseProfiles,
  planRequests,
  requirementsOf,
  STANDARDS,
  type BankProfile,
} from '../../src/connectors/index.ts'
import { urlFault } from '../../src/kernel/addresses.ts'
import type { GatewayError } from '../../src/kernel/errors.ts'
import { parseRegistration } from '../../src/modules/banks/registration.ts'

const PRODUCTION = { urlFault: (url: string) => urlFault(url, { allowLoopback: false, allowPlainHttp: false }) }
const profiles = [...bankProfiles().values()]
const inReach = profiles.filter(({ outOfReach }) => outOfReach === null)
/** What the operator states, with documentation addresses. Other members are addresses, or text. */
const OPERATOR: Readonly<Record<string, unknown>> = {
  'bank.id': 'some-bank',
  'bank.name': 'Some Bank',
  authorizationServer: 'https://auth.bank.example',
  apiBase: 'https://api.bank.example/v1',
  trustAnchors: [],
  'certificates.transport': 'ISSUED',
  'customerIdentification.label': 'NATIONAL_ID',
  'oauth.clientAuthentication': 'client_secret_post',
}
const statedMembers = ({ operatorStates, registration }: BankProfile): unknown => {
  const { origin } = new URL((registration['authorizationServer'] ?? OPERATOR['authorizationServer']) as string)
  return operatorStates.reduce<unknown>((members, path) => {
    const value = Object.hasOwn(OPERATOR, path) ? OPERATOR[path] : `${origin}/x`
    const nested = path.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value)
    return completeProfile(nested, members)
  }, {})
}
const faultsOf = (profile: string, registration: unknown = {}, standard?: string): string[] => {
  try {
    parseRegistration({ profile, registration, standard }, PRODUCTION)
    return []
  } catch (error) {
    return (error as GatewayError).faults.map(({ message }) => message)
  }
}

describe('the profiles of named banks', () => {
  test.each(inReach.map((profile) => [profile.id, profile] as const))(
    'the profile %s is a complete registration with the members that it leaves open, and no others',
    (id, profile) => {
      expect(faultsOf(id, statedMembers(profile))).toEqual([])
      expect(faultsOf(id)).toEqual(
        profile.operatorStates.map(
          (path) => `\`registration.${path}\` must be stated: the profile leaves it to the operator (docs/BANKS.md).`,
        ),
      )
    },
  )

  test.each(inReach.map((profile) => [profile.id, profile] as const))(
    'the plan of %s reaches only operations of the standard, never purchases',
    (id, profile) => {
      const { standard, registration } = parseRegistration(
        { profile: id, registration: statedMembers(profile) },
        PRODUCTION,
      )
      const requests = planRequests(STANDARDS[standard], registration)
      const text = JSON.stringify([requests, registration.oauth?.scope, registration.oauth?.authorizationParameters])
      expect(text).not.toMatch(
        /transaction|statement|payment|payee|beneficiar|direct.?debit|standing.?order|reward|receipt/i,
      )
      // Where there is no OAuth, the response to the consent leads to the sign-in.
      const signIn = requests.find(({ method, purpose }) => method === 'BROWSER' || purpose === 'createConsent')
      expect(signIn).toBeDefined()
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
    const banks = inReach
      .filter(({ operatorStates }) => !operatorStates.includes('bank.id'))
      .map(({ registration }) => registration['bank'] as { id: string; name: string })
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
    expect(faultsOf('mx', hostile).join()).toContain('registration')
  })

  test('an unknown profile, another standard and unknown members are refused by path', () => {
    expect(faultsOf('monzzo')).toEqual(['`profile` must be the id of a profile (docs/BANKS.md); did you mean monzo?'])
    for (const stated of ['halifax', 'Halfax', 'lloyds/halfax'])
      expect(faultsOf(stated).join()).toContain('did you mean lloyds/halifax?')
    expect(faultsOf('busines').join()).not.toContain('did you mean')
    expect(faultsOf('mx', {}, 'CDR')).toEqual(['`standard` must be FDX, or absent: the profile names it.'])
    const faults = faultsOf('mx', { oauth: { scop: 'x' }, apiBse: 1 }).join('\n')
    for (const path of ['apiBse', 'oauth.scop', 'bank.id']) expect(faults).toContain(`\`registration.${path}\``)
  })

  test('members of a registration request are required only without a client ID', () => {
    expect(bankProfiles().get('monzo')!.operatorStates).toEqual([
      'dynamicRegistration.audience',
      'dynamicRegistration.subjectDn',
    ])
    expect(faultsOf('monzo', { clientId: 'issued-by-hand' })).toEqual([])
    expect(faultsOf('ozone', { clientId: 'issued-by-hand' }).join()).toContain('registration.apiBase')
  })

  test('the requirements name what an operator must bring', () => {
    const required = (members: object): string[] => {
      const stated = completeProfile(statedMembers(bankProfiles().get('mx')!), members)
      const { standard, registration } = parseRegistration({ profile: 'mx', registration: stated }, PRODUCTION)
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

describe('the document of a profile', () => {
  const document = {
    version: 1,
    standard: 'FDX',
    banks: ['Some Bank'],
    evidence: [{ kind: 'BANK', source: 'bank.example', readOn: '2026-11-27' }],
    triedAtBank: null,
    operatorStates: ['apiBase', 'oauth.metadataUrl'],
    registration: { bank: { id: 'some-bank', country: 'US' }, oauth: { usesPar: false } },
    brands: {
      other: {
        banks: ['Other Bank'],
        operatorStates: ['trustAnchors'],
        registration: { bank: { id: 'other' }, apiBase: 'https://api.other.example' },
      },
      unreachable: { banks: ['Unreachable Bank'], outOfReach: 'its sign-in needs a password', registration: {} },
    },
  }

  test('a brand has the members of its document with its own over them, and leaves the others open', () => {
    const [base, brand, unreachable] = parseProfiles('some', document)
    expect(base).toMatchObject({ id: 'some', operatorStates: ['apiBase', 'oauth.metadataUrl'] })
    expect(brand).toMatchObject({
      id: 'some/other',
      banks: ['Other Bank'],
      evidence: document.evidence,
      operatorStates: ['oauth.metadataUrl', 'trustAnchors'],
      outOfReach: null,
      registration: { bank: { id: 'other', country: 'US' }, oauth: { usesPar: false } },
    })
    expect(unreachable).toMatchObject({ id: 'some/unreachable', outOfReach: 'its sign-in needs a password' })
  })

  test('a bank that speaks no standard is out of reach', () => {
    const withoutStandard = { ...document, standard: null }
    expect(() => parseProfiles('some', withoutStandard)).toThrow(
      'must name a standard unless `outOfReach` has a reason',
    )
    expect(
      parseProfiles('some', { ...withoutStandard, outOfReach: 'it has an API of its own' })[0]?.standard,
    ).toBeNull()
  })

  test('every unknown or wrong member is a fault at its path, all together', () => {
    const wrong = { ...document, bank: 'x', triedAtBank: 'yesterday', evidence: [{ kind: 'HEARSAY' }] }
    const paths = (() => {
      try {
        parseProfiles('some', wrong)
        return []
      } catch (error) {
        return (error as ZodError).issues.map((issue) =>
          [...issue.path, ...('keys' in issue ? issue.keys : [])].join('.'),
        )
      }
    })()
    expect(paths.sort()).toEqual(['bank', 'evidence.0.kind', 'evidence.0.readOn', 'evidence.0.source', 'triedAtBank'])
  })
})
