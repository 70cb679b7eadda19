/** A page that the command-line browser has loaded. */
export interface Page {
  readonly url: string
  readonly status: number
  readonly text: string
}

/** A form of a page, with its hidden fields. */
export interface Form {
  readonly action: string
  readonly fields: readonly (readonly [name: string, value: string])[]
}

const MAX_HOPS = 16
const REFRESH = /<meta http-equiv="refresh" content="0;url=([^"]+)"/

/**
 * Creates a browser for one person: it stores cookies, follows redirects and `Refresh`, and submits forms. Cookies belong to a
 * host, regardless of the port (RFC 6265, 8.5), and a path. `headers` go with every request.
 */
export function createBrowser(headers: Readonly<Record<string, string>> = {}) {
  const jar: { host: string; path: string; name: string; value: string }[] = []

  function storeCookies(url: URL, headers: Headers): void {
    for (const line of headers.getSetCookie()) {
      const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
      const [name = '', value = ''] = pair.split(/=(.*)/s)
      const path = attributes.find((attribute) => /^path=/i.test(attribute))?.slice(5) ?? '/'
      const existingIndex = jar.findIndex(
        (cookie) => cookie.host === url.hostname && cookie.name === name && cookie.path === path,
      )
      if (existingIndex >= 0) jar.splice(existingIndex, 1)
      if (value && !attributes.some((attribute) => /^expires=thu, 01 jan 1970/i.test(attribute)))
        jar.push({ host: url.hostname, path, name, value })
    }
  }

  const cookieHeader = (url: URL): string =>
    jar
      .filter(
        ({ host, path }) =>
          host === url.hostname &&
          (url.pathname === path || url.pathname.startsWith(path.endsWith('/') ? path : `${path}/`)),
      )
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ')

  /** Opens an address and follows redirects to a page, or to the first address for which `isDestination` is true. */
  async function open(
    startUrl: string,
    isDestination: (url: URL) => boolean = () => false,
    form?: URLSearchParams,
  ): Promise<Page> {
    let url = new URL(startUrl)
    let body = form
    for (let hop = 0; hop < MAX_HOPS; hop++) {
      const response = await fetch(url, {
        method: body ? 'POST' : 'GET',
        headers: { ...headers, cookie: cookieHeader(url), accept: 'text/html', ...(body && { origin: url.origin }) },
        redirect: 'manual',
        ...(body && { body }),
      })
      storeCookies(url, response.headers)
      const isRedirect = response.status >= 300 && response.status <= 399
      const text = await response.text()
      const location = isRedirect ? response.headers.get('location') : decodeEntities(REFRESH.exec(text)?.[1] ?? '')
      if (!location) return { url: url.href, status: response.status, text }
      url = new URL(location, url)
      if (isDestination(url)) return { url: url.href, status: response.status, text: '' }
      if (response.status !== 307) body = undefined
    }
    throw new Error('too many redirects')
  }

  return {
    open,
    /** The `Cookie` header of a request to this address. */
    cookiesFor: (url: string): string => cookieHeader(new URL(url)),
    /** Submits the page's form with these fields and its hidden ones. */
    submit(
      page: Page,
      fields: readonly (readonly [string, string])[],
      isDestination?: (url: URL) => boolean,
    ): Promise<Page> {
      const form = parseForm(page)
      const hidden = form.fields.filter(([hiddenName]) => !fields.some(([name]) => name === hiddenName))
      return open(
        new URL(form.action, page.url).href,
        isDestination,
        new URLSearchParams([...hidden, ...fields].map(([name, value]): [string, string] => [name, value])),
      )
    },
  }
}
/** The browser of one person. */
export type Browser = ReturnType<typeof createBrowser>

/** The page's first form with its hidden fields. Throws if there is none. */
export function parseForm({ text, url, status }: Page): Form {
  const action = /<form[^>]*\saction="([^"]+)"/.exec(text)?.[1]
  if (action === undefined) {
    const { origin, pathname } = new URL(url)
    const heading = /<h1[^>]*>([^<]*)/.exec(text)?.[1]
    const shown = heading === undefined ? '' : `, "${decodeEntities(heading)}"`
    throw new Error(`the page at ${origin}${pathname} has no form: status ${status}${shown}`)
  }
  const fields = [...text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)].map(
    ([, name = '', value = '']) => [name, decodeEntities(value)] as const,
  )
  return { action, fields }
}

/** The values of the inputs with this name. */
export const parseChoices = ({ text }: Page, name: string): string[] =>
  [...text.matchAll(new RegExp(`name="${name}"\\s+value="([^"]*)"`, 'g'))].map(([, value = '']) =>
    decodeEntities(value),
  )

const decodeEntities = (text: string): string =>
  text.replace(/&#(\d+);/g, (_match, code: string) => String.fromCharCode(Number(code)))
