import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createBrowser } from './browser.ts'
import {
  subjectOf,
  executeGraphql,
  createOauthClient,
  OauthError,
  createPresenceStatement,
  type ClientFile,
  type Token,
} from './oauth-client.ts'
import { optIn } from './opt-in.ts'
import { CommandError } from './errors.ts'

export interface Addresses {
  readonly banks: Readonly<Record<string, string>>
  readonly platform: string
  /** The gateway that they belong to. */
  readonly gateway?: string
}

/** What a terminal beside a sandbox gateway knows: where it is, and the keys that it laid out. */
export interface Sandbox {
  readonly issuer: string
  readonly dataDir: string
  readonly addresses: Addresses
}

export const DEFAULT_SCOPES = ['accounts:read', 'balances:band', 'balances:exact', 'alerts:read']
const REFRESH_BEFORE_MS = 20_000

/** Throws a `Refusal` where no sandbox gateway has run on this data folder. */
export function openSandbox(issuer: string, dataDir: string): Sandbox {
  const file = join(dataDir, 'sandbox.json')
  if (!existsSync(file)) throw new CommandError(`no sandbox at ${dataDir}: start one with npm start`)
  const addresses = JSON.parse(readFileSync(file, 'utf8')) as Addresses
  if (addresses.gateway !== undefined && addresses.gateway !== issuer)
    throw new CommandError(
      `the sandbox at ${dataDir} belongs to ${addresses.gateway}, not to ${issuer}: name the other's folder by GUICHET_DATA_DIR, or this gateway by PORT or --gateway`,
    )
  return { issuer, dataDir, addresses }
}

/** A client's id and private key, by its name below the data folder or by the path of a file. */
export function readClientFile({ dataDir }: Pick<Sandbox, 'dataDir'>, name: string): ClientFile {
  const file = keyFilePath(dataDir, name)
  if (file === undefined || !existsSync(file))
    throw new CommandError(`no key of a client ${name} below ${dataDir}: name its key file by --as <path>.json`)
  return JSON.parse(readFileSync(file, 'utf8')) as ClientFile
}

/** Where the key of `name` would be: a path ends with .json, a plain name is one of the data folder's. */
export function keyFilePath(dataDir: string, name: string): string | undefined {
  if (name.endsWith('.json')) return name
  return /^[\w-]+$/.test(name) ? join(dataDir, 'clients', `${name}.json`) : undefined
}

/** The banks where the persona has accounts. */
export async function findPersonaBanks({ addresses }: Sandbox, customer: string): Promise<string[]> {
  const found: string[] = []
  const allCustomers: string[] = []
  for (const [bank, url] of Object.entries(addresses.banks)) {
    const { customers } = (await (await fetch(`${url}/sandbox/customers`)).json()) as { customers: string[] }
    allCustomers.push(...customers)
    if (customers.includes(customer)) found.push(bank)
  }
  if (found.length === 0)
    throw new CommandError(
      `no sandbox bank knows ${customer}; there are ${[...new Set(allCustomers)].sort().join(', ')}`,
    )
  return found
}

/** Opts the persona in at each bank, one after the other, as the same customer; the last token opens all of them. */
export async function optInAtBanks(
  sandbox: Sandbox,
  customer: string,
  options: { clientId: string; bearer: boolean; scopes: readonly string[]; banks: readonly string[] },
): Promise<Token> {
  const client = readClientFile(sandbox, options.clientId)
  const browser = createBrowser()
  let token: Token | undefined
  for (const bank of options.banks) {
    token = await optIn({
      issuer: sandbox.issuer,
      client,
      customer,
      bank,
      browser,
      scopes: options.scopes,
      bearer: options.bearer,
      ...(token?.idToken && { idTokenHint: token.idToken }),
    })
  }
  return token!
}

const tokenFilePath = ({ dataDir }: Sandbox, customer: string): string =>
  join(dataDir, 'tokens', `${customer.replace(/[^\w-]/g, '')}.json`)

