import { expect } from 'vitest'
import type { GatewayCredentials } from '../../../src/connectors/credentials.ts'
import {
  STANDARDS,
  type BankInterface,
  type PresentCustomer,
  type ResponseIssue,
  type StandardId,
} from '../../../src/connectors/index.ts'
import { createOutboundHttp } from '../../../src/kernel/outbound-http.ts'
import { parseRegistration } from '../../../src/modules/banks/registration.ts'
import { patientTimers } from '../patient-time.ts'
import { scriptedBank } from '../scripted-bank.ts'
import { common } from '../standards.ts'
import type { ApiRequest } from './official-api.ts'
import type { OfficialBank } from './official-bank.ts'
import { CANARY } from './seeded-values.ts'

/** How many random responses each read gets; `--cases=N` raises it. */
export const CASES = Math.max(300, Number(process.env['GUICHET_CASES'] ?? 300))

/** A real connector with real HTTP, connected to an official bank. */
export interface ConformanceSession {
  readonly bank: BankInterface
  /** What the connector reported since the last `takeOutput`, as one text with the log. */
  takeOutput(): { issues: ResponseIssue[]; text: string }
  close(): Promise<void>
}

/** Connects the connector of a standard to the bank. `members` are what the standard adds, and `apiBase` as a path. */
export function connectToOfficialBank(
  standard: StandardId,
  { origin, issuer }: OfficialBank,
  { apiBase, ...members }: Record<string, unknown> & { readonly apiBase: string },
  credentials: Partial<GatewayCredentials> = {},
): ConformanceSession {
  const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true }, undefined, { timers: patientTimers })
  const { tools, problems, log } = scriptedBank(() => {
    throw new Error('the real client is used')
  })
  const { registration } = parseRegistration(
    {
      standard,
      registration: { ...common, authorizationServer: issuer, apiBase: origin + apiBase, ...members },
    },
    { urlFault: () => undefined },
  )
  return {
    bank: STANDARDS[standard].connect(registration, {
      ...tools,
      http,
      credentials: { ...tools.credentials, ...credentials },
    }),
    takeOutput: () => {
      const issues = problems.splice(0)
      return { issues, text: [...issues, ...log.splice(0)].join('\n') }
    },
    close: () => http.close(),
  }
}

/** Customers as they are, by turns: nobody present, by IPv4 or IPv6, with and without a known browser. */
export const customerOf = (seed: number): PresentCustomer | null => CUSTOMERS[seed % 4] ?? null

const CUSTOMERS: readonly (PresentCustomer | null)[] = [
  null,
  { ip: '198.51.100.7', userAgent: 'Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0' },
  { ip: '2001:db8::7', userAgent: 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X)' },
  { ip: '203.0.113.250', userAgent: null },
]

/** The issues that no conformant response has: the connector knows every code of its standard. */
const NEVER: ReadonlySet<ResponseIssue> = new Set([
  'INVALID_ACCOUNT',
  'INVALID_BALANCE',
  'UNKNOWN_ACCOUNT_TYPE',
  'UNKNOWN_ACCOUNT_STATUS',
  'UNKNOWN_BALANCE_TYPE',
  'UNREQUESTED_ACCOUNT',
])

/** What is wrong with the output beside the values: reported issues, and text that must not pass. */
export function findOutputFaults(session: ConformanceSession, result: unknown): string[] {
  const { issues, text } = session.takeOutput()
  return [
    ...issues.filter((issue) => NEVER.has(issue)).map((issue) => `${issue}: reported`),
    ...((text + JSON.stringify(result)).includes(CANARY) ? ['LEAK: text of the bank that nobody may see'] : []),
  ]
}

/** Reads the response of every seed. Fails for what was lost or wrong, by rule with the first example. */
export async function expectNoLosses(read: (seed: number) => Promise<readonly string[]>): Promise<void> {
  const examples: Record<string, string> = {}
  for (let seed = 1; seed <= CASES; seed++)
    for (const fault of await read(seed).catch((error: unknown) => [describeError(error)]))
      examples[ruleOf(fault)] ??= `seed ${seed}: ${fault}`
  expect(examples).toEqual({})
}

/** Every fault begins with its rule; that of a thrown error is all of it. */
const ruleOf = (fault: string): string => (/^[A-Z_]+: /.test(fault) ? fault.split(':')[0]! : fault)

const describeError = (error: unknown): string =>
  error instanceof Error
    ? `${(error as { code?: string }).code ?? error.name} ${(error as { internalMessage?: string }).internalMessage ?? error.message}`
    : String(error)

/** Fails if a request was invalid for a reason that `known` does not name, and if a known one no longer happens. */
export function expectValidRequests(bank: OfficialBank, known: readonly string[] = []): void {
  const faults = [...new Set(bank.received.flatMap((received) => received.faults))]
  expect(faults.filter((fault) => !known.some((reason) => fault.includes(reason)))).toEqual([])
  expect(
    known.filter((reason) => !faults.some((fault) => fault.includes(reason))),
    'faults that no longer happen',
  ).toEqual([])
}

/**
 * Spoils a received request of each operation and returns the names of those that a validator accepts: none, or the validators
 * would prove nothing.
 */
export function findAcceptedSpoils(
  bank: OfficialBank,
  spoils: Readonly<Record<string, readonly [operation: string, spoil: (request: ApiRequest) => Partial<ApiRequest>]>>,
): string[] {
  return Object.entries(spoils).flatMap(([name, [operation, spoil]]) => {
    const found = bank.received.find((received) => received.operation === operation)
    if (!found) return [`${name}: no request of ${operation} was received`]
    const faults = found.api.findRequestFaults({ ...found.request, query: '', ...spoil(found.request) })
    return Object.entries(faults).flatMap(([validator, list]) => (list.length > 0 ? [] : [`${name}: ${validator}`]))
  })
}

/** The headers of a request without one of them. */
export const withoutHeader = ({ headers }: ApiRequest, name: string): Partial<ApiRequest> => ({
  headers: Object.fromEntries(Object.entries(headers).filter(([header]) => header !== name)),
})
