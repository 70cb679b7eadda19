import { OperationTypeNode, type GraphQLFormattedError, type GraphQLSchema } from 'graphql'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { traceOf, type Log } from '../../kernel/log.ts'
import type { RequestContext } from '../../kernel/request.ts'
import type { Charge } from '../../modules/clients/index.ts'
import type { Ledger } from '../../modules/ledger/index.ts'
import { deniedError, errorOf, failureError, requestError } from './errors.ts'
import { inAscii, program, type Program, type ProgramAnswer } from './executor.ts'
import { denialHeaders, denialStatus } from './insufficient-scope.ts'
import { MAX_COST, tooExpensive } from './limits.ts'
import type { DeniedField, Plan } from './plan.ts'
import type { Planner } from './planner.ts'
import type { ParsedOperation } from './read-document.ts'
import { coerceVariables } from './variables.ts'
import type { Visible } from './visible.ts'

/** What goes back for one operation. */
export interface OperationAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  /** JSON text, in ASCII. */
  readonly body: string
}

/** What an operation is asked with. */
export interface OperationRequest {
  readonly context: RequestContext
  readonly variables: Readonly<Record<string, unknown>>
  /** Where the client wants the whole request refused rather than fields left out. */
  readonly refuseWhole?: boolean
  /** What a subscription's field answers with. */
  readonly rootValue?: unknown
}

/** A request to run, of which one point is paid. */
export type PaidRequest = OperationRequest & { readonly charge: Charge }

/** What operations are run with. */
export interface OperationDependencies {
  readonly schema: GraphQLSchema
  readonly planner: Planner
  readonly visible: Visible
  readonly ledger: Ledger
  readonly issuer: string
  readonly log: Log
}

/** What every request costs, whatever comes of it. */
export const LEAST_COST = 1

const programs = new WeakMap<Plan, Program>()

/**
 * Runs an operation that was parsed and checked: variables, plan, charge, execution, refund. The one way to a resolver,
 * whatever address or protocol the operation came by.
 */
export function createOperations({ schema, planner, visible, ledger, issuer, log }: OperationDependencies) {
  const refuse = (status: number, errors: readonly GraphQLFormattedError[], data?: null): OperationAnswer => ({
    status,
    body: inAscii(JSON.stringify({ errors, ...(data === null && { data }) })),
  })

  /** Refuses a whole request for the fields that the caller may not have. */
  const refuseDenied = (denied: readonly DeniedField[], context: RequestContext): OperationAnswer => ({
    ...refuse(
      denialStatus(context.caller),
      denied.map((field) => deniedError(field, context)),
      null,
    ),
    headers: denialHeaders(denied, context.caller, issuer),
  })

  /** The operation's plan for this caller, and its variables; or why not. */
  function prepare(
    operation: ParsedOperation,
    { context, variables, refuseWhole }: OperationRequest,
  ): { plan: Plan; coerced: Record<string, unknown> } | OperationAnswer {
    const { requestId, caller } = context
    const given = coerceVariables(schema, operation, variables, {
      requestId,
      visible: () => visible(caller),
    })
    if (given.errors) return refuse(400, given.errors)
    const { coerced } = given
    const plan = planner.plan(operation, caller, coerced)
    if (refuseWhole && plan.denied.length > 0) return refuseDenied(plan.denied, context)
    return { plan, coerced }
  }

  function execute(
    plan: Plan,
    variables: Readonly<Record<string, unknown>>,
    { context, rootValue }: OperationRequest,
  ): ProgramAnswer | Promise<ProgramAnswer> {
    let made = programs.get(plan)
    if (!made) programs.set(plan, (made = program(schema, plan)))
    return made.run({
      variables,
      context,
      rootValue,
      visible: plan.introspects ? visible(context.caller) : schema,
    })
  }

  /** The members of an answer, without its braces. */
  function answerOf(plan: Plan, { data, failures, denied }: ProgramAnswer, context: RequestContext): string {
    if (failures.length === 0 && plan.denied.length === 0 && denied.size === 0) return `"data":${data}`
    const errors = [
      ...failures.map((failure) => failureError(failure, context.requestId, log)),
      ...[...plan.denied, ...denied].map((field) => deniedError(field, context)),
    ]
    return `"data":${data},"errors":${inAscii(JSON.stringify(errors))}`
  }

  return {
    prepare,
    refuseDenied,

    /** Runs a query or mutation, charged to the caller; what was charged and not used goes back, all but one point. */
    async run(operation: ParsedOperation, request: PaidRequest): Promise<OperationAnswer> {
      const { charge } = request
      const { requestId } = request.context
      if (operation.operation.operation === OperationTypeNode.SUBSCRIPTION)
        return refuse(400, [
          errorOf('MALFORMED_REQUEST', requestId, {
            message: 'A subscription needs `text/event-stream` in the Accept header.',
          }),
        ])
      const ready = prepare(operation, request)
      if ('status' in ready) return ready
      const { plan, coerced } = ready
      const requested = Math.max(LEAST_COST, plan.cost(coerced))
      if (requested > MAX_COST) return refuse(400, [requestError(tooExpensive(requested), requestId)])
      try {
        const charging = charge.add(requested - LEAST_COST)
        if (charging) await charging
      } catch (error) {
        return limited(error, requestId)
      }
      const executing = execute(plan, coerced, request)
      const done = executing instanceof Promise ? await executing : executing
      try {
        // Nothing that was read leaves before the ledger has it.
        await ledger.settle(request.context)
      } catch (error) {
        log.error('ledger.unwritten', { requestId, trace: traceOf(error) })
        const { code, facts } = asGatewayError(error)
        return refuse(facts.status, [errorOf(code, requestId)], null)
      }
      const used = Math.max(LEAST_COST, done.used)
      charge.refund(requested - used)
      if (done.failures.length + plan.denied.length + done.denied.size > 0) charge.fail()
      if (request.refuseWhole && done.denied.size > 0) return refuseDenied([...done.denied], request.context)
      const { limit, remaining, resetsAt } = charge.left()
      const cost = `"requested":${requested},"used":${used},"limit":${limit},"remaining":${remaining},"resetsAt":"${resetsAt}"`
      return { status: 200, body: `{${answerOf(plan, done, request.context)},"extensions":{"cost":{${cost}}}}` }
    },

    /** Answers one event of a subscription, which was paid for when it began. */
    async answerEvent(
      plan: Plan,
      variables: Readonly<Record<string, unknown>>,
      request: OperationRequest,
    ): Promise<string> {
      const done = await execute(plan, variables, request)
      await ledger.settle(request.context)
      return `{${answerOf(plan, done, request.context)}}`
    },

    /** Charges for beginning a subscription, of which one point is paid; an answer where the caller has nothing left. */
    async charge(charge: Charge, points: number, requestId: string): Promise<OperationAnswer | undefined> {
      try {
        await charge.add(points - LEAST_COST)
        return undefined
      } catch (error) {
        return limited(error, requestId)
      }
    },
  }
}
/** Runs operations. */
export type Operations = ReturnType<typeof createOperations>

function limited(error: unknown, requestId: string): OperationAnswer {
  if (!(error instanceof GatewayError) || error.code !== 'RATE_LIMITED') throw error
  return {
    status: error.facts.status,
    headers: { 'retry-after': String(error.retryAfterS ?? 60) },
    body: JSON.stringify({ errors: [errorOf('RATE_LIMITED', requestId)] }),
  }
}
