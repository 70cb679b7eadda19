import { html, page, type Html } from '../../kernel/html.ts'
import type { HttpReply } from '../../kernel/http.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Bank } from '../../modules/banks/index.ts'
import {
  accountsWords,
  asksWords,
  listed,
  never,
  purposeWords,
  sharedWords,
  switchesFor,
  type Agreed,
} from './words.ts'

const DURATIONS: readonly [days: number, label: string][] = [
  [1, 'One day'],
  [30, '30 days'],
  [90, '90 days'],
  [365, 'One year'],
]

/** One customer's walk through the consent pages. */
export interface Visit {
  readonly uid: string
  readonly platform: string
  /** The platform's label of the chat that the link was made for, where it gave one. */
  readonly chat: string | undefined
  /**
   * Whether somebody agreed in this browser before and the platform does not say who this is. A browser can have more
   * than one person, and what one shares must not turn up in the other's chat.
   */
  readonly asksWhoItIs: boolean
}

/** The duration that `days` stands for, as it is agreed to. */
const durationWords = (days: number): string =>
  (DURATIONS.find(([known]) => known === days)?.[1] ?? '90 days').replace('One', 'one')

const form = (visit: Visit, action: string, fields: Html): Html =>
  html`<form method="post" action="/interaction/${visit.uid}/${action}">${fields}</form>`

const decide = (go: string): Html =>
  html`<div class="actions">
    <button name="decision" value="go">${go}</button
    ><button name="decision" value="cancel" formnovalidate>Not now</button>
  </div>`

/** What was chosen on the first page. */
export interface Chosen {
  readonly bank: Bank
  /** Whether the customer is the one who agreed in this browser before. */
  readonly same: boolean
}

const carriedOn = ({ bank, same }: Chosen): Html =>
  html`<input type="hidden" name="bank" value="${bank.id}" /><input type="hidden" name="same" value="${same ? 'yes' : 'no'}" />`

const whoItIs = html`<fieldset><legend><h2>Somebody has shared a bank in this browser before. Was that you?</h2></legend>
  <label class="choice"><input type="radio" name="same" value="yes" required /><span>Yes<small>Your banks are shown together.</small></span></label>
  <label class="choice"><input type="radio" name="same" value="no" required /><span>No<small>Nothing of theirs is shown to you, nor of yours to them.</small></span></label></fieldset>`

/** Which chat the bank will be connected to: a link can have been forwarded by somebody else. */
const whichChat = ({ platform, chat }: Visit): Html =>
  html`<p class="chat">
    ${
      chat === undefined
        ? html`This connects your bank to <strong>a chat in ${platform}</strong>.`
        : html`This connects your bank to the chat <strong>“<bdi>${chat}</bdi>” in ${platform}</strong>.`
    }
    Continue only if you started this in that chat yourself. If somebody sent you this link, choose “Not now”.
  </p>`

/** First page: which bank. */
export const bankPage = (
  visit: Visit,
  scopes: readonly CustomerScope[],
  banks: readonly Bank[],
  chosen: string | undefined,
): HttpReply =>
  page(
    'Choose your bank',
    html`<p class="step">Step 1 of 3</p>
      <h1>${visit.platform} asks to see ${asksWords(scopes)}</h1>
      ${whichChat(visit)}
      <p>You choose the bank and what is shared. Guichet asks your bank and passes on nothing else.</p>
      ${never}
      ${form(
        visit,
        'bank',
        html`<fieldset>
            <legend><h2>Choose your bank</h2></legend>
            ${banks.map(
              (bank) =>
                html`<label class="choice"
                  ><input
                    type="radio"
                    name="bank"
                    value="${bank.id}"
                    required${bank.id === chosen && html` checked`}
                  /><span>${bank.name}<small>${bank.country}</small></span></label
                >`,
            )}
            ${banks.length === 0 && html`<p>No bank can be connected at the moment. Please try again later.</p>`}
          </fieldset>
          ${visit.asksWhoItIs && whoItIs}${decide('Continue')}`,
      )}`,
  )

/** Second page: what is shared, what never is, why, and for how long. */
export const sharingPage = (visit: Visit, chosen: Chosen, requested: Agreed, isNothingOn = false): HttpReply =>
  page(
    'What will be shared',
    html`<p class="step">Step 2 of 3</p>
      <h1>What ${visit.platform} will see from ${chosen.bank.name}</h1>
      ${whichChat(visit)}
      ${
        isNothingOn &&
        html`<p role="alert" class="missing">
          Nothing is switched on. Switch on what you want to share, or choose “Not now”.
        </p>`
      }
      ${form(
        visit,
        'sharing',
        html`${carriedOn(chosen)}
          <fieldset>
            <legend><h2>Shared</h2></legend>
            ${accountsLine(requested.scopes)}
            ${switchesFor(requested.scopes).map(
              (line) =>
                html`<label class="choice"
                  ><input type="checkbox" name="share" value="${line.name}" /><span
                    >${line.label}<small>${line.more}</small></span
                  ></label
                >`,
            )}
          </fieldset>
          ${never}
          <h2>What for</h2>
          ${whatFor(visit, requested)}
          <fieldset>
            <legend><h2>For how long</h2></legend>
            ${DURATIONS.map(([days, label]) => html`<label class="choice"><input type="radio" name="days" value="${days}" ${days === 90 && html` checked`} /><span>${label}</span></label>`)}
          </fieldset>
          <p>You can stop at any time: type STOP SHARING in the chat, or open <a href="/sharing">what you share</a> in this browser.</p>
          ${decide('Continue')}`,
      )}`,
    { status: isNothingOn ? 400 : 200 },
  )

const accountsLine = (scopes: readonly CustomerScope[]): Html => {
  const accounts = accountsWords(scopes)
  const isMore = switchesFor(scopes).length > 0
  return accounts === undefined
    ? html`<p>What you switch on:</p>`
    : html`<p>Of each account that you choose at the bank: ${accounts}${isMore ? ', and what you switch on:' : '.'}</p>`
}

/** The purposes that the platform requested, and what it promised with them. */
const whatFor = ({ platform }: Visit, { purposes }: Agreed): Html =>
  html`<p>
    ${platform} may use this only ${listed(purposeWords(purposes))}. Not for ads, not for offers, not sold. ${platform}
    has promised this.
  </p>`

/** Third page: the notice before the customer is sent away. */
export const leavingPage = (
  visit: Visit,
  chosen: Chosen,
  agreed: Agreed,
  shares: readonly string[],
  days: number,
): HttpReply =>
  page(
    `Going to ${chosen.bank.name}`,
    html`<p class="step">Step 3 of 3</p>
      <h1>Now ${chosen.bank.name} asks you to sign in</h1>
      ${whichChat(visit)}
      <p>
        You are about to leave Guichet for ${chosen.bank.name}’s own pages. There you sign in and choose the accounts. Guichet
        and ${visit.platform} never see your password.
      </p>
      <h2>What you share with ${visit.platform} for ${durationWords(days)}</h2>
      <ul>
        ${sharedWords(agreed.scopes).map((line) => html`<li>${line}</li>`)}
      </ul>
      ${whatFor(visit, agreed)}
      ${form(
        visit,
        'leave',
        html`${carriedOn(chosen)}<input type="hidden" name="days" value="${days}" />
          ${shares.map((share) => html`<input type="hidden" name="share" value="${share}" />`)}${decide(`Go to ${chosen.bank.name}`)}`,
      )}`,
  )
