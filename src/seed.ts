import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, type JWK } from 'jose'
import type { App } from './app.ts'
import { ConfigError } from './config.ts'
import { ADMIN_SCOPES, CLIENT_SCOPES, CUSTOMER_SCOPES, PARTNER_SCOPES, type Scope } from './kernel/scopes.ts'
import type { World } from './kernel/world.ts'
import { RETRIES } from './kernel/retry.ts'
import type { Organization } from './modules/clients/index.ts'

/** The addresses of the sandbox banks and the sandbox platform. */
export interface SandboxAddresses {
  readonly banks: Readonly<Record<string, string>>
  readonly platform: string
  /** The issuer of their gateway, which the CLI uses. */
  readonly gateway?: string
}

interface SeedClient {
  readonly id: string
  readonly organization: Pick<Organization, 'kind' | 'name'>
  readonly name: string
  readonly scopes: readonly Scope[]
  /** Where its redirect URI points: the sandbox platform or the gateway's explorer. */
  readonly redirectTarget?: 'PLATFORM' | 'EXPLORER'
  readonly bearer?: true
}

const GUICHET = { kind: 'OPERATOR', name: 'Guichet' } as const
const CHATTERBOX = { kind: 'PLATFORM', name: 'Chatterbox' } as const

/** The clients that the seed registers. */
const SEED_CLIENTS: readonly SeedClient[] = [
  { id: 'admin', organization: GUICHET, name: 'Guichet admin', scopes: ADMIN_SCOPES },
  {
    id: 'chatterbox',
    organization: CHATTERBOX,
    name: 'Chatterbox',
    scopes: [...CUSTOMER_SCOPES, ...CLIENT_SCOPES],
    redirectTarget: 'PLATFORM',
  },
  {
    id: 'chatterbox-bearer',
    organization: CHATTERBOX,
    name: 'Chatterbox with bearer tokens',
    scopes: [...CUSTOMER_SCOPES, ...CLIENT_SCOPES],
    redirectTarget: 'PLATFORM',
    bearer: true,
  },
  {
    id: 'explorer',
    organization: GUICHET,
    name: 'Guichet explorer',
    scopes: CUSTOMER_SCOPES,
    redirectTarget: 'EXPLORER',
  },
  {
    id: 'northbank-partner',
    organization: { kind: 'BANK', name: 'Northbank plc' },
    name: 'Northbank',
    scopes: PARTNER_SCOPES,
  },
  {
    id: 'rheinbank-partner',
    organization: { kind: 'BANK', name: 'Rheinbank AG' },
    name: 'Rheinbank',
    scopes: PARTNER_SCOPES,
  },
  {
    id: 'eastbank-partner',
    organization: { kind: 'BANK', name: 'Eastbank plc' },
    name: 'Eastbank',
    scopes: PARTNER_SCOPES,
  },
  {
    id: 'westbank-partner',
    organization: { kind: 'BANK', name: 'Westbank NA' },
    name: 'Westbank',
    scopes: PARTNER_SCOPES,
  },
  {
    id: 'lakebank-partner',
    organization: { kind: 'BANK', name: 'Lakebank NA' },
    name: 'Lakebank',
    scopes: PARTNER_SCOPES,
  },
  {
    id: 'southbank-partner',
    organization: { kind: 'BANK', name: 'Southbank Ltd' },
    name: 'Southbank',
    scopes: PARTNER_SCOPES,
  },
]

/** The banks that the seed activates. Partners can register the others. */
const ACTIVE_BANKS = ['northbank', 'rheinbank', 'westbank', 'southbank']

/** Dependencies of the seed. */
export interface SeedOptions {
  readonly app: App
  readonly world: Pick<World, 'http' | 'timers'>
  readonly dataDir: string
  readonly addresses: SandboxAddresses
}

