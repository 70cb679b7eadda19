import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createApp, type App } from '../../src/app.ts'
import { readConfig } from '../../src/config.ts'
import { createBrowser, type Browser } from '../../src/entrypoints/cli/browser.ts'
import {
  subjectOf,
  executeGraphql,
  createOauthClient,
  createPresenceStatement,
  type ClientFile,
  type GraphqlResponse,
  type Token,
} from '../../src/entrypoints/cli/oauth-client.ts'
import { optIn } from '../../src/entrypoints/cli/opt-in.ts'
import { decodeJwt } from 'jose'
import { vi } from 'vitest'
import { createLog } from '../../src/kernel/log.ts'
import { createOutboundHttp, type OutboundHttp, type OutboundRequest } from '../../src/kernel/outbound-http.ts'
import { createWorld } from '../../src/kernel/world.ts'
import { SANDBOX_BANKS, type SandboxBankId } from '../../src/sandbox/personas.ts'
import { runSandbox, type SandboxAddresses } from '../../src/sandbox/run.ts'
import { seedSandbox } from '../../src/seed.ts'
import { openDatabase, type DatabaseUrls } from '../../src/storage/database.ts'
import { startFaultProxy, type FaultProxy } from './fault-proxy.ts'
import { patientTimers } from './patient-time.ts'
import { freePort } from './ports.ts'
import {
  keepSeeded,
  newSeededPorts,
  releaseSeeded,
  takeSeeded,
  templateName,
  type Seeded,
  type SeededPorts,
} from './seeded.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'

/** Opens everything that there is. */
export const ALL_SCOPES = ['accounts:read', 'balances:band', 'balances:exact', 'alerts:read']

export interface TestGateway {
  readonly issuer: string
  readonly app: App
  readonly database: TestDatabase
  readonly sandbox: SandboxAddresses & { readonly canary: string | undefined }
  readonly dataDir: string
  /** The lines to the banks, where they are such as can be made bad. */
  readonly lines: Readonly<Partial<Record<SandboxBankId, FaultProxy>>>
  /** Every request that the gateway made to the outside, in order. */
  readonly sent: OutboundRequest[]
  readonly log: string[]
  /** Every byte that banks have answered. */
  bankBytes(): string
  /** Moves the clock of gateway, banks and clients ahead together. */
  forward(ms: number): void
  /** Stops that clock while `work` runs, except for `forward`: for limits that the time of the test itself must not reach. */
  withStoppedClock<T>(work: () => Promise<T>): Promise<T>
  /** Makes an outbound request fail or wait: what is returned replaces the real answer. */
  intercept: ((request: OutboundRequest) => ReturnType<OutboundHttp['send']> | undefined) | undefined
  /** Holds the next request whose address ends so, until it is let go; `reached` resolves once the gateway has made it. */
  holdNext(ending: string): { readonly reached: Promise<void>; letGo(): void }
  client(id: string): ClientFile
  /** A customer who shares these banks with Chatterbox; the last token opens all. */
  customer(
    name: string,
    banks: readonly string[],
    options?: { scopes?: readonly string[]; clientId?: string; browser?: Browser; idTokenHint?: string | undefined },
  ): Promise<Token>
  /** Asks as a platform does whose customer is present, which it states where the token is a customer's. */
  ask(token: Token | undefined, query: string, variables?: Record<string, unknown>): Promise<GraphqlResponse>
  /** Asks without a word about the customer, or with the given statement. */
  askUnattended(
    token: Token | undefined,
    query: string,
    variables?: Record<string, unknown>,
    statement?: string,
  ): Promise<GraphqlResponse>
  /** The same access with a fresh token. */
  renew(token: Token, clientId?: string): Promise<Token>
  /** A token of a client for itself. */
  own(clientId: string, scope: string): Promise<Token>
  /** Has a sandbox bank push an alert; returns the statuses that it was answered. */
  alert(
    bank: SandboxBankId,
    body: { customer?: string; account?: string; type: string; deliveryMode?: string },
  ): Promise<number[]>
  received(): Promise<{ id: string; verified: boolean; body: { type: string; data: Record<string, unknown> } }[]>
  close(): Promise<void>
}

export interface GatewaySettings {
  readonly canary?: string
  readonly env?: Readonly<Record<string, string>>
  readonly lines?: readonly SandboxBankId[]
  readonly crowd?: number
  readonly authorities?: string
  /** How the gateway reaches its database, if not directly. */
  readonly reach?: (url: string) => string | DatabaseUrls
  /** Whether banks queue events for polling; otherwise the gateway sends them requests only for customers. */
  readonly keepsEvents?: boolean
  /** Whether this start registers the clients and certifies the banks, so that `sent` and `log` show it. */
  readonly isNew?: boolean
}

