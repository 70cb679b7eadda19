import { toGatewayError, type ErrorCode, type GatewayError } from './errors.ts'

/** An error that the caller can correct, as a mutation's payload shows it. */
export interface UserError {
  readonly code: ErrorCode
  readonly path: readonly string[]
  readonly message: string
}

/**
 * Runs a mutation. Returns its result with empty `userErrors`, or `onFailure` with the errors that the caller can correct.
 * Internal errors are rethrown.
 */
export async function withUserErrors<T extends object, F extends object>(
  run: () => Promise<T>,
  onFailure: F,
): Promise<(T | F) & { userErrors: UserError[] }> {
  try {
    return { ...(await run()), userErrors: [] }
  } catch (thrown) {
    const error = toGatewayError(thrown)
    if (error.definition.category === 'INTERNAL') throw thrown
    return { ...onFailure, userErrors: toUserErrors(error) }
  }
}

const toUserErrors = ({ code, path, message, faults }: GatewayError): UserError[] =>
  faults.length === 0 ? [{ code, path: path ?? [], message }] : faults.map((fault) => ({ code, ...fault }))
