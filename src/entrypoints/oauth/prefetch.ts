import type { HttpResponse, HttpRequest } from '../../kernel/http.ts'

const PREFETCH_HEADERS = ['sec-purpose', 'purpose', 'x-moz'] as const

/**
 * Whether nobody has opened the page: a browser fetches it ahead of its user (`Sec-Purpose`, Fetch Standard, 3.8, and its
 * forerunners), or somebody asks for its headers alone. Such a request takes no step that can be taken once.
 */
export const isPrefetch = ({ method, headers }: HttpRequest): boolean =>
  method === 'HEAD' || PREFETCH_HEADERS.some((name) => /\bprefetch\b/i.test(String(headers[name] ?? '')))

/** The answer that makes a browser drop what it has fetched ahead, and ask again once its user opens the page. */
export const rejectPrefetch = (): HttpResponse => ({ status: 503 })