/** Fills an empty sandbox; existing data stays. Writes the key files of the CLI below `dataDir`. */
export async function seedSandbox({ app, world, dataDir, addresses }: SeedOptions): Promise<void> {
  const { clients, banks, deliveries } = app.services
  mkdirSync(join(dataDir, 'clients'), { recursive: true, mode: 0o700 })
  for (const client of SEED_CLIENTS) await seedClient(client)
  await Promise.all(ACTIVE_BANKS.map(seedBank))
  await seedWebhook()
  writeFileSync(join(dataDir, 'sandbox.json'), JSON.stringify({ ...addresses, gateway: app.issuer }))

  async function seedClient({ id, organization, name, scopes, redirectTarget, bearer }: SeedClient): Promise<void> {
    const key = await app.sharedSecret<JWK>(`sandbox-client:${id}`, async () => {
      const { privateKey } = await generateKeyPair('ES256', { extractable: true })
      return { ...(await exportJWK(privateKey)), kid: `${id}-1`, alg: 'ES256', use: 'sig' }
    })
    const redirectUri =
      redirectTarget && (redirectTarget === 'EXPLORER' ? app.explorerRedirectUri : `${addresses.platform}/callback`)
    const existing = await clients.find(id)
    if (!existing) {
      const owner =
        (await clients.organizations.findByName(organization.name)) ??
        (await clients.organizations.register('sandbox', organization))
      const { d: _private, ...publicKey } = key
      const registration = {
        organizationId: owner.id,
        name,
        jwks: { keys: [publicKey] },
        redirectUris: redirectUri ? [redirectUri] : [],
        scopes,
        tokenBinding: bearer ? ('BEARER' as const) : ('DPOP' as const),
      }
      await clients.register('sandbox', registration, { id, areKeysAuthenticated: true })
    } else if (redirectUri && existing.status === 'ACTIVE' && !existing.redirectUris.includes(redirectUri))
      // The sandbox platform has moved to another address.
      await clients.update('sandbox', id, { redirectUris: [redirectUri] })
    const file = join(dataDir, 'clients', `${id}.json`)
    if (existsSync(file) && readFileSync(file, 'utf8').includes('"issuer":'))
      throw new Error(`${file} is an admin key of another gateway: start the sandbox with another GUICHET_DATA_DIR`)
    writeFileSync(file, JSON.stringify({ clientId: id, key, redirectUri }), { mode: 0o600 })
  }

  /** Registers, certifies and activates one bank, as a partner and an admin would. */
  async function seedBank(bankId: string): Promise<void> {
    const partner = `${bankId}-partner`
    let [connector] = await banks.connectorsOfClient(partner)
    const { text } = await world.http.send({
      method: 'GET',
      url: `${addresses.banks[bankId]}/sandbox/registration`,
      timeoutMs: 5_000,
      maxBytes: 65_536,
    })
    const { standard, registration } = JSON.parse(text) as {
      standard: string
      registration: { authorizationServer: string }
    }
    connector ??= await banks.register(partner, { standard, registration })
    const { authorizationServer } = connector.registration
    // Another sandbox may now use the registered address, so nothing is sent to it.
    if (authorizationServer !== registration.authorizationServer)
      throw new ConfigError([
        `GUICHET_SANDBOX_PORT: in this database, ${bankId} is at ${authorizationServer}; set the ports that the database was created with, or use another database`,
      ])
    await registerAtSandboxBank(connector)
    if (connector.status === 'DRAFT') {
      await banks.startCertification(partner, connector.id)
      connector = (await banks.findConnector(connector.id))!
    }
    while (connector.status === 'CERTIFYING') {
      // The run is executed here or in the worker, whichever claims it first.
      if (!(await banks.runNextCertification(['PARTNER'])))
        await world.timers.sleep(RETRIES.sandboxCertification.delaysMs[0])
      connector = (await banks.findConnector(connector.id))!
    }
    if (connector.status === 'CERTIFIED') await banks.activate('admin', connector.id)
    if (connector.status === 'DRAFT') {
      const [run] = (await banks.certificationRuns(connector.id, { first: 1 })).nodes
      const failed = run?.checks.find(({ status }) => status === 'FAILED')
      const reason = failed ? `${failed.name}: ${failed.code}` : `its certification: ${run?.failureCode}`
      throw new Error(`the sandbox bank ${bankId} does not pass ${reason}`)
    }
  }

  /** Registers the gateway as a client at the sandbox bank. */
  async function registerAtSandboxBank({
    id,
    bankId,
    jwks,
    registration,
  }: Awaited<ReturnType<typeof banks.register>>): Promise<void> {
    const { redirectUri, eventsUrl } = app.bankEndpoints(id)
    const { status } = await world.http.send({
      method: 'PUT',
      url: `${addresses.banks[bankId]}/sandbox/clients/${registration.clientId}`,
      body: JSON.stringify({ ...(jwks as object), redirectUri, eventsUrl }),
      timeoutMs: 5_000,
      maxBytes: 65_536,
    })
    if (status === 409)
      throw new ConfigError([
        `GUICHET_SANDBOX_PORT: the ${bankId} at this port belongs to another gateway; set the first port of this gateway's banks`,
      ])
  }

  async function seedWebhook(): Promise<void> {
    const secret = await app.sharedSecret(
      'sandbox-webhook',
      async () => (await deliveries.registerEndpoint('chatterbox', `${addresses.platform}/webhooks`)).signingSecret,
    )
    await world.http.send({
      method: 'PUT',
      url: `${addresses.platform}/sandbox/webhook-secret`,
      body: JSON.stringify({ secret }),
      timeoutMs: 5_000,
      maxBytes: 1_024,
    })
  }
}
