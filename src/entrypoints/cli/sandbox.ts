import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createBrowser } from './browser.ts'
import {
  customerOf,
  graphql,
  oauthClient,
  OauthRefusal,
  presenceStatement,
  type ClientFile,
  type Token,
} from './oauth-client.ts'
import { optIn } from './opt-in.ts'
import { Refusal } from './refusal.ts'

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
const RENEW_BEFORE_MS = 20_000

/** Throws a `Refusal` where no sandbox gateway has run on this data folder. */
export function openSandbox(issuer: string, dataDir: string): Sandbox {
  const file = join(dataDir, 'sandbox.json')
  if (!existsSync(file)) throw new Refusal(`no sandbox at ${dataDir}: start one with npm start`)
  const addresses = JSON.parse(readFileSync(file, 'utf8')) as Addresses
  if (addresses.gateway !== undefined && addresses.gateway !== issuer)
    throw new Refusal(
      `the sandbox at ${dataDir} belongs to ${addresses.gateway}, not to ${issuer}: name the other's folder by GUICHET_DATA_DIR, or this gateway by PORT or --gateway`,
    )
  return { issuer, dataDir, addresses }
}

/** A client's id and private key, by its name below the data folder or by the path of a file. */
export function clientFile({ dataDir }: Pick<Sandbox, 'dataDir'>, name: string): ClientFile {
  const file = keyFileOf(dataDir, name)
  if (file === undefined || !existsSync(file))
    throw new Refusal(`no key of a client ${name} below ${dataDir}: name its key file by --as <path>.json`)
  return JSON.parse(readFileSync(file, 'utf8')) as ClientFile
}

/** Where the key of `name` would be: a path ends with .json, a plain name is one of the data folder's. */
export function keyFileOf(dataDir: string, name: string): string | undefined {
  if (name.endsWith('.json')) return name
  return /^[\w-]+$/.test(name) ? join(dataDir, 'clients', `${name}.json`) : undefined
}

/** The banks where the persona has accounts. */
export async function banksOf({ addresses }: Sandbox, customer: string): Promise<string[]> {
  const found: string[] = []
  const known: string[] = []
  for (const [bank, url] of Object.entries(addresses.banks)) {
    const { customers } = (await (await fetch(`${url}/sandbox/customers`)).json()) as { customers: string[] }
    known.push(...customers)
    if (customers.includes(customer)) found.push(bank)
  }
  if (found.length === 0)
    throw new Refusal(`no sandbox bank knows ${customer}; there are ${[...new Set(known)].sort().join(', ')}`)
  return found
}

/** Opts the persona in at each bank, one after the other, as the same customer; the last token opens all of them. */
export async function optInEverywhere(
  sandbox: Sandbox,
  customer: string,
  wish: { clientId: string; bearer: boolean; scopes: readonly string[]; banks: readonly string[] },
): Promise<Token> {
  const client = clientFile(sandbox, wish.clientId)
  const browser = createBrowser()
  let token: Token | undefined
  for (const bank of wish.banks) {
    token = await optIn({
      issuer: sandbox.issuer,
      client,
      customer,
      bank,
      browser,
      scopes: wish.scopes,
      bearer: wish.bearer,
      ...(token?.idToken && { idTokenHint: token.idToken }),
    })
  }
  return token!
}

const tokenFile = ({ dataDir }: Sandbox, customer: string): string =>
  join(dataDir, 'tokens', `${customer.replace(/[^\w-]/g, '')}.json`)

/** The personas whose tokens are kept here. */
export function knownPersonas({ dataDir }: Sandbox): string[] {
  const folder = join(dataDir, 'tokens')
  const files = existsSync(folder) ? readdirSync(folder) : []
  return files.flatMap((name) => /^([\w-]+)\.json$/.exec(name)?.[1] ?? []).sort()
}

/** Forgets the persona's token: the next command begins with a new opt-in. */
export const dropToken = (sandbox: Sandbox, customer: string): void =>
  rmSync(tokenFile(sandbox, customer), { force: true })

/** Keeps the persona's token for the commands to come. */
export function keepToken(sandbox: Sandbox, customer: string, token: Token): void {
  mkdirSync(join(sandbox.dataDir, 'tokens'), { recursive: true, mode: 0o700 })
  writeFileSync(tokenFile(sandbox, customer), JSON.stringify(token), { mode: 0o600 })
}

/**
 * The persona's token of an earlier command, renewed; where there was none, a new one after an opt-in at every bank.
 * What the persona has withdrawn is not agreed to again behind their back: that is a `Refusal`.
 */
export async function tokenOf(sandbox: Sandbox, customer: string): Promise<Token> {
  if (!existsSync(tokenFile(sandbox, customer))) {
    const banks = await liveBanksOf(sandbox, customer)
    const token = await optInEverywhere(sandbox, customer, {
      clientId: 'chatterbox',
      bearer: false,
      scopes: DEFAULT_SCOPES,
      banks,
    })
    keepToken(sandbox, customer, token)
    return token
  }
  const token = await keptToken(sandbox, customer)
  if (!token)
    throw new Refusal(
      `the token of ${customer} is no longer valid; for a new opt-in: guichet sandbox token --customer ${customer}`,
    )
  return token
}

/** The persona's token of an earlier command, renewed; nothing where there was none, or it opens nothing any more. */
export async function keptToken(sandbox: Sandbox, customer: string): Promise<Token | undefined> {
  const file = tokenFile(sandbox, customer)
  if (!existsSync(file)) return undefined
  const known = JSON.parse(readFileSync(file, 'utf8')) as Token
  if (known.expiresAt - RENEW_BEFORE_MS > Date.now() && (await works(sandbox.issuer, known))) return known
  const client = oauthClient(sandbox.issuer, clientFile(sandbox, 'chatterbox'))
  const renewed =
    known.refreshToken === undefined
      ? undefined
      : await client.refresh(known.refreshToken, known.dpopJwk).catch(refused)
  if (!renewed || !(await works(sandbox.issuer, renewed))) return undefined
  const token = { ...known, ...renewed }
  keepToken(sandbox, customer, token)
  return token
}

/** What the messaging platform would sign while the persona writes to it. */
export async function presenceOf(sandbox: Sandbox, token: Token): Promise<string | undefined> {
  const customer = customerOf(token)
  return customer === undefined
    ? undefined
    : presenceStatement(sandbox.issuer, clientFile(sandbox, 'chatterbox'), customer)
}

function refused(error: unknown): undefined {
  if (!(error instanceof OauthRefusal)) throw error
}

/** The persona's banks that a customer can connect at this gateway now. */
export async function liveBanksOf(sandbox: Sandbox, customer: string): Promise<string[]> {
  const { data } = await graphql(sandbox.issuer, undefined, '{ banks { id } }')
  const live = ((data?.['banks'] ?? []) as { id: string }[]).map(({ id }) => id)
  const banks = (await banksOf(sandbox, customer)).filter((bank) => live.includes(bank))
  if (banks.length === 0) throw new Refusal(`${customer} has accounts only at banks that are not live here`)
  return banks
}

async function works(issuer: string, token: Token): Promise<boolean> {
  const { data } = await graphql(issuer, token, '{ customer { id } }')
  return Boolean(data?.['customer'])
}
