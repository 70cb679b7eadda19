import type { HttpResponse, HttpRequest } from '../../kernel/http.ts'

const PREFETCH_HEADERS = ['sec-purpose', 'purpose', 'x-moz'] as const

/**
 * Whether a request is a prefetch (`Sec-Purpose`, Fetch Standard, 3.8, and its predecessors) or a HEAD request, so that nobody
 * has opened the page. Such a request must not take a step that can be taken only once.
 */
export const isPrefetch = ({ method, headers }: HttpRequest): boolean =>
  method === 'HEAD' || PREFETCH_HEADERS.some((name) => /\bprefetch\b/i.test(String(headers[name] ?? '')))

/** The response that makes a browser discard the prefetch and request the page again when it is opened. */
export const rejectPrefetch = (): HttpResponse => ({ status: 503 })
