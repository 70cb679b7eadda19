import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ApiRequest, OfficialApi } from './official-api.ts'

/** A request to the bank's API: the operation of the official file and what both validators find wrong. */
export interface ReceivedRequest {
  readonly api: OfficialApi
  readonly operation: string | undefined
  readonly request: ApiRequest
  /** The path with its query as it was sent, and the text of the body. */
  readonly url: string
  readonly text: string
  readonly faults: readonly string[]
}

/** The body and the status of the bank's next responses of one operation. */
interface StagedResponse {
  readonly pages: readonly unknown[]
  readonly status: number | undefined
  /** The responses after this one. */
  readonly later?: StagedResponse | undefined
}

/**
 * A bank on loopback that is nothing but official files: it responds with their examples, or with what a test stages, and checks
 * every request against them. Beside them it has an authorization server that gives a token to every client.
 */
export interface OfficialBank {
  readonly origin: string
  /** The issuer of the authorization server. */
  readonly issuer: string
  readonly received: ReceivedRequest[]
  /** The forms that the authorization server received, by path. */
  readonly forms: (readonly [path: string, form: URLSearchParams])[]
  /** Sets the bodies that an operation returns, one for each page. The bank adds the links between them by `linkNext`. */
  stage(operation: string, pages: readonly unknown[], status?: number): void
  /** Sets the bodies that an operation returns one after another; the last one stays. */
  stageEach(operation: string, bodies: readonly unknown[]): void
  close(): Promise<void>
}

/** How a bank deviates from its official file, and how it links pages. */
export interface OfficialBankOptions {
  /** Adds the link to the next page to a response, as the standard has it. */
  readonly linkNext?: (body: unknown, url: string) => unknown
  /** The path of the file for a path of the bank. */
  readonly toOfficialPath?: (path: string) => string
  /** Query parameters that only the bank has. */
  readonly ownParameters?: readonly string[]
}

/** Starts the bank with its official files by base path, such as `/open-banking/v4.0/aisp`. */
export async function startOfficialBank(
  apis: Readonly<Record<string, OfficialApi>>,
  { linkNext = (body) => body, toOfficialPath = (path) => path, ownParameters = [] }: OfficialBankOptions = {},
): Promise<OfficialBank> {
  const received: ReceivedRequest[] = []
  const forms: OfficialBank['forms'] = []
  const staged = new Map<string, StagedResponse>()

  function respondToApi(
    base: string,
    { api, request, url, text }: Pick<ReceivedRequest, 'api' | 'request' | 'url' | 'text'>,
    response: ServerResponse,
  ): void {
    const { page, request: validated } = splitPage(request, ownParameters)
    const operation = api.operationOf(validated)
    const faults = Object.entries(api.findRequestFaults(validated)).flatMap(([validator, list]) =>
      list.map((fault) => `${operation ?? `${request.method} ${request.path}`}: ${fault} (${validator})`),
    )
    received.push({ api, operation, request, url, text, faults })
    if (operation === undefined) return void response.writeHead(404).end()
    const success = api.successStatus(operation)
    const { pages, status = success, later } = staged.get(operation) ?? exampleOf(api, operation, success)
    if (later) staged.set(operation, later)
    const body = pages[page - 1]
    const next = page < pages.length ? linkNext(body, `${bank.origin}${base}${request.path}?page=${page + 1}`) : body
    response
      .writeHead(status, {
        'content-type': 'application/json',
        ...echo(request.headers, 'x-fapi-interaction-id'),
        ...echo(request.headers, 'x-request-id'),
        ...echo(request.headers, 'x-v'),
      })
      .end(status === 204 ? undefined : JSON.stringify(next))
  }

  const server = createServer((request, response) => {
    void readText(request).then((text) => {
      const url = new URL(request.url ?? '/', bank.origin)
      const base = Object.keys(apis).find((path) => url.pathname.startsWith(`${path}/`))
      if (base === undefined) return void respondToOauth(url, text, forms, bank.issuer, response)
      const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]))
      const path = toOfficialPath(url.pathname.slice(base.length))
      const body = text === '' ? undefined : (JSON.parse(text) as unknown)
      const official = { method: request.method ?? '', path, query: url.search, headers, body }
      respondToApi(base, { api: apis[base]!, request: official, url: request.url ?? '', text }, response)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const bank: OfficialBank = {
    origin,
    issuer: `${origin}/auth`,
    received,
    forms,
    stage: (operation, pages, status) => void staged.set(operation, { pages, status }),
    stageEach: (operation, bodies) => {
      const toStaged = (later: StagedResponse | undefined, body: unknown) => ({
        pages: [body],
        status: undefined,
        later,
      })
      const first = bodies.reduceRight(toStaged, undefined)
      if (first) staged.set(operation, first)
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return bank
}

const exampleOf = (api: OfficialApi, operation: string, status: number): StagedResponse => ({
  pages: [[...api.examples(operation, status).values()][0]],
  status,
})

/** Takes the page, and what only the bank has, from a request. No file defines how a bank writes its links, so that one is not the request's own. */
function splitPage(request: ApiRequest, ownParameters: readonly string[]): { page: number; request: ApiRequest } {
  const query = new URLSearchParams(request.query)
  const page = Number(query.get('page') ?? 1)
  for (const name of ['page', ...ownParameters]) query.delete(name)
  return { page, request: { ...request, query: query.size > 0 ? `?${query.toString()}` : '' } }
}

const echo = (headers: Readonly<Record<string, string>>, name: string): Record<string, string> =>
  headers[name] === undefined ? {} : { [name]: headers[name] }

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

function respondToOauth(
  { pathname }: URL,
  text: string,
  forms: OfficialBank['forms'],
  issuer: string,
  response: ServerResponse,
): void {
  if (text !== '') forms.push([pathname, new URLSearchParams(text)])
  const send = (status: number, body: unknown): void =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  if (pathname.includes('/.well-known/'))
    return void send(200, {
      issuer,
      token_endpoint: `${issuer}/token`,
      authorization_endpoint: `${issuer}/authorize`,
      pushed_authorization_request_endpoint: `${issuer}/par`,
      cdr_arrangement_revocation_endpoint: `${issuer}/arrangements/revoke`,
    })
  if (pathname.endsWith('/token'))
    return void send(200, { access_token: 'token', token_type: 'Bearer', expires_in: 600 })
  if (pathname.endsWith('/par')) return void send(201, { request_uri: 'urn:example:request', expires_in: 60 })
  if (pathname.endsWith('/arrangements/revoke')) return void response.writeHead(204).end()
  send(404, {})
}
