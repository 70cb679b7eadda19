import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createBrowser } from './browser.ts'
import { subjectOf, executeGraphql, createOauthClient, createPresenceStatement, type Token } from './oauth-client.ts'
import { optIn } from './opt-in.ts'
import type { CommandContext } from './command.ts'
import { CommandError, OauthError } from './errors.ts'
import { mutate, queryField } from './graph.ts'
import { readClientFile, readJsonFile, readSandboxFile, type SandboxAddresses } from './key-files.ts'

/** A sandbox gateway on this machine, with its banks and the keys of its clients. */
export interface Sandbox {
  readonly issuer: string
  readonly dataDir: string
  readonly addresses: SandboxAddresses
}

/** The scopes of an opt-in, unless others are named. */
export const DEFAULT_SCOPES = ['accounts:read', 'balances:band', 'balances:exact', 'alerts:read', 'alerts:respond']
/** The sandbox platform's client. Its tokens are saved for later commands. */
export const PLATFORM_CLIENT = 'chatterbox'
const REFRESH_BEFORE_MS = 20_000

/** Throws `CommandError` if no sandbox gateway has run on this data folder, or another than `issuer`. */
export function openSandbox(issuer: string, dataDir: string): Sandbox {
  const addresses = readSandboxFile(dataDir)
  if (addresses === undefined) throw new CommandError(`no sandbox at ${dataDir}: start one with npm start`)
  if (addresses.gateway !== undefined && addresses.gateway !== issuer)
    throw new CommandError(
      `the sandbox at ${dataDir} belongs to ${addresses.gateway}, not to ${issuer}: name the other's folder by GUICHET_DATA_DIR, or this gateway by PORT or --gateway`,
    )
  return { issuer, dataDir, addresses }
}

/** URL of a sandbox bank. Throws `CommandError` if there is none with this ID. */
export function sandboxBankUrl({ addresses }: Sandbox, bank: string): string {
  const url = Object.hasOwn(addresses.banks, bank) ? addresses.banks[bank] : undefined
  if (!url)
    throw new CommandError(`there is no sandbox bank ${bank}; there are ${Object.keys(addresses.banks).join(', ')}`)
  return url
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
      `there is no sandbox customer ${customer}; there are ${[...new Set(allCustomers)].sort().join(', ')}`,
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

/** The personas whose tokens are saved in the data folder. */
export function listSavedPersonas({ dataDir }: Sandbox): string[] {
  const folder = join(dataDir, 'tokens')
  const files = existsSync(folder) ? readdirSync(folder) : []
  return files.flatMap((name) => /^([\w-]+)\.json$/.exec(name)?.[1] ?? []).sort()
}

/** Deletes the persona's token: their next command begins with a new opt-in. */
export const deleteSavedToken = (sandbox: Sandbox, customer: string): void =>
  rmSync(tokenFilePath(sandbox, customer), { force: true })

/** Saves the persona's token for later commands, in a file that only this account can read. */
export function saveToken(sandbox: Sandbox, customer: string, token: Token): void {
  mkdirSync(join(sandbox.dataDir, 'tokens'), { recursive: true, mode: 0o700 })
  writeFileSync(tokenFilePath(sandbox, customer), JSON.stringify(token), { mode: 0o600 })
}

/**
 * The persona's token of an earlier command, renewed if necessary. If there is none, the persona opts in at every bank. Throws
 * `CommandError` if the token is no longer valid: a persona who withdrew their consents does not opt in again without a command.
 */
export async function getOrCreateToken(sandbox: Sandbox, customer: string): Promise<Token> {
  if (!existsSync(tokenFilePath(sandbox, customer))) {
    const banks = await findConnectablePersonaBanks(sandbox, customer)
    const token = await optInAtBanks(sandbox, customer, {
      clientId: PLATFORM_CLIENT,
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

/** The persona's token of an earlier command, renewed if necessary; undefined if there is none or it is no longer valid. */
export async function loadSavedToken(sandbox: Sandbox, customer: string): Promise<Token | undefined> {
  const file = tokenFilePath(sandbox, customer)
  if (!existsSync(file)) return undefined
  const saved = readJsonFile(file) as Token
  if (saved.expiresAt - REFRESH_BEFORE_MS > Date.now() && (await isTokenValid(sandbox.issuer, saved))) return saved
  const client = createOauthClient(sandbox.issuer, readClientFile(sandbox, PLATFORM_CLIENT))
  const refreshed =
    saved.refreshToken === undefined
      ? undefined
      : await client.refresh(saved.refreshToken, saved.dpopJwk).catch(ignoreOauthError)
  if (!refreshed || !(await isTokenValid(sandbox.issuer, refreshed))) return undefined
  const token = { ...saved, ...refreshed }
  saveToken(sandbox, customer, token)
  return token
}

/** What the messaging platform signs while the persona writes to it. */
export async function signPresenceStatement(sandbox: Sandbox, token: Token): Promise<string | undefined> {
  const customer = subjectOf(token)
  return customer === undefined
    ? undefined
    : createPresenceStatement(sandbox.issuer, readClientFile(sandbox, PLATFORM_CLIENT), customer)
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

/** Runs a query as the persona and returns its `customer`. */
export async function queryCustomer(context: CommandContext, customer: string, query: string): Promise<unknown> {
  const token = await getOrCreateToken(openSandbox(context.issuer, context.dataDir), customer)
  return queryField(context, token, query, 'customer')
}

/** Withdraws these consents, or all that the token's customer gave its client. Returns them as they are then. */
export const withdrawConsents = (
  context: CommandContext,
  token: Token,
  input: { readonly consentIds: readonly string[] } | { readonly all: true },
): Promise<unknown> => mutate(context, token, 'withdrawConsents', input, 'consents { id status bank { id } }')
