import { OperationTypeNode, type GraphQLFormattedError, type GraphQLSchema } from 'graphql'
import type { Clock } from '../../../kernel/clock.ts'
import { toGatewayError, GatewayError } from '../../../kernel/errors.ts'
import { errorTrace, type Log } from '../../../kernel/log.ts'
import { isPromise, type MaybePromise } from '../../../kernel/maybe-promise.ts'
import type { RequestContext } from '../../../kernel/request-context.ts'
import { retryAfterHeader } from '../../../kernel/retry-after.ts'
import type { Charge } from '../../../modules/clients/index.ts'
import type { Ledger } from '../../../modules/ledger/index.ts'
import { deniedError, buildError, fieldError, requestError } from '../errors.ts'
import { compileOperation, type CompiledOperation, type ExecutionResult } from './compile.ts'
import { toAsciiJson } from './json.ts'
import { readMemoizableFields } from './memoizable.ts'
import { denialHeaders, denialStatus } from '../authorization/insufficient-scope.ts'
import { MAX_COST, operationTooExpensive } from '../limits.ts'
import type { DeniedField, Plan } from './plan.ts'
import type { Planner } from './planner.ts'
import type { ParsedOperation } from '../read-document.ts'
import { coerceVariables } from './variables.ts'
import type { VisibleSchemaFor } from '../authorization/visible-schema.ts'

/** The response to one operation. */
export interface OperationResponse {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  /** JSON text, in ASCII. */
  readonly body: string
  /** Whether a field of an executed operation failed or was denied. */
  readonly hasFieldErrors?: boolean
}

/** The input of one operation. */
export interface OperationRequest {
  readonly context: RequestContext
  readonly variables: Readonly<Record<string, unknown>>
  /** Whether the client prefers an error for the whole request to a response without the denied fields. */
  readonly rejectUnauthorized?: boolean
  /** The root value of a subscription event. */
  readonly rootValue?: unknown
}

/** A request that was already charged `MIN_COST`. */
export type ChargedRequest = OperationRequest & { readonly charge: Charge }

/** Dependencies of operations. */
export interface OperationDependencies {
  readonly schema: GraphQLSchema
  readonly planner: Planner
  readonly visibleSchemaFor: VisibleSchemaFor
  readonly ledger: Ledger
  readonly issuer: string
  readonly clock: Clock
  readonly log: Log
}

/** The points that every request costs, even a rejected one. */
export const MIN_COST = 1

const compiledOperations = new WeakMap<Plan, CompiledOperation>()

/**
 * Runs parsed operations: coerces variables, plans, charges, executes and refunds. No resolver is called in any other way,
 * whether the operation arrives by POST, GET or a stream.
 */
