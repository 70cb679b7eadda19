import { executeGraphql, createOauthClient, type GraphqlResponse, type Token } from './oauth-client.ts'
import { CommandError, UsageError } from './errors.ts'
import { readClientFile, type Sandbox } from './sandbox.ts'

export interface Options {
  readonly customer?: string
  readonly bank?: string
  readonly client?: string
  readonly scopes?: string
  readonly type?: string
  readonly severity?: string
  readonly file?: string
  readonly url?: string
  readonly organization?: string
  readonly name?: string
  readonly 'redirect-uri'?: string[]
  readonly bearer?: boolean
  readonly json?: boolean
  readonly gateway?: string
  readonly metrics?: string
  readonly 'secret-file'?: string
  readonly 'key-file'?: string
  readonly as?: string
  readonly account?: string
  readonly kind?: string
  readonly from?: string
  readonly to?: string
  readonly incident?: boolean
  readonly 'dry-run'?: boolean
  readonly 'no-redirect-uris'?: boolean
  readonly 'points-per-minute'?: string
  readonly 'points-per-customer'?: string
  readonly operations?: string
  readonly since?: string
  readonly until?: string
  readonly interval?: string
  readonly limit?: string
  readonly action?: string[]
  readonly subject?: string
}

export interface CommandContext {
  readonly issuer: string
  readonly dataDir: string
  /** The address of the gateway's metrics. */
  readonly metricsUrl: string
}

export interface Command {
  /** The usage text. Options and arguments that it does not name are rejected; `<id>…` stands for any number of them. */
  readonly usage: string
  readonly description: string
  /** Returns the value to print; undefined if the command has printed its own output. */
  run(context: CommandContext, args: readonly string[], options: Options): Promise<unknown>
}

export const requireOption = <T>(value: T | undefined, optionName: string): T => {
  if (value === undefined) throw new UsageError(`${optionName} is required`)
  return value
}

/** Parses an option with a fixed set of values. Throws `UsageError` for any other value. */
export function parseChoice<T extends string>(option: string, value: string, allowed: readonly T[]): T {
  const choice = allowed.find((allowedValue) => allowedValue === value)
  if (choice === undefined) throw new UsageError(`${option} must be one of ${allowed.join(', ')}`)
  return choice
}

/** Parses a whole number from 1. Throws `UsageError` for anything else. */
export function parsePositiveInteger(option: string, value: string): number {
  if (!/^[1-9]\d{0,9}$/.test(value)) throw new UsageError(`${option} must be a whole number from 1`)
  return Number(value)
}

/** Parses a time: `now`, hours from now (`+4h`) or before now (`-4h`), or an ISO 8601 time with a zone. Returns ISO 8601. */
export function parseTime(text: string): string {
  const hours = /^[+-]\d{1,4}(?=h$)/.exec(text)?.[0]
  if (text === 'now' || hours !== undefined) return new Date(Date.now() + Number(hours ?? 0) * 3_600_000).toISOString()
  // Without a zone, the time would depend on the machine.
  const at = /^\d{4}-\d{2}-\d{2}T[\d:.]+(Z|[+-]\d{2}:\d{2})$/.test(text) ? new Date(text) : undefined
  if (at === undefined || Number.isNaN(at.getTime()))
    throw new UsageError(
      `${text} is not a time: use now, +4h, -24h, or a time with a zone such as 2026-12-31T08:00:00Z`,
    )
  return at.toISOString()
}

export function sandboxBankUrl({ addresses }: Sandbox, bank: string): string {
  const url = Object.hasOwn(addresses.banks, bank) ? addresses.banks[bank] : undefined
  if (!url)
    throw new CommandError(`there is no sandbox bank ${bank}; there are ${Object.keys(addresses.banks).join(', ')}`)
  return url
}

export async function requestClientToken(context: CommandContext, name: string, scope: string): Promise<Token> {
  const file = readClientFile(context, name)
  if (file.issuer !== undefined && file.issuer !== context.issuer)
    throw new CommandError(`the key of ${name} is for ${file.issuer}, not ${context.issuer}: set --gateway or ISSUER`)
  return createOauthClient(context.issuer, file).clientCredentials(scope)
}

/** A token for the client named by `--as`: with `adminScope` for an admin, with `partnerScope` for a partner. */
export async function requestTokenAs(
  context: CommandContext,
  as: string,
  adminScope: string,
  partnerScope: string,
): Promise<Token> {
  const { scopes } = readClientFile(context, as)
  const isAdmin = as === 'admin' || scopes?.includes('banks:manage') === true
  return requestClientToken(context, as, isAdmin ? adminScope : partnerScope)
}

export async function queryField(
  context: CommandContext,
  token: Token | undefined,
  query: string,
  field: string,
  variables: Record<string, unknown> = {},
): Promise<unknown> {
  const response = await executeGraphql(context.issuer, token, query, variables)
  return requireData(response)[field]
}

const MAX_PAGE_SIZE = 100

/** All items of a connection at the root; `args` are those of its field, such as `filter: { countries: ["GB"] }`. */
export async function queryAllNodes(
  context: CommandContext,
  token: Token | undefined,
  field: string,
  fields: string,
  args = '',
): Promise<unknown[]> {
  const nodes: unknown[] = []
  let after: string | null = null
  do {
    const query = `query ($after: Cursor) { ${field}(first: ${MAX_PAGE_SIZE}, after: $after ${args}) { nodes { ${fields} } pageInfo { hasNextPage endCursor } } }`
    const page = (await queryField(context, token, query, field, { after })) as {
      nodes: unknown[]
      pageInfo: { hasNextPage: boolean; endCursor: string | null }
    }
    nodes.push(...page.nodes)
    after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null
  } while (after !== null)
  return nodes
}

export async function mutate(
  context: CommandContext,
  token: Token,
  query: string,
  variables: Record<string, unknown>,
  mutation: string,
  field: string,
): Promise<unknown> {
  const payload = requireData(await executeGraphql(context.issuer, token, query, variables))[mutation] as {
    userErrors: { code: string; path: string[]; message: string }[]
  } & Record<string, unknown>
  if (payload.userErrors.length > 0) throw toCommandError(payload.userErrors)
  return payload[field]
}

/** One error with all user errors, one per line. */
export const toCommandError = (
  errors: readonly { code: string; path: readonly string[]; message: string }[],
): CommandError =>
  new CommandError(
    errors
      .map(({ code, path, message }) => `${code}${path.length > 0 ? ` at ${path.join('.')}` : ''}: ${message}`)
      .join('\n'),
  )

function requireData({ data, errors }: GraphqlResponse): Record<string, unknown> {
  const [error] = errors ?? []
  if (error) throw new CommandError(`${error.extensions?.code ?? 'ERROR'}: ${error.message}`)
  return data ?? {}
}
