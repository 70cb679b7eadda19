import { asGatewayError, type GatewayError } from './errors.ts'

/** A fault that the caller can mend, as a mutation's payload shows it. */
export interface InputError {
  readonly code: string
  readonly path: readonly string[]
  readonly message: string
}

/**
 * Runs a mutation: what it returns with no errors, or `failed` with those that the caller can mend. Anything else is
 * thrown on.
 */
export async function mendable<T extends object, F extends object>(
  work: () => Promise<T>,
  failed: F,
): Promise<(T | F) & { errors: InputError[] }> {
  try {
    return { ...(await work()), errors: [] }
  } catch (thrown) {
    const error = asGatewayError(thrown)
    if (error.facts.category === 'INTERNAL') throw thrown
    return { ...failed, errors: inputErrors(error) }
  }
}

const inputErrors = ({ code, path, message, faults }: GatewayError): InputError[] =>
  faults.length === 0 ? [{ code, path: path ?? [], message }] : faults.map((fault) => ({ code, ...fault }))
