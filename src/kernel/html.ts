import { createHash } from 'node:crypto'
import type { BufferedResponse } from './http.ts'

/** Trusted markup, which is inserted unescaped. */
export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

type HtmlValue = Html | string | number | false | null | undefined | readonly HtmlValue[]

/** A template tag that escapes every value except `Html`. `false`, `null` and `undefined` render as nothing. */
export const html = (strings: TemplateStringsArray, ...parts: readonly HtmlValue[]): Html =>
  new Html(strings.reduce((text, literal, index) => text + literal + renderValue(parts[index]), ''))

function renderValue(part: HtmlValue): string {
  if (part instanceof Html) return part.text
  if (part === false || part === null || part === undefined) return ''
  if (typeof part === 'object') return part.map(renderValue).join('')
  return String(part).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

const STYLE = `
:root{color-scheme:light dark;--ink:#17212b;--paper:#fff;--ground:#f1f3f5;--line:#c9d1d9;--accent:#0a5c5c;--never:#7a1f1f}
@media(prefers-color-scheme:dark){:root{--ink:#e8edf2;--paper:#1b242d;--ground:#11181f;--line:#3c4a57;--accent:#5cc2c2;--never:#ff9c9c}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:1.0625rem/1.55 system-ui,sans-serif}
main{max-width:34rem;margin:0 auto;min-height:100vh;background:var(--paper);padding:1.5rem clamp(1rem,5vw,2.5rem) 3rem}
@media(min-width:44rem){main{min-height:auto;margin:3rem auto;border-radius:.75rem;border:1px solid var(--line)}}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0 1rem}h2{font-size:1.1rem;margin:1.75rem 0 .5rem}article>h2:first-child{margin-top:0}
.step{color:var(--accent);font-weight:600;margin:0}fieldset{border:0;margin:0;padding:0}legend{padding:0}
.choice{display:flex;gap:.75rem;align-items:flex-start;padding:.8rem;border:1px solid var(--line);border-radius:.5rem;margin:.5rem 0}
.choice input{inline-size:1.25rem;block-size:1.25rem;margin:.15rem 0 0;flex:none}.choice small{display:block;opacity:.8}
.refusing{border-style:dashed}
.field{display:block;margin:1rem 0}.field small{display:block;opacity:.8}.field input{display:block;inline-size:100%;margin-top:.4rem;padding:.7rem .8rem;font:inherit;color:inherit;background:transparent;border:1px solid var(--line);border-radius:.5rem}
.never{border:1px solid var(--never);color:var(--never);border-radius:.5rem;padding:.8rem;margin:.75rem 0}
.missing{border:2px solid var(--ink);border-radius:.5rem;padding:.8rem}dd p{margin:0 0 .25rem}
.chat{border-inline-start:4px solid var(--accent);padding:.25rem 0 .25rem .8rem;margin:.75rem 0;overflow-wrap:anywhere}
.actions{display:flex;flex-wrap:wrap;gap:.75rem;margin-top:1.75rem}
button,.button{flex:1 1 10rem;font:inherit;font-weight:600;padding:.8rem 1rem;border-radius:.5rem;border:2px solid var(--accent);background:transparent;color:var(--accent);cursor:pointer;text-align:center;text-decoration:none}
button:focus-visible,.button:focus-visible,input:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem}dt{opacity:.75}dd{margin:0}
.apart{margin-top:2.5rem;border-top:1px solid var(--line)}.apart .actions{margin-top:0}
article{border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:1rem 0}code{overflow-wrap:anywhere}a{color:var(--accent)}`
const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

/** Options of a page. */
export interface PageOptions {
  readonly status?: number
  /** A URL that the browser opens without a referrer: at once, or after some seconds. */
  readonly refreshUrl?: string | undefined
  readonly refreshAfterSeconds?: number | undefined
  /** The only script of the page, allowed by its hash. It runs after the body. */
  readonly script?: string | undefined
}

/**
 * Renders a page without external content; its policy allows the one style sheet by hash, and a script only if the page has one. Forms, and every redirect
 * that follows them, must lead to the gateway: browsers apply `form-action` to redirects too.
 */
export function renderPage(
  title: string,
  body: Html,
  { status = 200, refreshUrl, refreshAfterSeconds = 0, script }: PageOptions = {},
): BufferedResponse {
  const policy = [
    "default-src 'none'",
    `style-src 'sha256-${STYLE_HASH}'`,
    ...(script === undefined ? [] : [`script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`]),
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
  return {
    status,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': policy,
      ...(refreshUrl !== undefined && { 'referrer-policy': 'no-referrer' }),
    },
    body: html`<!doctype html>
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta name="viewport" content="width=device-width, initial-scale=1" />
          ${refreshUrl !== undefined && html`<meta http-equiv="refresh" content="${refreshAfterSeconds};url=${refreshUrl}" />`}
          <title>${title === 'Guichet' ? title : `${title} · Guichet`}</title>
          ${new Html(`<style>${STYLE}</style>`)}
        </head>
        <body>
          <main>${body}</main>
          ${script !== undefined && new Html(`<script>${script}</script>`)}
        </body>
      </html>`.text,
  }
}
