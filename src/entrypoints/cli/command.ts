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
}

export interface Terminal {
  readonly issuer: string
  readonly dataDir: string
  /** Where the gateway of these settings serves its metrics. */
  readonly metricsUrl: string
}

export interface Command {
  readonly usage: string
  readonly does: string
  run(terminal: Terminal, words: readonly string[], options: Options): Promise<unknown>
}

export const needed = <T>(value: T | undefined, what: string): T => {
  if (value === undefined) throw new Usage(`${what} is needed`)
  return value
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
): Promise<unknown> {
  const answer = await graphql(terminal.issuer, token, query)
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
    errors: { code: string; path: string[]; message: string }[]
  } & Record<string, unknown>
  const [error] = payload.errors
  if (error)
    throw new Refusal(`${error.code}${error.path.length > 0 ? ` at ${error.path.join('.')}` : ''}: ${error.message}`)
  return payload[field]
}

function whole({ data, errors }: GraphqlAnswer): Record<string, unknown> {
  const [error] = errors ?? []
  if (error) throw new Refusal(`${error.extensions?.code ?? 'ERROR'}: ${error.message}`)
  return data ?? {}
}
