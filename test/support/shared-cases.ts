import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { BankAccount, BankBalance, BankInterface, StandardId } from '../../src/connectors/index.ts'
import { GatewayError } from '../../src/kernel/errors.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { ACCESS, ok } from './scripted-bank.ts'
import { common } from './standards.ts'

/**
 * The sample payloads that are kept beside the repository. They are not part of it: a clone elsewhere skips their tests by name.
 * GUICHET_CASES names another folder.
 */
export const CASES_DIR = resolve(process.env['GUICHET_CASES'] ?? join(import.meta.dirname, '../../../shared/cases'))

interface Exchange {
  readonly request: {
    readonly method: string
    readonly path: string
    readonly headers?: Record<string, string>
    readonly body?: unknown
    readonly decodedJwt?: Record<string, unknown>
  }
  readonly response: {
    readonly status: number
    readonly headers: Record<string, string>
    readonly body?: unknown
    readonly bodyText?: string
    readonly bodyBase64?: string
  }
}
export interface ExpectedBalance {
  readonly type: string
  readonly nativeType: string
  readonly phase?: string
  readonly amount: string
  readonly currency: string
  readonly includesCredit: boolean | null
}
export interface ExpectedAccount {
  readonly id: string
  readonly type: string
  readonly currency: string | null
  readonly status?: string
  readonly mask?: string
  readonly ownerCategory?: string
  readonly balances: readonly ExpectedBalance[]
}
export interface Case {
  readonly id: string
  readonly standard: string
  readonly version: string
  readonly exchanges: readonly Exchange[]
  readonly mustNotContain: readonly string[]
  readonly audienceAsIs?: boolean
  readonly typ?: string
  readonly joseHeader?: Record<string, unknown>
  readonly expected: {
    readonly accounts: readonly ExpectedAccount[]
    readonly problems: readonly { readonly code: string; readonly optional?: boolean }[]
    readonly alternatives?: readonly { readonly path: string; readonly allow: unknown }[]
    readonly outcome?: string
    readonly doNotRequest?: readonly string[]
    readonly events?: readonly { readonly kind: string; readonly resourceId: string }[]
    readonly consent?: { readonly id: string; readonly statuses: readonly string[] }
  }
}

/** All cases; none if there is no folder. */
export const CASES: readonly Case[] = (existsSync(CASES_DIR) ? readdirSync(CASES_DIR) : [])
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(readFileSync(join(CASES_DIR, name), 'utf8')) as Case)

const STANDARD_IDS: Readonly<Record<string, StandardId>> = {
  'uk-obie': 'OBIE',
  'berlin-group': 'BERLIN_GROUP',
  'au-cdr': 'CDR',
  fdx: 'FDX',
}
/** The standard of a case; undefined if the gateway has no connector for it. */
export const standardOf = ({ standard }: Case): StandardId | undefined => STANDARD_IDS[standard]

/** The base address of a bank: that of its links to further pages, if there are any. */
export function apiBaseOf({ exchanges }: Case): string {
  const text = JSON.stringify(exchanges)
  return /"[Nn]ext":"(https:[^"]+?)\/(?:accounts|balances|banking)[^"]*"/.exec(text)?.[1] ?? 'https://api.bank.example'
}

const BASE_PATH =
  /^(?:\/[^/?]+)*?(?=\/(?:v1\/(?:(?:card-)?accounts|consents)|banking|accounts|balances|account-access-consents)\b)/
/** Path and query below the base address of the standard's operations. */
const localPath = (path: string): string =>
  decodeURIComponent(path.replace(/^https?:\/\/[^/]*/, '').replace(BASE_PATH, ''))

