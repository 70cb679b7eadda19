/** A value, or a promise of it. */
export type MaybePromise<T> = T | Promise<T>

/** Whether a value is a promise of any kind: drivers return thenables of their own. */
export const isPromise = <T>(value: T | Promise<T>): value is Promise<T> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'

/**
 * Continues with a value: at once if it is there, else when its promise settles. `onError` receives only the rejection of
 * that promise, not what `onValue` throws. A value that is there costs no promise, which counts where most values are cached.
 */
export function chain<T, R>(
  value: MaybePromise<T>,
  onValue: (value: T) => MaybePromise<R>,
  onError?: (thrown: unknown) => MaybePromise<R>,
): MaybePromise<R> {
  return isPromise(value) ? value.then(onValue, onError) : onValue(value)
}
