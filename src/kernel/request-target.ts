/**
 * The address that a request line names, at this origin. Undefined unless the target is in origin form (RFC 9112, 3.2.1) and
 * its path is spelt as it is parsed: of `//a`, `/x\..\a`, `/%2e/a`, `/a#b` and absolute forms a proxy in front may have
 * read another path than we would, and its rules would have been for that one.
 */
export function parseRequestTarget(target: string, origin: string): URL | undefined {
  if (!target.startsWith('/') || target.startsWith('//') || target.includes('#')) return undefined
  const url = URL.parse(target, origin)
  const path = target.split('?', 1)[0]
  return url?.origin === origin && url.pathname === path ? url : undefined
}