/** A bank that answers as the exchanges of a case do, in order for each path. */
export function bankOf({ exchanges }: Case) {
  const left = [...exchanges]
  const requested: string[] = []
  const issuer = common.authorizationServer
  const respond = ({ url, method }: OutboundRequest): OutboundResponse => {
    if (url.includes('/.well-known/'))
      return ok({ issuer, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks` })
    if (url.endsWith('/token')) return ok({ access_token: 'own', token_type: 'Bearer', expires_in: 60 })
    const path = localPath(url)
    requested.push(path)
    const find = (normalize: (path: string) => string | undefined): number =>
      left.findIndex(
        ({ request }) => method === request.method && normalize(localPath(request.path)) === normalize(path),
      )
    const exact = find((one) => one)
    const index = exact >= 0 ? exact : find((one) => one.split('?')[0])
    // A case about cards says nothing of other accounts.
    if (index < 0 && path === '/v1/accounts') return ok({ accounts: [] })
    if (index < 0) return embeddedBalances(exchanges, path) ?? { status: 404, headers: {}, text: '' }
    const { response } = left[index]!
    const isRepeated = left.some(
      (other, at) => at > index && localPath(other.request.path) === localPath(left[index]!.request.path),
    )
    if (isRepeated) left.splice(index, 1)
    return { status: response.status, headers: response.headers, text: textOf(response) }
  }
  return { respond, requested }
}

function textOf({ bodyText, bodyBase64, body }: Exchange['response']): string {
  if (bodyBase64 !== undefined) return gunzipSync(Buffer.from(bodyBase64, 'base64')).toString('utf8')
  return bodyText ?? JSON.stringify(body)
}

/** Some lists have the balances in them, which the gateway reads at the address of their own. */
function embeddedBalances(exchanges: readonly Exchange[], path: string): OutboundResponse | undefined {
  const id = /\/v1\/(?:card-)?accounts\/([^/]+)\/balances$/.exec(path)?.[1]
  for (const { response } of exchanges) {
    const body = response.body as Record<string, { resourceId?: string; balances?: unknown }[]> | undefined
    const account = [...(body?.['accounts'] ?? []), ...(body?.['cardAccounts'] ?? [])].find(
      ({ resourceId }) => resourceId === id,
    )
    if (id !== undefined && account?.balances) return ok({ balances: account.balances })
  }
  return undefined
}

/** What a connector read. */
export interface CaseResult {
  readonly accounts: readonly BankAccount[]
  readonly balances: ReadonlyMap<string, readonly BankBalance[]>
  /** The codes of the errors. */
  readonly codes: readonly string[]
}

/** Reads what the exchanges are about: the list of accounts, and the balances in bulk or of single accounts. */
export async function readCase({ exchanges, standard, expected }: Case, bank: BankInterface): Promise<CaseResult> {
  const codes: string[] = []
  const balances = new Map<string, readonly BankBalance[]>()
  const attempt = <T>(read: Promise<T>, otherwise: T): Promise<T> =>
    read.catch((error: unknown) => {
      if (!(error instanceof GatewayError)) throw error
      codes.push(error.code)
      return otherwise
    })
  const paths = exchanges.map(({ request }) => localPath(request.path))
  const hasList = paths.some((path) => /^\/(?:v1\/|banking\/)?(?:card-)?accounts(?:\?|$)/.test(path))
  const isCard = paths.some((path) => path.includes('card-accounts'))
  const accounts = hasList ? await attempt(bank.accounts(ACCESS, null), []) : []
  const isBulk = paths.some((path) => /\/balances(?:\?|$)/.test(path) && !/accounts\/[^/]+\/balances/.test(path))
  if (bank.bulkBalances && (isBulk || (standard === 'fdx' && hasList))) {
    const refs = accounts.length > 0 ? accounts.map(({ ref }) => ref) : expected.accounts.map(({ id }) => id)
    const found = await attempt(bank.bulkBalances(ACCESS, refs, null), new Map())
    for (const [ref, read] of found) if (!(read instanceof GatewayError)) balances.set(ref, read.balances)
    return { accounts, balances, codes }
  }
  const embedded = standard === 'berlin-group' && expected.accounts.some(({ balances: { length } }) => length > 0)
  const single = paths.flatMap((path) => /accounts\/([^/?]+)(?:\/balances?)?(?:\?|$)/.exec(path)?.[1] ?? [])
  const listed = embedded || isCard ? accounts.map(({ ref }) => ref) : []
  for (const ref of new Set([...single.map((id) => (isCard ? `card:${id}` : id)), ...listed])) {
    const read = await attempt(bank.balances(ACCESS, ref, null), { balances: [], invalidTypes: [] })
    balances.set(ref, read.balances)
  }
  return { accounts, balances, codes }
}