/** The personas whose tokens are kept here. */
export function listSavedPersonas({ dataDir }: Sandbox): string[] {
  const folder = join(dataDir, 'tokens')
  const files = existsSync(folder) ? readdirSync(folder) : []
  return files.flatMap((name) => /^([\w-]+)\.json$/.exec(name)?.[1] ?? []).sort()
}

/** Forgets the persona's token: the next command begins with a new opt-in. */
export const deleteSavedToken = (sandbox: Sandbox, customer: string): void =>
  rmSync(tokenFilePath(sandbox, customer), { force: true })

/** Keeps the persona's token for the commands to come. */
export function saveToken(sandbox: Sandbox, customer: string, token: Token): void {
  mkdirSync(join(sandbox.dataDir, 'tokens'), { recursive: true, mode: 0o700 })
  writeFileSync(tokenFilePath(sandbox, customer), JSON.stringify(token), { mode: 0o600 })
}

/**
 * The persona's token of an earlier command, renewed; where there was none, a new one after an opt-in at every bank.
 * What the persona has withdrawn is not agreed to again behind their back: that is a `Refusal`.
 */
export async function getOrCreateToken(sandbox: Sandbox, customer: string): Promise<Token> {
  if (!existsSync(tokenFilePath(sandbox, customer))) {
    const banks = await findConnectablePersonaBanks(sandbox, customer)
    const token = await optInAtBanks(sandbox, customer, {
      clientId: 'chatterbox',
      bearer: false,
      scopes: DEFAULT_SCOPES,
      banks,
    })
    saveToken(sandbox, customer, token)
    return token
  }
  const token = await loadSavedToken(sandbox, customer)
  if (!token)
    throw new CommandError(
      `the token of ${customer} is no longer valid; for a new opt-in: guichet sandbox token --customer ${customer}`,
    )
  return token
}

/** The persona's token of an earlier command, renewed; nothing where there was none, or it opens nothing any more. */
export async function loadSavedToken(sandbox: Sandbox, customer: string): Promise<Token | undefined> {
  const file = tokenFilePath(sandbox, customer)
  if (!existsSync(file)) return undefined
  const saved = JSON.parse(readFileSync(file, 'utf8')) as Token
  if (saved.expiresAt - REFRESH_BEFORE_MS > Date.now() && (await isTokenValid(sandbox.issuer, saved))) return saved
  const client = createOauthClient(sandbox.issuer, readClientFile(sandbox, 'chatterbox'))
  const refreshed =
    saved.refreshToken === undefined
      ? undefined
      : await client.refresh(saved.refreshToken, saved.dpopJwk).catch(ignoreOauthError)
  if (!refreshed || !(await isTokenValid(sandbox.issuer, refreshed))) return undefined
  const token = { ...saved, ...refreshed }
  saveToken(sandbox, customer, token)
  return token
}

/** What the messaging platform would sign while the persona writes to it. */
export async function signPresenceStatement(sandbox: Sandbox, token: Token): Promise<string | undefined> {
  const customer = subjectOf(token)
  return customer === undefined
    ? undefined
    : createPresenceStatement(sandbox.issuer, readClientFile(sandbox, 'chatterbox'), customer)
}

function ignoreOauthError(error: unknown): undefined {
  if (!(error instanceof OauthError)) throw error
}

/** The persona's banks that a customer can connect at this gateway now. */
export async function findConnectablePersonaBanks(sandbox: Sandbox, customer: string): Promise<string[]> {
  const { data } = await executeGraphql(
    sandbox.issuer,
    undefined,
    '{ banks(first: 100, filter: { availability: [AVAILABLE, OUTAGE] }) { nodes { id } } }',
  )
  const connection = data?.['banks'] as { nodes: { id: string }[] } | undefined
  const connectable = new Set(connection?.nodes.map(({ id }) => id))
  const banks = (await findPersonaBanks(sandbox, customer)).filter((bank) => connectable.has(bank))
  if (banks.length === 0)
    throw new CommandError(`${customer} has accounts only at banks that cannot be connected here now`)
  return banks
}

async function isTokenValid(issuer: string, token: Token): Promise<boolean> {
  const { data } = await executeGraphql(issuer, token, '{ customer { id } }')
  return Boolean(data?.['customer'])
}
