import type { PlannedObject } from './plan.ts'

/**
 * Types whose objects their module keeps from request to request and never changes, with the fields that say nothing
 * but what the object holds. What a plan answers from these is made once for each object, and forgotten with it. A field
 * that looks at the clock, a table or a budget does not belong here, nor does one that the ledger must hear of: the
 * lists that these objects come from are noted where they are opened.
 */
const CACHEABLE_FIELDS: Readonly<Record<string, readonly string[]>> = {
  Account: ['id', 'bank', 'displayName', 'maskedNumber', 'type', 'usage', 'status', 'currencies', 'thresholdSteps'],
  Bank: ['id', 'name', 'country'],
  ExactBalance: ['type', 'value', 'asOf', 'freshness', 'creditLineIncluded', 'creditLimit'],
  Alert: ['id', 'type', 'severity', 'requestedAction', 'occurredAt', 'accountId', 'bank'],
  AlertConnection: ['edges', 'nodes', 'pageInfo', 'totalCount'],
  AlertEdge: ['cursor', 'node'],
  PageInfo: ['hasNextPage', 'hasPreviousPage', 'startCursor', 'endCursor'],
}

/** Types whose objects belong to one of those above: written with it, and never for themselves. */
const VALUE_TYPES: ReadonlySet<string> = new Set(['Money'])

/** An answer that was made for this request alone is not met again, and would only burden the memory of what is. */
export const isReusable = (object: unknown): boolean => (object as { freshness?: unknown }).freshness !== 'LIVE'

/** Which of the fields asked of an object can be made once; nothing where its type is not kept. */
export function findCacheableKeys(planned: PlannedObject): ReadonlySet<string> {
  const cacheable = CACHEABLE_FIELDS[planned.type.name] ?? []
  return new Set(
    planned.fields
      .filter(
        ({ kind, name, args, objects }) =>
          cacheable.length > 0 &&
          (kind !== 'authorized' ||
            (cacheable.includes(name) &&
              args !== undefined &&
              [...(objects?.values() ?? [])].every(
                (inner) =>
                  inner.conditionalDenials.length === 0 &&
                  (VALUE_TYPES.has(inner.type.name) || findCacheableKeys(inner).size === inner.fields.length),
              ))),
      )
      .map(({ key }) => key),
  )
}
