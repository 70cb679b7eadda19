/**
 * The URL of a request target at this origin. `undefined` unless the target is in origin form (RFC 9112, 3.2.1) and parsing
 * leaves its path unchanged: a proxy may read `//a`, `/x\..\a`, `/%2e/a`, `/a#b` and absolute forms as another path than we
 * do, and would then apply the rules of the wrong path.
 */
export function parseRequestTarget(target: string, origin: string): URL | undefined {
  if (!target.startsWith('/') || target.startsWith('//') || target.includes('#')) return undefined
  const url = URL.parse(target, origin)
  const path = target.split('?', 1)[0]
  return url?.origin === origin && url.pathname === path ? url : undefined
}