export function createOperations(dependencies: OperationDependencies) {
  const { schema, planner, visibleSchemaFor, ledger, issuer, clock, log } = dependencies
  const memoizable = readMemoizableFields(schema)
  const errorResponse = (status: number, errors: readonly GraphQLFormattedError[], data?: null): OperationResponse => ({
    status,
    body: toAsciiJson(JSON.stringify({ errors, ...(data === null && { data }) })),
  })

  /** The response that rejects a whole request because of its denied fields. */
  const rejectDenied = (denied: readonly DeniedField[], context: RequestContext): OperationResponse => ({
    ...errorResponse(
      denialStatus(context.caller),
      denied.map((field) => deniedError(field, context)),
      null,
    ),
    headers: denialHeaders(denied, context.caller, issuer),
  })

  /** Returns the operation's plan for this caller and its coerced variables, or an error response. */
  function prepare(
    operation: ParsedOperation,
    { context, variables, rejectUnauthorized }: OperationRequest,
  ): { plan: Plan; coerced: Record<string, unknown> } | OperationResponse {
    const { requestId, caller } = context
    const coercion = coerceVariables(schema, operation, variables, {
      requestId,
      getVisibleSchema: () => visibleSchemaFor(caller),
    })
    if (coercion.errors) return errorResponse(400, coercion.errors)
    const { coerced } = coercion
    const plan = planner.planFor(operation, caller, coerced)
    if (rejectUnauthorized && plan.denied.length > 0) return rejectDenied(plan.denied, context)
    return { plan, coerced }
  }

  function execute(
    plan: Plan,
    variables: Readonly<Record<string, unknown>>,
    { context, rootValue }: OperationRequest,
  ): MaybePromise<ExecutionResult> {
    let compiled = compiledOperations.get(plan)
    if (!compiled) compiledOperations.set(plan, (compiled = compileOperation(plan, memoizable)))
    return compiled.run({
      variables,
      context,
      rootValue,
      visibleSchema: plan.usesIntrospection ? visibleSchemaFor(context.caller) : schema,
    })
  }

  /** The members `data` and `errors` of a response, without braces. */
  function writeMembers(plan: Plan, { data, failures, denied }: ExecutionResult, context: RequestContext): string {
    if (failures.length === 0 && plan.denied.length === 0 && denied.size === 0) return `"data":${data}`
    const errors = [
      ...failures.map((failure) => fieldError(failure, { requestId: context.requestId, clock, log })),
      ...[...plan.denied, ...denied].map((field) => deniedError(field, context)),
    ]
    return `"data":${data},"errors":${toAsciiJson(JSON.stringify(errors))}`
  }

  return {
    prepare,
    refuseDenied: rejectDenied,

    /** Runs a query or mutation and charges the caller. Refunds unused points, except for `MIN_COST`. */
    async run(operation: ParsedOperation, request: ChargedRequest): Promise<OperationResponse> {
      const { charge } = request
      const { requestId } = request.context
      if (operation.operation.operation === OperationTypeNode.SUBSCRIPTION)
        return errorResponse(400, [
          buildError('MALFORMED_REQUEST', requestId, {
            message: 'A subscription needs `text/event-stream` in the Accept header.',
          }),
        ])
      const prepared = prepare(operation, request)
      if ('status' in prepared) return prepared
      const { plan, coerced } = prepared
      const requestedPoints = Math.max(MIN_COST, plan.cost(coerced))
      if (requestedPoints > MAX_COST)
        return errorResponse(400, [requestError(operationTooExpensive(requestedPoints), requestId, clock)])
      try {
        const pendingCharge = charge.add(requestedPoints - MIN_COST)
        if (pendingCharge) await pendingCharge
      } catch (error) {
        return rateLimitedResponse(error, requestId, clock)
      }
      const executed = execute(plan, coerced, request)
      // Awaiting a value that is no promise would cost a turn of the microtask queue.
      const result = isPromise(executed) ? await executed : executed
      try {
        // Reads are recorded in the ledger before the response is sent.
        await ledger.commitReads(request.context)
      } catch (error) {
        log.error('ledger.write_failed', { requestId, trace: errorTrace(error) })
        const gatewayError = toGatewayError(error)
        return errorResponse(gatewayError.definition.httpStatus, [requestError(gatewayError, requestId, clock)], null)
      }
      const usedPoints = Math.max(MIN_COST, result.usedPoints)
      charge.refund(requestedPoints - usedPoints)
      const hasFieldErrors = result.failures.length + plan.denied.length + result.denied.size > 0
      if (hasFieldErrors) charge.markFailed()
      if (request.rejectUnauthorized && result.denied.size > 0) return rejectDenied([...result.denied], request.context)
      const { limit, remaining, resetsAt } = charge.remainingQuota()
      const cost = `"requested":${requestedPoints},"used":${usedPoints},"limit":${limit},"remaining":${remaining},"resetsAt":"${resetsAt}"`
      const body = `{${writeMembers(plan, result, request.context)},"extensions":{"cost":{${cost}}}}`
      return { status: 200, body, hasFieldErrors }
    },

    /** Executes one event of a subscription, which was charged when the subscription started. */
    async executeEvent(
      plan: Plan,
      variables: Readonly<Record<string, unknown>>,
      request: OperationRequest,
    ): Promise<string> {
      const result = await execute(plan, variables, request)
      await ledger.commitReads(request.context)
      return `{${writeMembers(plan, result, request.context)}}`
    },

    /** Charges the start of a subscription, for which `MIN_COST` was already charged. Returns a response if the quota is used up. */
    async chargeSubscription(
      charge: Charge,
      points: number,
      requestId: string,
    ): Promise<OperationResponse | undefined> {
      try {
        await charge.add(points - MIN_COST)
        return undefined
      } catch (error) {
        return rateLimitedResponse(error, requestId, clock)
      }
    },
  }
}
/** Runs operations. */
export type Operations = ReturnType<typeof createOperations>

function rateLimitedResponse(error: unknown, requestId: string, clock: Clock): OperationResponse {
  if (!(error instanceof GatewayError) || error.code !== 'RATE_LIMITED') throw error
  return {
    status: error.definition.httpStatus,
    headers: retryAfterHeader(error.retryAfterSeconds),
    body: JSON.stringify({ errors: [requestError(error, requestId, clock)] }),
  }
}