/** Settings that are part of what a seeded gateway has registered or sealed. */
const SEEDED_VARIABLES = ['PORT', 'ISSUER', 'GUICHET_SEALING_KEY', 'GUICHET_PROFILE']

/**
 * A whole gateway with its worker and the sandbox banks, on real HTTP and a database of its own. The clients are registered
 * and the banks certified, in this worker's seeded gateway where the settings allow it: `sent` and `log` then start behind that.
 */
export async function startGateway(settings: GatewaySettings = {}): Promise<TestGateway> {
  const hasOther = SEEDED_VARIABLES.some((name) => settings.env?.[name] !== undefined)
  const isNew = [settings.isNew, settings.keepsEvents, hasOther].includes(true)
  const seeded = isNew ? undefined : await takeSeeded(createSeeded)
  try {
    return await startFrom(settings, seeded)
  } catch (error) {
    if (seeded) releaseSeeded()
    throw error
  }
}

async function createSeeded(): Promise<void> {
  const ports = await newSeededPorts(SANDBOX_BANKS.map(({ id }) => id))
  const gateway = await startFrom({}, { ports })
  await gateway.keep(ports)
}

async function startFrom(
  settings: GatewaySettings,
  seeded: (Pick<Seeded, 'ports'> & Partial<Seeded>) | undefined,
): Promise<TestGateway & { keep(ports: SeededPorts): Promise<void> }> {
  const database = await createTestDatabase(seeded?.template)
  // A sandbox bank writes its state at each change: in memory, where the machine has such a folder.
  const dataDir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'guichet-gateway-'))
  seeded?.copyTo?.(dataDir)
  const config = readConfig({
    PORT: String(seeded?.ports.gateway ?? (await freePort())),
    GUICHET_DATA_DIR: dataDir,
    DATABASE_URL: database.url,
    GUICHET_LOG_LEVEL: 'trace',
    // Tests move the clock by days, also in the middle of a run.
    GUICHET_SCHEDULED_CERTIFICATION: 'off',
    GUICHET_DRAIN_SECONDS: '0',
    // The usual port is only for tests that are about it.
    METRICS_PORT: '0',
    ...settings.env,
  })
  const lines = Object.fromEntries(
    await Promise.all(
      (settings.lines ?? []).map(async (bank) => [bank, await startFaultProxy(seeded?.ports.sandbox[bank])] as const),
    ),
  ) as Partial<Record<SandboxBankId, FaultProxy>>
  const { addresses, stop } = await runSandbox({
    extraCustomerCount: settings.crowd,
    origins: Object.fromEntries(Object.entries(lines).map(([bank, { url }]) => [bank, url])),
    host: '127.0.0.1',
    port: 0,
    // A line listens at the address of its bank.
    ports: { ...seeded?.ports.sandbox, ...Object.fromEntries((settings.lines ?? []).map((bank) => [bank, 0])) },
    publicHost: undefined,
    stateDir: join(dataDir, 'sandbox'),
    seed: 'test',
    queuesEvents: settings.keepsEvents ?? false,
    canary: settings.canary,
  })

  for (const [bank, line] of Object.entries(lines)) line.target = addresses.banks[bank as SandboxBankId]

  const log: string[] = []
  const sent: OutboundRequest[] = []
  let fromBanks = ''
  const holds: { ending: string; reach(): void; go: Promise<void> }[] = []
  const watched = (own: OutboundHttp): OutboundHttp => ({
    ...own,
    pool: (options) => watched(own.pool(options)),
    async send(request) {
      sent.push(request)
      const held = holds.findIndex(({ ending }) => request.url.endsWith(ending))
      if (held >= 0) {
        const [{ reach, go } = { reach: () => undefined, go: undefined }] = holds.splice(held, 1)
        reach()
        await go
      }
      const answer = await (gateway.intercept?.(request) ?? own.send(request))
      fromBanks += JSON.stringify(answer)
      return answer
    },
  })
  const { authorities } = settings
  const http = watched(
    createOutboundHttp(config.egress, undefined, {
      timers: patientTimers,
      ...(authorities !== undefined && { caCertificates: authorities }),
    }),
  )
  const writtenLog = createLog(
    'trace',
    () => new Date(),
    (line) => log.push(line),
  )
  const world = { ...createWorld(writtenLog, http), timers: patientTimers }
  const opened = openDatabase(settings.reach?.(database.url) ?? database.url, 8, patientTimers)
  const app = await createApp(config, world, opened)

  async function stopServers(): Promise<void> {
    vi.useRealTimers()
    await app.stop()
    await opened.close()
    for (const line of Object.values(lines)) await line.close()
    await stop()
  }

  const gateway: TestGateway & { keep(ports: SeededPorts): Promise<void> } = {
    issuer: config.issuer,
    app,
    database,
    sandbox: { ...addresses, canary: settings.canary },
    dataDir,
    lines,
    sent,
    log,
    bankBytes: () => fromBanks,
    intercept: undefined,
    holdNext(ending) {
      let reach = (): void => undefined
      let letGo = (): void => undefined
      const reached = new Promise<void>((resolve) => (reach = resolve))
      const go = new Promise<void>((resolve) => (letGo = resolve))
      holds.push({ ending, reach, go })
      return { reached, letGo }
    },
    forward(ms) {
      const now = Date.now() + ms
      if (!vi.isFakeTimers()) vi.useFakeTimers({ toFake: ['Date'], shouldAdvanceTime: true })
      vi.setSystemTime(now)
    },
    async withStoppedClock(work) {
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
      try {
        return await work()
      } finally {
        vi.useFakeTimers({ toFake: ['Date'], shouldAdvanceTime: true, now: Date.now() })
      }
    },
    client: (id) => JSON.parse(readFileSync(join(dataDir, 'clients', `${id}.json`), 'utf8')) as ClientFile,
    async customer(
      name,
      banks,
      { scopes = ALL_SCOPES, clientId = 'chatterbox', browser = createBrowser(), idTokenHint } = {},
    ) {
      let token: Token | undefined
      for (const bank of banks) {
        const hint = token?.idToken ?? idTokenHint
        token = await optIn({
          issuer: config.issuer,
          client: gateway.client(clientId),
          bearer: clientId.endsWith('bearer'),
          customer: name,
          bank,
          scopes,
          browser,
          ...(hint && { idTokenHint: hint }),
        })
      }
      return token!
    },
    async ask(token, query, variables) {
      const customer = token && subjectOf(token)
      const client = token?.idToken && gateway.client(String(decodeJwt(token.idToken).aud))
      const statement = customer && client ? await createPresenceStatement(config.issuer, client, customer) : undefined
      return executeGraphql(config.issuer, token, query, variables, statement)
    },
    askUnattended: (token, query, variables, statement) =>
      executeGraphql(config.issuer, token, query, variables, statement),
    renew: (token, clientId = 'chatterbox') =>
      createOauthClient(config.issuer, gateway.client(clientId), clientId.endsWith('bearer')).refresh(
        token.refreshToken!,
        token.dpopJwk,
      ),
    own: (clientId, scope) => createOauthClient(config.issuer, gateway.client(clientId)).clientCredentials(scope),
    async alert(bank, body) {
      const answer = await fetch(`${addresses.banks[bank]}/sandbox/alerts`, {
        method: 'POST',
        body: JSON.stringify(body),
      })
      return ((await answer.json()) as { pushed: { status: number }[] }).pushed.map(({ status }) => status)
    },
    async received() {
      return (
        (await (await fetch(`${addresses.platform}/sandbox/received`)).json()) as {
          received: Awaited<ReturnType<TestGateway['received']>>
        }
      ).received
    },
    async keep(ports) {
      await stopServers()
      await database.keepAs(templateName())
      keepSeeded(dataDir, ports)
      rmSync(dataDir, { recursive: true, force: true })
    },
    async close() {
      await stopServers()
      await database.drop()
      rmSync(dataDir, { recursive: true, force: true })
      if (seeded) releaseSeeded()
    },
  }
  await app.start(() => seedSandbox({ app, world, dataDir, addresses }))
  return gateway
}

/** Waits until `found` gives something, for at most `ms`; then throws with `what` was awaited. */
export async function eventually<T>(
  what: string,
  found: () => Promise<T | undefined | false>,
  ms = 90_000,
): Promise<T> {
  const untilMs = patientTimers.monotonicMs() + ms
  for (;;) {
    const value = await found()
    if (value !== undefined && value !== false) return value
    if (patientTimers.monotonicMs() > untilMs) throw new Error(`waited ${ms} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}
