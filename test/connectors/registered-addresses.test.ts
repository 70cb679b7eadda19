import { describe, expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { urlFault } from '../../src/kernel/addresses.ts'
import type { GatewayError } from '../../src/kernel/errors.ts'
import { parseRegistration } from '../../src/modules/banks/registration.ts'
import { ADDRESS_ATTACKS, WILDCARDS } from '../support/address-attacks.ts'
import { leavesOf } from '../support/registration-members.ts'
import { ADDRESS, EXAMPLES } from '../support/standards.ts'

const PRODUCTION = { urlFault: (url: string) => urlFault(url, { allowLoopback: false, allowPlainHttp: false }) }
/** Texts that may look like a URL, and are only compared or sent as a value: no request goes there. */
const COMPARED_ONLY = [
  'events.issuer',
  'alertResponses.audience',
  'alertResponses.scope',
  'events.audience',
  'events.headerIssuer',
  'clientId',
  'oauth.requestObject.audience',
  'oauth.scope',
  'oauth.clientScope',
  'oauth.tokenScope',
  'dynamicRegistration.audience',
  'dynamicRegistration.subjectDn',
]

/** The same registration with `text` at one place. */
function withTextAt(given: unknown, [name, ...rest]: readonly string[], text: string): unknown {
  if (name === undefined) return text
  if (/^\d+$/.test(name)) return [withTextAt((given as unknown[] | undefined)?.[0], rest, text)]
  return {
    ...(given as object | undefined),
    [name]: withTextAt((given as Record<string, unknown> | undefined)?.[name], rest, text),
  }
}

function faultsOf(standard: StandardId, registration: unknown): readonly (readonly string[])[] {
  try {
    parseRegistration({ standard, registration }, PRODUCTION)
    return []
  } catch (error) {
    return (error as GatewayError).faults.map(({ path }) => path)
  }
}

describe.each(Object.keys(STANDARDS) as StandardId[])('a registration of %s', (standard) => {
  const good = { ...EXAMPLES[standard].registration }
  // A text can stand wherever the schema has one, whatever the standard says of it.
  const places = leavesOf(STANDARDS[standard].registration(ADDRESS)).flatMap(({ path, type }) =>
    type === 'string' ? [path] : [],
  )

  test('a valid registration has no fault, so every refusal below is due to the attack', () => {
    expect(faultsOf(standard, good)).toEqual([])
    const names = places.map((path) => path.join('.'))
    expect(names).toEqual(
      expect.arrayContaining([
        'authorizationServer',
        'oauth.metadataUrl',
        'oauth.endpoints.token',
        'apiBase',
        'bankAppUrl',
        'testInterface',
        'authorizationOrigins.0',
      ]),
    )
    if (standard === 'OBIE') expect(names).toContain('eventsApi')
  })

  test.each(places.map((path) => [path.join('.'), path] as const).filter(([name]) => !COMPARED_ONLY.includes(name)))(
    '%s accepts no address that the gateway must not call',
    (_name, path) => {
      for (const attack of [...ADDRESS_ATTACKS, ...WILDCARDS]) {
        // Long or odd texts that are no URL are refused by the form of the field, and URLs by the address rules.
        if (URL.parse(attack) === null) continue
        const faults = faultsOf(standard, withTextAt(good, path, attack))
        expect(faults, attack).toContainEqual(['registration', ...path])
      }
    },
  )

  test('all faults are reported together, each with its field and limit and without the given value', () => {
    const given = {
      ...good,
      bank: { id: 'A B', name: '<i>', country: 'gb', naem: 1 },
      apiBase: 'http://user:secret@169.254.169.254/',
      clientId: 'two words',
      readTimeoutMs: 50,
      apiBasee: 'https://bank.example/secret',
      '<script>': 1,
    }
    let thrown: unknown
    try {
      parseRegistration({ standard, registration: given }, PRODUCTION)
    } catch (error) {
      thrown = error
    }
    const faults = (thrown as GatewayError).faults
    const told = Object.fromEntries(faults.map(({ path, message }) => [path.join('.'), message]))
    expect(Object.keys(told).sort()).toEqual(
      [
        'registration',
        'registration.apiBase',
        'registration.apiBasee',
        'registration.bank.country',
        'registration.bank.id',
        'registration.bank.naem',
        'registration.bank.name',
        'registration.clientId',
        'registration.readTimeoutMs',
      ].sort(),
    )
    expect(told['registration.apiBase']).toMatch(
      /must use https, must name no user or password, must name a public host/,
    )
    expect(told['registration.readTimeoutMs']).toBe('`registration.readTimeoutMs` must be at least 200.')
    expect(told['registration.apiBasee']).toContain('did you mean `apiBase`?')
    expect(told['registration.bank.naem']).toContain('did you mean `name`?')
    expect(told['registration.bank.id']).toContain('lower-case letters')
    expect(JSON.stringify(faults)).not.toMatch(/secret|<i>|<script>|two words|A B/)
  })
})
