import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildSchema, getNamedType, isInputObjectType } from 'graphql'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { urlFault } from '../../src/kernel/addresses.ts'
import type { UserError } from '../../src/kernel/user-errors.ts'
import { ADDRESS_ATTACKS, WILDCARDS } from '../support/address-attacks.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let admin: Token
let platform: Token
let partner: Token
let webhookEndpointId: string
beforeAll(async () => {
  gateway = await startGateway()
  admin = await gateway.own('admin', 'clients:manage organizations:manage')
  platform = await gateway.own('chatterbox', 'webhooks:manage')
  webhookEndpointId = (await gateway.app.services.deliveries.listEndpoints('chatterbox'))[0]!.id
  partner = await gateway.own('eastbank-partner', 'connectors:manage connectors:read')
})
afterAll(() => gateway.close())

interface Refused {
  readonly userErrors: readonly UserError[]
}
async function send(token: Token, mutation: string, type: string, input: object): Promise<Refused> {
  const query = `mutation ($input: ${type}!) { ${mutation}(input: $input) { userErrors { code path message } } }`
  const { data, errors } = await gateway.ask(token, query, { input })
  // A text that is no URL at all does not get past the scalar.
  if (errors) return { userErrors: [{ code: 'INVALID_INPUT', path: [], message: errors[0]!.message }] }
  return data![mutation] as Refused
}

const newKey = () => ({
  ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }),
  kid: 'k',
})
/** Every field of the contract by which a URL can be registered, and how. */
const URL_FIELDS: Readonly<Record<string, (url: string) => Promise<Refused>>> = {
  'RegisterClientInput.redirectUris': async (url) => {
    const one = await gateway.app.services.clients.organizations.findByName('Chatterbox')
    const rest = {
      organizationId: one!.id,
      name: 'Some client',
      jwks: { keys: [newKey()] },
      scopes: ['webhooks:manage'],
    }
    return send(admin, 'registerClient', 'RegisterClientInput', { ...rest, redirectUris: [url] })
  },
  'UpdateClientInput.redirectUris': (url) =>
    send(admin, 'updateClient', 'UpdateClientInput', { clientId: 'chatterbox', redirectUris: [url] }),
  'RegisterWebhookEndpointInput.url': (url) =>
    send(platform, 'registerWebhookEndpoint', 'RegisterWebhookEndpointInput', { url }),
  'UpdateWebhookEndpointInput.url': (url) =>
    send(platform, 'updateWebhookEndpoint', 'UpdateWebhookEndpointInput', { webhookEndpointId, url }),
}
const urlFieldsOfContract = (): string[] =>
  Object.values(buildSchema(readFileSync(join(import.meta.dirname, '../../schema.graphql'), 'utf8')).getTypeMap())
    .filter(isInputObjectType)
    .flatMap((type) =>
      Object.values(type.getFields())
        .filter(({ type: field }) => getNamedType(field).name === 'URL')
        .map(({ name }) => `${type.name}.${name}`),
    )

/** In the sandbox, loopback and plain http are allowed; everything else is as in production. */
const ATTACKS = [...ADDRESS_ATTACKS, ...WILDCARDS].filter(
  (url) => urlFault(url, { allowLoopback: true, allowPlainHttp: true }) !== undefined,
)

describe('a URL that is registered', () => {
  test('the tests below attack every contract field that takes a URL', () => {
    expect(urlFieldsOfContract().sort()).toEqual(Object.keys(URL_FIELDS).sort())
    expect(ATTACKS.length).toBeGreaterThan(70)
  })

  test.each(Object.keys(URL_FIELDS))(
    'the field %s refuses internal addresses and states what is allowed',
    async (name) => {
      const before = await gateway.database.query('select redirect_uris from client order by id')
      for (const attack of ATTACKS) {
        const { userErrors } = await URL_FIELDS[name]!(attack)
        expect(userErrors, attack).toHaveLength(1)
        expect(userErrors[0]!.code, attack).toMatch(/^(INVALID_INPUT|ADDRESS_NOT_ALLOWED)$/)
        if (userErrors[0]!.path.length > 0)
          expect(userErrors[0]!.message, attack).toMatch(/^`(url|redirectUris\[0\])` must /)
      }
      expect(await gateway.database.query('select redirect_uris from client order by id')).toEqual(before)
    },
  )

  test("the URL of a bank's events API is checked by the same rules", async () => {
    const { standard, registration } = (await (
      await fetch(`${gateway.sandbox.banks.eastbank}/sandbox/registration`)
    ).json()) as { standard: string; registration: Record<string, unknown> }
    for (const eventsApi of [
      'http://169.254.169.254/latest/meta-data',
      'https://10.1.2.3/events',
      'https://user:pass@bank.example/events',
      'https://bank.example/events#x',
    ]) {
      const input = { standard: 'OBIE', registration: { ...registration, version: '4.0', eventsApi } }
      const { userErrors: errors } = await send(partner, 'registerConnector', 'RegisterConnectorInput', input)
      expect(errors, `${standard} ${eventsApi}`).toMatchObject([
        { code: 'ADDRESS_NOT_ALLOWED', path: ['registration', 'eventsApi'] },
      ])
    }
  })
})
