/** A browser without a screen, for people in a terminal: keeps cookies, follows redirects and `Refresh`, fills in forms. */
export interface Page {
  readonly url: string
  readonly status: number
  readonly text: string
}

export interface Form {
  readonly action: string
  readonly fields: readonly (readonly [name: string, value: string])[]
}

const MAX_HOPS = 16
const REFRESH = /<meta http-equiv="refresh" content="0;url=([^"]+)"/

/** One person's browser. Cookies belong to a host, whatever the port (RFC 6265, 8.5), and a path. */
export function createBrowser() {
  const jar: { host: string; path: string; name: string; value: string }[] = []

  function storeCookies(url: URL, headers: Headers): void {
    for (const line of headers.getSetCookie()) {
      const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
      const [name = '', value = ''] = pair.split(/=(.*)/s)
      const path = attributes.find((one) => /^path=/i.test(one))?.slice(5) ?? '/'
      const existingIndex = jar.findIndex(
        (cookie) => cookie.host === url.hostname && cookie.name === name && cookie.path === path,
      )
      if (existingIndex >= 0) jar.splice(existingIndex, 1)
      if (value && !attributes.some((one) => /^expires=thu, 01 jan 1970/i.test(one)))
        jar.push({ host: url.hostname, path, name, value })
    }
  }

  const cookies = (url: URL): string =>
    jar
      .filter(
        ({ host, path }) =>
          host === url.hostname &&
          (url.pathname === path || url.pathname.startsWith(path.endsWith('/') ? path : `${path}/`)),
      )
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ')

  /** Opens an address and follows it to a page, or to the first address for which `until` is true. */
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
        headers: { cookie: cookies(url), accept: 'text/html', ...(body && { origin: url.origin }) },
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
      body = undefined
    }
    throw new Error('too many redirects')
  }

  return {
    open,
    /** The cookies that would go with a request to this address. */
    cookiesFor: (url: string): string => cookies(new URL(url)),
    /** Sends the page's form with these fields beside its hidden ones. */
    submit(
      page: Page,
      fields: readonly (readonly [string, string])[],
      isDestination?: (url: URL) => boolean,
    ): Promise<Page> {
      const form = parseForm(page)
      const hidden = form.fields.filter(([name]) => !fields.some(([given]) => given === name))
      return open(
        new URL(form.action, page.url).href,
        isDestination,
        new URLSearchParams([...hidden, ...fields].map(([name, value]): [string, string] => [name, value])),
      )
    },
  }
}
export type Browser = ReturnType<typeof createBrowser>

/** The page's one form with its hidden fields. Throws where there is none. */
export function parseForm({ text, url }: Page): Form {
  const action = /<form[^>]*\saction="([^"]+)"/.exec(text)?.[1]
  if (action === undefined) throw new Error(`the page at ${new URL(url).origin}${new URL(url).pathname} has no form`)
  const fields = [...text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)].map(
    ([, name = '', value = '']) => [name, decodeEntities(value)] as const,
  )
  return { action, fields }
}

/** The values that a choice on the page offers. */
export const parseChoices = ({ text }: Page, name: string): string[] =>
  [...text.matchAll(new RegExp(`name="${name}"\\s+value="([^"]*)"`, 'g'))].map(([, value = '']) =>
    decodeEntities(value),
  )

const decodeEntities = (text: string): string =>
  text.replace(/&#(\d+);/g, (_match, code: string) => String.fromCharCode(Number(code)))
