import {
  getOperationAST,
  OperationTypeNode,
  parse,
  validate,
  type DocumentNode,
  type GraphQLFormattedError,
  type GraphQLSchema,
} from 'graphql'
import { GatewayError } from '../../kernel/errors.ts'
import type { HttpReply, HttpRequest } from '../../kernel/http.ts'
import { jsonReply } from '../../kernel/http.ts'
import type { Log } from '../../kernel/log.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request.ts'
import type { Alerts } from '../../modules/alerts/index.ts'
import type { Consents } from '../../modules/consents/index.ts'
import type { Outbox, Signal } from '../../modules/outbox/index.ts'
import { deniedError, documentError } from './errors.ts'
import type { Plan, Planner } from './plan.ts'
import { run } from './server.ts'

/** What live listeners stand on. */
export interface SubscriptionDependencies {
  readonly schema: GraphQLSchema
  readonly planner: Planner
  readonly alerts: Alerts
  readonly consents: Consents
  readonly outbox: Outbox
  readonly log: Log
}

interface Listener {
  readonly hear: (signal: Signal) => Promise<void>
  readonly end: () => void
}

const KEEP_ALIVE_MS = 12_000
/** A listener that reads nothing is cut rather than waited for. */
const MAX_UNREAD_BYTES = 262_144
const MAX_TOKENS = 1_000

/** Subscriptions over server-sent events, in the distinct-connections mode of the GraphQL-over-SSE protocol. */
export interface Subscriptions {
  subscribe(
    request: HttpRequest,
    body: { query: string; operationName?: string; variables?: Record<string, unknown> },
    context: RequestContext,
  ): Promise<HttpReply>
  start(): Promise<void>
  stop(): Promise<void>
}

/** Keeps the live listeners of this process; each signal is checked against the live consent before anything is sent. */
export function createSubscriptions(dependencies: SubscriptionDependencies): Subscriptions {
  const { schema, planner, alerts, consents, outbox, log } = dependencies
  const listeners = new Set<Listener>()
  let unlisten: (() => Promise<void>) | undefined

  return {
    async start() {
      unlisten = await outbox.onSignal((signal) => {
        for (const listener of listeners) void listener.hear(signal).catch(() => listener.end())
      })
    },

    async stop() {
      await unlisten?.()
      for (const listener of listeners) listener.end()
    },

    subscribe(request, body, context) {
      const refuse = (errors: GraphQLFormattedError[], status = 400) => Promise.resolve(jsonReply(status, { errors }))
      let document: DocumentNode
      try {
        document = parse(body.query, { maxLexicalTokens: MAX_TOKENS })
      } catch (error) {
        return refuse([documentError(schema, error as GraphQLFormattedError, context.requestId)])
      }
      const invalid = validate(schema, document, undefined, { maxErrors: 5 })
      if (invalid.length > 0) return refuse(invalid.map((error) => documentError(schema, error, context.requestId)))
      const operation = getOperationAST(document, body.operationName)
      if (operation?.operation !== OperationTypeNode.SUBSCRIPTION)
        throw new GatewayError('MALFORMED_REQUEST', { internal: 'not a subscription' })
      const plan = planner.planOf(body.query, document, operation, context.caller)
      // A subscription has one root field; where that is closed there is nothing to listen to.
      if (plan.denied.some(({ path }) => path.length === 1) || context.caller.kind !== 'CUSTOMER')
        return refuse(
          plan.denied.map((field) => deniedError(field, context.requestId)),
          403,
        )
      open(request, plan, body.variables ?? {}, { ...context, caller: context.caller })
      return Promise.resolve('HANDED_OVER')
    },
  }

  function open(
    { raw: { request, response } }: HttpRequest,
    plan: Plan,
    variables: Record<string, unknown>,
    context: RequestContext & { caller: CustomerCaller },
  ): void {
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'x-accel-buffering': 'no',
      connection: 'keep-alive',
    })
    response.write(':\n\n')
    request.socket.setTimeout(0)

    const send = (text: string) => {
      if (response.writableLength > MAX_UNREAD_BYTES) return void end()
      response.write(text)
    }
    const keepAlive = setInterval(() => send(':\n\n'), KEEP_ALIVE_MS)
    const end = () => {
      if (!listeners.delete(listener)) return
      clearInterval(keepAlive)
      response.end('event: complete\ndata:\n\n')
    }
    const listener: Listener = {
      end,
      async hear({ kind, id }) {
        if (kind === 'CONSENT') {
          if (id === context.caller.consentId && (await consents.find(id))?.state !== 'ACTIVE') end()
          return
        }
        const own = (await consents.find(context.caller.consentId))?.state === 'ACTIVE'
        if (!own) return void end()
        const alert = await alerts.openFor(context.caller, context, id)
        if (!alert) return
        const answer = await run(schema, plan, variables, context, log, { alertReceived: alert })
        send(`event: next\nid: ${alert.publicId}\ndata: ${JSON.stringify(answer)}\n\n`)
      },
    }
    listeners.add(listener)
    response.on('close', end)
  }
}
