import { graphql, oauthClient, type GraphqlAnswer, type Token } from './oauth-client.ts'
import { Refusal, Usage } from './refusal.ts'
import { clientFile, type Sandbox } from './sandbox.ts'

export interface Options {
  readonly customer?: string
  readonly bank?: string
  readonly client?: string
  readonly scopes?: string
  readonly type?: string
  readonly severity?: string
  readonly file?: string
  readonly url?: string
  readonly platform?: string
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

export interface Terminal {
  readonly issuer: string
  readonly dataDir: string
  /** Where the gateway of these settings serves its metrics. */
  readonly metricsUrl: string
}

export interface Command {
  /** Also what the command takes: options and words that it does not name are refused, not ignored; `<id>…` is any number. */
  readonly usage: string
  readonly does: string
  /** What is printed; nothing where the command has written its own output. */
  run(terminal: Terminal, words: readonly string[], options: Options): Promise<unknown>
}

export const needed = <T>(value: T | undefined, what: string): T => {
  if (value === undefined) throw new Usage(`${what} is needed`)
  return value
}

/** One of the values that an option takes. */
export function choiceOf<T extends string>(option: string, given: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === given)
  if (found === undefined) throw new Usage(`${option} is one of ${allowed.join(', ')}`)
  return found
}

/** A whole number from 1 on. */
export function numberOf(option: string, given: string): number {
  if (!/^[1-9]\d{0,9}$/.test(given)) throw new Usage(`${option} is a whole number from 1 on`)
  return Number(given)
}

/** A time as the graph takes it: `now`, so many hours from now (`+4h`) or before (`-4h`), or one with a zone. */
export function timeOf(text: string): string {
  const hours = /^[+-]\d{1,4}(?=h$)/.exec(text)?.[0]
  if (text === 'now' || hours !== undefined) return new Date(Date.now() + Number(hours ?? 0) * 3_600_000).toISOString()
  // Without a zone it would be another time on every machine.
  const at = /^\d{4}-\d{2}-\d{2}T[\d:.]+(Z|[+-]\d{2}:\d{2})$/.test(text) ? new Date(text) : undefined
  if (at === undefined || Number.isNaN(at.getTime()))
    throw new Usage(`${text} is no time: now, +4h, -24h, or one with a zone such as 2026-12-31T08:00:00Z`)
  return at.toISOString()
}

export function bankOf({ addresses }: Sandbox, bank: string): string {
  const url = Object.hasOwn(addresses.banks, bank) ? addresses.banks[bank] : undefined
  if (!url) throw new Refusal(`there is no sandbox bank ${bank}: ${Object.keys(addresses.banks).join(', ')}`)
  return url
}

export async function own(terminal: Terminal, name: string, scope: string): Promise<Token> {
  const file = clientFile(terminal, name)
  if (file.issuer !== undefined && file.issuer !== terminal.issuer)
    throw new Refusal(
      `the key of ${name} is for ${file.issuer}, not ${terminal.issuer}: name it by --gateway or ISSUER`,
    )
  return oauthClient(terminal.issuer, file).own(scope)
}

/** A token of whoever acts: an admin asks for the admins' scope, a partner for its own. */
export async function actingAs(terminal: Terminal, as: string, admin: string, partner: string): Promise<Token> {
  const { scopes } = clientFile(terminal, as)
  const isAdmin = as === 'admin' || scopes?.includes('banks:manage') === true
  return own(terminal, as, isAdmin ? admin : partner)
}

export async function ask(
  terminal: Terminal,
  token: Token | undefined,
  query: string,
  field: string,
  variables: Record<string, unknown> = {},
): Promise<unknown> {
  const answer = await graphql(terminal.issuer, token, query, variables)
  return whole(answer)[field]
}

export async function change(
  terminal: Terminal,
  token: Token,
  query: string,
  variables: Record<string, unknown>,
  mutation: string,
  field: string,
): Promise<unknown> {
  const payload = whole(await graphql(terminal.issuer, token, query, variables))[mutation] as {
    userErrors: { code: string; path: string[]; message: string }[]
  } & Record<string, unknown>
  if (payload.userErrors.length > 0) throw refusalOf(payload.userErrors)
  return payload[field]
}

/** All faults at once, a line for each. */
export const refusalOf = (errors: readonly { code: string; path: readonly string[]; message: string }[]): Refusal =>
  new Refusal(
    errors
      .map(({ code, path, message }) => `${code}${path.length > 0 ? ` at ${path.join('.')}` : ''}: ${message}`)
      .join('\n'),
  )

function whole({ data, errors }: GraphqlAnswer): Record<string, unknown> {
  const [error] = errors ?? []
  if (error) throw new Refusal(`${error.extensions?.code ?? 'ERROR'}: ${error.message}`)
  return data ?? {}
}
