import { createAuthorizationHeaders, type Token } from '../../src/entrypoints/cli/oauth-client.ts'

/** An open subscription and everything that it has received. */
export interface OpenStream {
  readonly text: () => string
  /** True once the server has ended the stream. */
  readonly ended: () => boolean
  readonly status: number
  close(): void
}

/** Opens a subscription and collects all text that it receives. */
export async function listen(
  issuer: string,
  token: Token,
  query: string,
  headers: Record<string, string> = {},
): Promise<OpenStream> {
  const url = `${issuer}/graphql`
  const abort = new AbortController()
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      ...(await createAuthorizationHeaders(token, 'POST', url)),
      ...headers,
    },
    body: JSON.stringify({ query }),
    signal: abort.signal,
  })
  let text = ''
  let ended = false
  void (async () => {
    const decoder = new TextDecoder()
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>)
      text += decoder.decode(chunk, { stream: true })
    ended = true
  })().catch(() => undefined)
  return { text: () => text, ended: () => ended, status: response.status, close: () => abort.abort() }
}
