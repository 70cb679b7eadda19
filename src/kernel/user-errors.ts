import { toGatewayError, type ErrorCode, type GatewayError } from './errors.ts'

/** A fault that the caller can mend, as a mutation's payload shows it. */
export interface UserError {
  readonly code: ErrorCode
  readonly path: readonly string[]
  readonly message: string
}

/**
 * Runs a mutation: what it returns with no errors, or `failed` with those that the caller can mend. Anything else is
 * thrown on.
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
