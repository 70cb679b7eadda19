import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { exportJWK, generateKeyPair } from 'jose'
import { createBrowser, type Browser } from '../../src/entrypoints/cli/browser.ts'
import type { GraphqlResponse, Token } from '../../src/entrypoints/cli/oauth-client.ts'
import type { TestGateway } from './gateway.ts'

const SET = `mutation ($input: SetPlatformAccessInput!) { setPlatformAccess(input: $input) {
  connector { bank { id } platformAccess { mode organizations { id name } } } userErrors { code path message } } }`

/** The payload of `setPlatformAccess`. */
export interface SetPlatformAccessResult {
  readonly connector: {
    readonly platformAccess: { readonly mode: string; readonly organizations: readonly { id: string; name: string }[] }
  } | null
  readonly userErrors: readonly { code: string; path: readonly string[]; message: string }[]
}

/** The platforms that banks of a gateway serve. */
export function platformsOf(gateway: TestGateway) {
  const partnerOf = (bank: string) => gateway.own(`${bank}-partner`, 'connectors:manage connectors:read')

  async function connectorOf(bank: string): Promise<string> {
    const [connector] = (await gateway.app.services.banks.connectorsOfClient(`${bank}-partner`)).filter(
      ({ status }) => status === 'ACTIVE',
    )
    return connector!.id
  }

  const request = async (bank: string, access: object): Promise<GraphqlResponse> =>
    gateway.ask(await partnerOf(bank), SET, { input: { connectorId: await connectorOf(bank), access } })

  return {
    partnerOf,
    connectorOf,
    request,

    /** Sets which platforms a bank serves, as its partner. Throws if there are faults. */
    async set(bank: string, access: object): Promise<void> {
      const { userErrors } = (await request(bank, access)).data!['setPlatformAccess'] as SetPlatformAccessResult
      if (userErrors.length > 0) throw new Error(JSON.stringify(userErrors))
    },

    /** The ID of the organization of a client. */
    organizationOf: async (clientId: string): Promise<string> =>
      (await gateway.app.services.clients.find(clientId))!.organizationId,

    /** Registers another platform with a client of this ID, which has the scopes and redirect URIs of Chatterbox. */
    async add(id: string, name: string): Promise<string> {
      const { clients } = gateway.app.services
      const organization = await clients.organizations.register('admin', { kind: 'PLATFORM', name })
      const { privateKey } = await generateKeyPair('ES256', { extractable: true })
      const key = { ...(await exportJWK(privateKey)), kid: `${id}-1` }
      const { d: _private, ...publicKey } = key
      const { redirectUris, scopes } = (await clients.find('chatterbox'))!
      const registration = { name, jwks: { keys: [publicKey] }, redirectUris, scopes, tokenBinding: 'DPOP' as const }
      await clients.register('admin', { ...registration, organizationId: organization.id }, { id })
      const { redirectUri } = gateway.client('chatterbox')
      writeFileSync(join(gateway.dataDir, 'clients', `${id}.json`), JSON.stringify({ clientId: id, key, redirectUri }))
      return organization.id
    },
  }
}

/** One customer at two platforms. */
export interface CustomerOfTwoPlatforms {
  readonly browser: Browser
  readonly chatterbox: Token
  readonly messenger: Token
}

/** Registers the platform `messenger` and connects Northbank's customer `ada` at it and at Chatterbox, in one browser. */
export async function connectAtTwoPlatforms(gateway: TestGateway): Promise<CustomerOfTwoPlatforms> {
  await platformsOf(gateway).add('messenger', 'Messenger')
  const browser = createBrowser()
  const chatterbox = await gateway.customer('ada', ['northbank'], { browser })
  const messenger = await gateway.customer('ada', ['northbank'], { browser, clientId: 'messenger' })
  return { browser, chatterbox, messenger }
}
