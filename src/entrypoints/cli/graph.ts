import type { CommandContext } from './command.ts'
import { CommandError, formatFault, type Fault } from './errors.ts'
import { readClientFile } from './key-files.ts'
import {
  createOauthClient,
  executeGraphql,
  type GraphqlError,
  type GraphqlResponse,
  type Token,
} from './oauth-client.ts'

/** A token for the client itself, named as by `--as`, with these scopes. */
export async function requestClientToken(context: CommandContext, client: string, scope: string): Promise<Token> {
  const file = readClientFile(context, client)
  if (file.issuer !== undefined && file.issuer !== context.issuer)
    throw new CommandError(`the key of ${client} is for ${file.issuer}, not ${context.issuer}: set --gateway or ISSUER`)
  return createOauthClient(context.issuer, file).clientCredentials(scope)
}

/** A token for the client named by `--as`: with `adminScope` for an admin, with `partnerScope` for a partner. */
export async function requestTokenAs(
  context: CommandContext,
  as: string,
  { adminScope, partnerScope }: { readonly adminScope: string; readonly partnerScope: string },
): Promise<Token> {
  const { scopes } = readClientFile(context, as)
  const isAdmin = as === 'admin' || scopes?.includes('banks:manage') === true
  return requestClientToken(context, as, isAdmin ? adminScope : partnerScope)
}

/** Runs a query and returns one field of its data. Throws `CommandError` with every error of the response. */
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

/** The same for a field that is null if there is no such object; throws `CommandError` with `missing` then. */
export async function queryObject(
  context: CommandContext,
  token: Token,
  {
    query,
    field,
    id,
    missing,
    variables,
  }: {
    readonly query: string
    readonly field: string
    readonly id: string
    readonly missing: string
    readonly variables?: Record<string, unknown>
  },
): Promise<Record<string, unknown>> {
  const found = await queryField(context, token, query, field, { ...variables, id })
  if (found === null) throw new CommandError(missing)
  return found as Record<string, unknown>
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
    const page = (await queryField(context, token, query, field, { after })) as
      | {
          nodes: unknown[]
          pageInfo: { hasNextPage: boolean; endCursor: string | null }
        }
      | null
      | undefined
    if (!page) throw new CommandError(`${context.issuer} responded without ${field}`)
    nodes.push(...page.nodes)
    after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null
  } while (after !== null)
  return nodes
}

/**
 * Runs a mutation, such as `suspendClient`, and returns the field of its payload that is selected, such as
 * `client { id status }`. Throws `CommandError` with every user error. `statement` is the one of `signPresenceStatement`.
 */
export async function mutate(
  context: CommandContext,
  token: Token,
  mutation: string,
  input: object,
  selection: string,
  statement?: string,
): Promise<unknown> {
  const payload = await mutatePayload(context, token, mutation, input, selection, statement)
  return payload[selection.split(' ')[0]!]
}

/** The same for a payload of which several fields are selected. */
export async function mutatePayload(
  context: CommandContext,
  token: Token,
  mutation: string,
  input: object,
  selection: string,
  statement?: string,
): Promise<Record<string, unknown>> {
  const inputType = `${mutation[0]!.toUpperCase()}${mutation.slice(1)}Input`
  const query = `mutation ($input: ${inputType}!) { ${mutation}(input: $input) { ${selection} userErrors { code path message } } }`
  const payload = requireData(await executeGraphql(context.issuer, token, query, { input }, statement))[mutation] as {
    readonly userErrors: readonly Fault[]
  } & Record<string, unknown>
  if (payload.userErrors.length > 0) throw new CommandError(payload.userErrors.map(formatFault))
  return payload
}

/** One line for each error of a response: code, field, message, and what can be done. */
export const formatGraphqlErrors = (errors: readonly GraphqlError[]): string[] => errors.map(formatGraphqlError)

function formatGraphqlError({ message, path, extensions }: GraphqlError): string {
  const { code = 'ERROR', argument, missingScopes, retryAt, requestId } = extensions ?? {}
  const details = [
    missingScopes && `The token needs ${missingScopes.map((scopes) => scopes.join(' ')).join(', or ')}.`,
    retryAt && `Try again at ${retryAt}.`,
    requestId && `(request ${requestId})`,
  ]
  return [formatFault({ code, path: argument?.split('.') ?? path ?? [], message }), ...details.filter(Boolean)].join(
    ' ',
  )
}

function requireData({ data, errors }: GraphqlResponse): Record<string, unknown> {
  if (errors && errors.length > 0) throw new CommandError(formatGraphqlErrors(errors))
  return data ?? {}
}
