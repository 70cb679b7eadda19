import { STANDARDS, type BankInterface } from '../../src/connectors/index.ts'
import type { GatewayCredentials } from '../../src/connectors/credentials.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { parseRegistration } from '../../src/modules/banks/registration.ts'
import { ok, scriptedBank, type ScriptedBank } from './scripted-bank.ts'
import { CUSTOMER, stepsOf, type SignInSteps } from './sign-in.ts'
import { common } from './standards.ts'

export const REQUEST = { expiresAt: new Date('2027-05-01T00:00:00Z'), state: 'st-1', customer: CUSTOMER }
const { authorizationServer: ISSUER } = common

/** Responses of a bank by what is called: `POST /v1/consents` and so on. A list is used up; its last response stays. */
export type Script = Readonly<Record<string, OutboundResponse | readonly OutboundResponse[]>>

export const created = (body: object, headers: Readonly<Record<string, string>> = {}): OutboundResponse => {
  const response = ok({ consentId: 'c-1', consentStatus: 'received', ...body })
  return { ...response, status: 201, headers: { ...response.headers, ...headers } }
}
export const status = (...statuses: string[]): OutboundResponse[] =>
  statuses.map((consentStatus) => ok({ consentStatus }))
export const failed = (code: number, tppCode: string): OutboundResponse => ({
  ...ok({ tppMessages: [{ category: 'ERROR', code: tppCode }] }),
  status: code,
})

export interface BerlinGroupScript extends SignInSteps {
  readonly bank: BankInterface
  readonly sent: OutboundRequest[]
  readonly log: ScriptedBank['log']
  /** The requests of one operation. */
  to(operation: string): OutboundRequest[]
  /** Moves the connector's clock. */
  advance(seconds: number): void
}

/** A Berlin Group connector, and a bank that responds as the script says. Its authorization server issues tokens to everybody. */
export function berlinGroupScript(
  members: object,
  script: Script,
  credentials: Partial<GatewayCredentials> = {},
): BerlinGroupScript {
  const used = new Map<string, number>()
  const { tools, sent, log } = scriptedBank(({ method, url }) => {
    if (url.includes('/.well-known/'))
      return ok({ issuer: ISSUER, authorization_endpoint: `${ISSUER}/authorize`, token_endpoint: `${ISSUER}/token` })
    if (url === `${ISSUER}/token`)
      return ok({ access_token: 'tk', refresh_token: 'r', token_type: 'Bearer', expires_in: 300 })
    const operation = `${method} ${url.replace(common.apiBase, '')}`
    const responses = [script[operation] ?? failed(404, 'RESOURCE_UNKNOWN')].flat()
    const position = used.get(operation) ?? 0
    used.set(operation, position + 1)
    return responses[Math.min(position, responses.length - 1)]!
  })
  let elapsedMs = 0
  const clock = { now: () => new Date(Date.parse('2026-12-01T12:00:00Z') + elapsedMs) }
  const registration = parseRegistration(
    {
      standard: 'BERLIN_GROUP',
      registration: { ...common, version: '1.3.11', cardAccounts: false, ...members },
    },
    { urlFault: () => undefined },
  ).registration
  const http = { ...tools.http, isAllowedUrl: (url: string) => url.startsWith('https://') }
  const bank = STANDARDS.BERLIN_GROUP.connect(registration, {
    ...tools,
    http,
    clock,
    credentials: { ...tools.credentials, ...credentials },
  })
  return {
    bank,
    sent,
    log,
    to: (operation) => sent.filter(({ method, url }) => `${method} ${url.replace(common.apiBase, '')}` === operation),
    advance: (seconds) => void (elapsedMs += seconds * 1_000),
    ...stepsOf(bank),
  }
}
