/** Decodes the header (0) or the claims (1) of an unverified JWT; empty if the part is malformed. */
export function decodePart(token: string, index: 0 | 1): Readonly<Record<string, unknown>> {
  try {
    const part: unknown = JSON.parse(Buffer.from(token.split('.')[index] ?? '', 'base64url').toString('utf8'))
    return part instanceof Object ? (part as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
