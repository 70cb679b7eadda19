import type { SandboxBank } from './bank.ts'
import { ALL_ACCOUNTS, type Fault } from './faults.ts'
import type { Handler, Routes, SandboxResponse } from './server.ts'

const MAX_DELAY_MS = 60_000

const faultyResponses = (
  response: SandboxResponse,
  merchant: string,
): Readonly<Record<Fault['kind'], SandboxResponse>> => {
  const html = { 'content-type': 'text/html; charset=utf-8' }
  const body = response.body ?? ''
  return {
    NONE: response,
    SERVER_ERROR: { status: 503, headers: { 'content-type': 'application/json' }, body: `{"error":"${merchant}"}` },
    HTML_ERROR: { status: 500, headers: html, body: `<h1>Down</h1><p>${merchant}</p>` },
    TOO_MANY_REQUESTS: { status: 429, headers: { 'retry-after': '5' }, body: '' },
    FORBIDDEN: { status: 403, body: '' },
    NOT_FOUND: { status: 404, body: '' },
    REDIRECT: { status: 302, headers: { location: 'http://169.254.169.254/latest/meta-data' } },
    TRUNCATED: { ...response, body: body.slice(0, Math.floor(body.length / 2)) },
    HTML: { status: 200, headers: html, body: `<html><body>${merchant}</body></html>` },
    EMPTY: { ...response, body: '' },
    HUGE: { ...response, body: `${body}${' '.repeat(2_000_000)}` },
    WRONG_TYPES: { ...response, body: body.replace(/:"?(-?\d+\.\d\d)"?(?=[,}])/g, ':{"value":"$1"}') },
  }
}

/** Adds injected faults to the account API: those of the account in the path, or else those of all accounts. */
export function withFaults(bank: SandboxBank, routes: Routes): Routes {
  const withFault =
    (handler: Handler): Handler =>
    async (request) => {
      const [id, fault] = [request.params['id'] ?? '', ALL_ACCOUNTS]
        .map((target) => [target, bank.faultFor(target)] as const)
        .find(([, match]) => match) ?? [undefined, undefined]
      if (!fault) return handler(request)
      if (--fault.times <= 0) bank.setFault(id, undefined)
      if (fault.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(fault.delayMs, MAX_DELAY_MS)))
      const account = bank.account(id)
      return faultyResponses(await handler(request), (account && bank.history(account).at(-1)?.merchant) ?? '')[
        fault.kind
      ]
    }
  return Object.fromEntries(Object.entries(routes).map(([route, handler]) => [route, withFault(handler)]))
}
