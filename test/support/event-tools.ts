import { createEventKeys } from '../../src/connectors/index.ts'
import type { EventTools } from '../../src/connectors/bank-event.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'

/** The tools for reading events of a bank whose published keys, if it has any, are what `respond` returns. */
export function eventTools(
  respond: (request: OutboundRequest) => OutboundResponse | Promise<OutboundResponse> = () => {
    throw new Error('the bank publishes no keys')
  },
  clock = { now: () => new Date() },
): EventTools {
  const http = { send: async (request: OutboundRequest) => Promise.resolve(respond(request)) }
  return { clock, keys: createEventKeys(clock, () => Promise.resolve(http)) }
}
