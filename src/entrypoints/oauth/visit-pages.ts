import { html, page } from '../../kernel/html.ts'
import type { HttpReply } from '../../kernel/http.ts'

/** Something went wrong on the way, and nothing was shared. */
export const problemPage = (what: string, status: number): HttpReply =>
  page(
    'This did not work',
    html`<h1>This did not work</h1>
      <p>${what}</p>
      <p>Nothing was shared. Please go back to the chat and start again.</p>`,
    { status },
  )

/** Where a browser goes on to. */
export interface RedirectTarget {
  /** The name of the bank or platform. */
  readonly name: string
  /** The host as an address bar shows it; empty for the scheme of an app. */
  readonly host: string
  readonly address: string
}

/** Leaves for another site by a link, and by itself if `isAutomatic`. Sends no address of the gateway along. */
export const redirectPage = ({ name, host, address }: RedirectTarget, isAutomatic: boolean): HttpReply =>
  page(
    `Going to ${name}`,
    html`<h1>Going to ${name}</h1>
      <p>
        ${isAutomatic ? 'Your browser now opens' : 'This link opens'}
        ${host === '' ? html`the app of ${name}` : html`<strong>${host}</strong>`}.
        ${isAutomatic && 'If nothing happens, use this link:'}
      </p>
      <div class="actions"><a class="button" href="${address}" rel="noreferrer">Continue to ${name}</a></div>`,
    { refresh: isAutomatic ? address : undefined },
  )

/** For a page of a visit that is over: by the back button, by loading it again, or in another browser. */
export const visitOverPage = (): HttpReply =>
  page(
    'This visit is over',
    html`<h1>This visit is over</h1>
      <p>Please go back to the chat. What you share is shown on <a href="/sharing">your own page</a>.</p>`,
    { status: 410 },
  )
