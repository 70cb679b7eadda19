import type { SandboxBank } from './bank.ts'
import type { Handler, Routes, SandboxReply } from './server.ts'

/** What can be made to go wrong. */
export const FAULTS = [
  'SERVER_ERROR',
  'HTML_ERROR',
  'TOO_MANY_REQUESTS',
  'FORBIDDEN',
  'NOT_FOUND',
  'REDIRECT',
  'TRUNCATED',
  'HTML',
  'EMPTY',
  'HUGE',
  'WRONG_TYPES',
] as const

/** One fault, how long it takes, and how often it happens before all is well again. */
export interface Fault {
  readonly kind: (typeof FAULTS)[number] | 'NONE'
  readonly delayMs: number
  times: number
}

/** Every account, and whatever else the interface has. */
export const EVERYWHERE = '*'
const MAX_DELAY_MS = 60_000

const broken = (reply: SandboxReply, purchase: string): Readonly<Record<Fault['kind'], SandboxReply>> => {
  const html = { 'content-type': 'text/html; charset=utf-8' }
  const body = reply.body ?? ''
  return {
    NONE: reply,
    SERVER_ERROR: { status: 503, headers: { 'content-type': 'application/json' }, body: `{"error":"${purchase}"}` },
    HTML_ERROR: { status: 500, headers: html, body: `<h1>Down</h1><p>${purchase}</p>` },
    TOO_MANY_REQUESTS: { status: 429, headers: { 'retry-after': '5' }, body: '' },
    FORBIDDEN: { status: 403, body: '' },
    NOT_FOUND: { status: 404, body: '' },
    REDIRECT: { status: 302, headers: { location: 'http://169.254.169.254/latest/meta-data' } },
    TRUNCATED: { ...reply, body: body.slice(0, Math.floor(body.length / 2)) },
    HTML: { status: 200, headers: html, body: `<html><body>${purchase}</body></html>` },
    EMPTY: { ...reply, body: '' },
    HUGE: { ...reply, body: `${body}${' '.repeat(2_000_000)}` },
    WRONG_TYPES: { ...reply, body: body.replace(/:"?(-?\d+\.\d\d)"?(?=[,}])/g, ':{"value":"$1"}') },
  }
}

/** The account API with its faults: those of the account that a path names, or else those of everything. */
export function withFaults(bank: SandboxBank, routes: Routes): Routes {
  const faulty =
    (handler: Handler): Handler =>
    async (request) => {
      const [id, fault] = [request.params['id'] ?? '', EVERYWHERE]
        .map((at) => [at, bank.faultAt(at)] as const)
        .find(([, found]) => found) ?? [undefined, undefined]
      if (!fault) return handler(request)
      if (--fault.times <= 0) bank.setFault(id, undefined)
      if (fault.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(fault.delayMs, MAX_DELAY_MS)))
      const account = bank.account(id)
      return broken(await handler(request), (account && bank.history(account).at(-1)?.merchant) ?? '')[fault.kind]
    }
  return Object.fromEntries(Object.entries(routes).map(([route, handler]) => [route, faulty(handler)]))
}
