import { createApp, type App } from '../../src/app.ts'
import { readConfig } from '../../src/config.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import {
  createOutboundHttp,
  type OutboundHttp,
  type OutboundRequest,
  type OutboundResponse,
} from '../../src/kernel/outbound-http.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createWorld } from '../../src/kernel/world.ts'
import { openDatabase } from '../../src/storage/database.ts'
import type { TestGateway } from './gateway.ts'
import { patientTimers } from './patient-time.ts'

const QUERY =
  '{ customer { accounts(first: 5) { nodes { bank { id } balances(detail: BAND) { __typename ... on BalanceUnavailable { reason { code retryAt } } ... on BalanceBand { freshness } } } } } }'
/** An account, with the band of its balance or why there is none. */
export interface Row {
  bank: { id: string }
  balance: { __typename: string; reason?: string; freshness?: string }
}
interface Node {
  bank: { id: string }
  balances: { __typename: string; reason?: { code: string }; freshness?: string }[]
}
/** What is looked at with. */
export const SCOPES = ['accounts:read', 'balances:band']

/** Asks for the ranges of all accounts, with nobody there, and says how long it took on the test's clock. */
export async function askRanges(gateway: TestGateway, token: Token): Promise<{ rows: Row[]; tookMs: number }> {
  const began = patientTimers.monotonicMs()
  const answer = await gateway.askUnattended(token, QUERY)
  const { nodes } = (answer.data!['customer'] as { accounts: { nodes: Node[] } }).accounts
  return { rows: nodes.map(toRow), tookMs: patientTimers.monotonicMs() - began }
}

function toRow({ bank, balances: [balance] }: Node): Row {
  const { reason, ...rest } = balance!
  return { bank, balance: { ...rest, ...(reason && { reason: reason.code }) } }
}

export const wait = patientTimers.sleep
/** An answer that never comes. */
export const hangs = (): Promise<OutboundResponse> => new Promise(() => undefined)
/** A request for balances. */
export const isBalances = ({ url }: OutboundRequest): boolean => url.endsWith('/balances')
/** So long that every range is drawn anew. */
export const NEXT_RANGE_MS = 6 * 3_600_000 + 5_000

/** A second process of the same installation, whose calls to banks are seen and caught as the first one's are. */
export async function elsewhere(gateway: TestGateway): Promise<{ app: App; close: () => Promise<void> }> {
  const config = readConfig({
    GUICHET_DATA_DIR: gateway.dataDir,
    DATABASE_URL: gateway.database.url,
    PORT: '0',
    METRICS_PORT: '0',
  })
  const database = openDatabase(gateway.database.url, 4, patientTimers)
  const watched = (own: OutboundHttp): OutboundHttp => ({
    ...own,
    pool: (options) => watched(own.pool(options)),
    send: (request) => {
      gateway.sent.push(request)
      return gateway.intercept?.(request) ?? own.send(request)
    },
  })
  const http = watched(createOutboundHttp(config.egress, undefined, { timers: patientTimers }))
  const world = {
    ...createWorld(
      createLog(
        'error',
        () => new Date(),
        () => undefined,
      ),
      http,
    ),
    timers: patientTimers,
  }
  return { app: await createApp(config, world, database), close: () => database.close() }
}
