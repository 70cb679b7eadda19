import pg from 'pg'
import { GENERIC_PLAN_SETTINGS } from '../../src/storage/session.ts'

/** The statements that connections of the product have sent, as they were sent: with `$1` for each value. */
export interface Statements {
  readonly texts: ReadonlySet<string>
  /** Those of connections that plan each statement once. */
  readonly plannedOnce: ReadonlySet<string>
  stop(): void
}

/** What reads or writes tables; the rest (`begin`, `set`, `listen`) has no plan. */
const PLANNED = /^\s*(select|insert|update|delete|with)\b/i

/** Records the statements of every connection of this process that the product opens from now on. */
export function recordStatements(): Statements {
  const texts = new Set<string>()
  const plannedOnce = new Set<string>()
  const planningOnce = new WeakSet<object>()
  const prototype = pg.Client.prototype as unknown as { query: (...args: unknown[]) => unknown }
  const own = prototype.query
  prototype.query = function (this: { connectionParameters: { application_name?: string } }, ...args) {
    const [first] = args
    const text = typeof first === 'string' ? first : (first as { text?: string } | undefined)?.text
    if (this.connectionParameters.application_name === 'guichet' && text && PLANNED.test(text)) {
      if (planningOnce.has(this)) plannedOnce.add(text)
      // The statement that applies the settings of a connection is its first.
      if (text.includes(GENERIC_PLAN_SETTINGS.plan_cache_mode)) planningOnce.add(this)
      texts.add(text)
    }
    return Reflect.apply(own, this, args)
  }
  return { texts, plannedOnce, stop: () => void (prototype.query = own) }
}
