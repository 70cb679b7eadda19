import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  subjectOf,
  executeGraphql,
  createOauthClient,
  createPresenceStatement,
  type ClientFile,
  type Token,
} from '../src/entrypoints/cli/oauth-client.ts'
import { openSandbox, optInAtBanks } from '../src/entrypoints/cli/sandbox.ts'
import { SANDBOX_BANKS } from '../src/sandbox/personas.ts'
import { startServer, type Server } from './process.ts'

/** The gateway as `npm start` runs it, with all features on and a customer who shares twenty accounts. */
export interface BenchGateway extends Server {
  readonly issuer: string
  readonly dataDir: string
  readonly token: Token
  client(id: string): ClientFile
  /** Gets a new access token; it is valid for five minutes. */
  refreshToken(): Promise<Token>
  /** The client's signed statement that its customer is present; it is valid for one minute. */
  createPresenceStatement(): Promise<string>
  postgresPid(): number
}

const ROOT = join(import.meta.dirname, '..')
const ALERTS_PER_ACCOUNT = 3
const MAX_QUOTA = 2_147_483_647

/** The address of the benchmark, which the gateway trusts as a proxy, so that each customer can have its own address. */
export const BENCH_PROXY = '127.0.0.1'

/** A header that gives the requests of customer `index` their own address, from the range for benchmarks (RFC 2544). */
export const addressHeader = (index: number): Record<string, string> => ({
  'x-forwarded-for': `198.18.${index >> 8}.${index & 255}`,
})

/** Raises a client's quotas to the highest allowed value. Throws if the update fails. */
export async function raiseQuotas(issuer: string, admin: ClientFile, clientId: string): Promise<void> {
  const response = await executeGraphql(
    issuer,
    await createOauthClient(issuer, admin).clientCredentials('clients:manage'),
    'mutation ($input: UpdateClientInput!) { updateClient(input: $input) { userErrors { code path } } }',
    { input: { clientId, pointsPerMinute: MAX_QUOTA, pointsPerCustomerPerMinute: MAX_QUOTA } },
  )
  const payload = response.data?.['updateClient'] as { userErrors: unknown[] } | null | undefined
  if (payload?.userErrors.length !== 0)
    throw new Error(`updateClient of ${clientId} failed: ${JSON.stringify(response)}`)
}

/** Starts a gateway with its own data folder, which `stop` deletes. */
export async function startGateway(port: number, sandboxPort: number): Promise<BenchGateway> {
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-bench-'))
  chmodSync(dataDir, 0o711)
  const server = await startServer('Guichet', port, [join(ROOT, 'src/main.ts')], {
    PORT: String(port),
    GUICHET_DATA_DIR: dataDir,
    GUICHET_SANDBOX_PORT: String(sandboxPort),
    GUICHET_LOG_LEVEL: 'warn',
    GUICHET_TRUSTED_PROXIES: BENCH_PROXY,
  })
  const issuer = `http://127.0.0.1:${port}`
  const client = (id: string): ClientFile =>
    JSON.parse(readFileSync(join(dataDir, 'clients', `${id}.json`), 'utf8')) as ClientFile

  await raiseQuotas(issuer, client('admin'), 'chatterbox-bearer')
  const sandbox = openSandbox(issuer, dataDir)
  let token = await optInAtBanks(sandbox, 'finn', {
    clientId: 'chatterbox-bearer',
    bearer: true,
    scopes: ['accounts:read', 'balances:band', 'balances:exact', 'alerts:read'],
    banks: ['northbank', 'rheinbank'],
  })
  for (const { id, accounts } of SANDBOX_BANKS)
    for (const account of accounts.filter(({ owners }) => owners.includes('finn')))
      for (let count = 0; count < ALERTS_PER_ACCOUNT; count++)
        await fetch(`${sandbox.addresses.banks[id]!}/sandbox/alerts`, {
          method: 'POST',
          body: JSON.stringify({ account: account.id, type: 'UNUSUAL_ACTIVITY_REVIEW' }),
        })
  return {
    ...server,
    issuer,
    dataDir,
    client,
    get token() {
      return token
    },
    async refreshToken() {
      const { refreshToken, dpopJwk } = token
      token = {
        ...token,
        ...(await createOauthClient(issuer, client('chatterbox-bearer'), true).refresh(refreshToken!, dpopJwk)),
      }
      return token
    },
    createPresenceStatement: () => createPresenceStatement(issuer, client('chatterbox-bearer'), subjectOf(token)!),
    postgresPid: () => Number(readFileSync(join(dataDir, 'postgresql/postmaster.pid'), 'utf8').split('\n')[0]),
    async stop() {
      await server.stop()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}
