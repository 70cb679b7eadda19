import type { HttpReply } from '../../kernel/http.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Bank } from '../../modules/banks/index.ts'
import type { Consent, Receipt } from '../../modules/consents/index.ts'
import { html, page, type Html } from '../../kernel/html.ts'
import type { LedgerKind } from '../../modules/ledger/index.ts'

/** The lines that a customer can switch, and the scopes that each stands for. */
export const SHARING_LINES: readonly { name: string; label: string; more: string; scopes: readonly CustomerScope[] }[] =
  [
    {
      name: 'range',
      label: 'Account balances, as a range',
      more: 'Such as “between 400 and 450”. Updated at most every six hours.',
      scopes: ['balances:threshold', 'balances:band'],
    },
    {
      name: 'exact',
      label: 'Account balances, exact, when you ask',
      more: 'The amount itself, while you are writing to them, at most four times in any 24 hours. Frequent exact amounts can reveal single purchases.',
      scopes: ['balances:exact'],
    },
    {
      name: 'alerts',
      label: 'Security alerts',
      more: 'That your bank suspects something, and what to do. Not where, with whom or how much.',
      scopes: ['alerts:read', 'alerts:respond'],
    },
  ]

const DURATIONS: readonly [days: number, label: string][] = [
  [1, 'One day'],
  [30, '30 days'],
  [90, '90 days'],
  [365, 'One year'],
]

const never: Html = html`<p class="never">
  <strong>Purchases and payments: never shared.</strong> This service has no place to hold them.
</p>`

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
export const bankPage = (visit: Visit, banks: readonly Bank[], chosen: string | undefined): HttpReply =>
  page(
    'Choose your bank',
    html`<p class="step">Step 1 of 3</p>
      <h1>${visit.platform} asks to show you your balances and security alerts</h1>
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
export const sharingPage = (visit: Visit, chosen: Chosen, asked: ReadonlySet<CustomerScope>): HttpReply =>
  page(
    'What will be shared',
    html`<p class="step">Step 2 of 3</p>
      <h1>What ${visit.platform} will see from ${chosen.bank.name}</h1>
      ${whichChat(visit)}
      ${form(
        visit,
        'sharing',
        html`${carriedOn(chosen)}
          <fieldset>
            <legend><h2>Shared</h2></legend>
            <p>The kind of each account and the last digits of its number, and what you switch on:</p>
            ${SHARING_LINES.filter(({ scopes }) => scopes.some((scope) => asked.has(scope))).map(
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
          <p>
            ${visit.platform} may use this only to answer you and warn you. Not for ads, not for offers, not sold.
            ${visit.platform} has promised this.
          </p>
          <fieldset>
            <legend><h2>For how long</h2></legend>
            ${DURATIONS.map(([days, label]) => html`<label class="choice"><input type="radio" name="days" value="${days}" ${days === 90 && html` checked`} /><span>${label}</span></label>`)}
          </fieldset>
          <p>You can stop at any time: type STOP SHARING in the chat, or open <a href="/sharing">what you share</a> in this browser.</p>
          ${decide('Continue')}`,
      )}`,
  )

/** Third page: the notice before the customer is sent away. */
export const leavingPage = (visit: Visit, chosen: Chosen, shares: readonly string[], days: number): HttpReply =>
  page(
    `Going to ${chosen.bank.name}`,
    html`<p class="step">Step 3 of 3</p>
      <h1>Now ${chosen.bank.name} asks you to sign in</h1>
      ${whichChat(visit)}
      <p>
        You are about to leave Guichet for ${chosen.bank.name}’s own pages. There you sign in and choose the accounts. Guichet
        and ${visit.platform} never see your password.
      </p>
      ${form(
        visit,
        'leave',
        html`${carriedOn(chosen)}<input type="hidden" name="days" value="${days}" />
          ${shares.map((share) => html`<input type="hidden" name="share" value="${share}" />`)}${decide(`Go to ${chosen.bank.name}`)}`,
      )}`,
  )

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

const STATE_LABELS: Readonly<Record<Consent['state'], string>> = {
  PENDING: 'Pending',
  ACTIVE: 'Active',
  REVOKED: 'Cancelled',
  EXPIRED: 'Expired',
  REJECTED: 'Rejected',
}
const day = (at: Date): string => at.toISOString().slice(0, 10)
const minute = (at: Date): string => at.toISOString().slice(0, 16).replace('T', ' ')

/** A consent with the names that a customer knows. */
export interface SharingCard {
  readonly consent: Consent
  readonly platform: string
  readonly bank: string
}

const shared = ({ consent }: SharingCard): string =>
  [
    'Account names',
    ...SHARING_LINES.filter(({ scopes }) => scopes.some((scope) => consent.scopes.includes(scope))).map(
      ({ label }) => label,
    ),
  ].join('; ')

const card = (one: SharingCard, action: Html | false): Html =>
  html`<article>
    <h2>${one.platform} · ${one.bank}</h2>
    <dl>
      <dt>State</dt>
      <dd>${STATE_LABELS[one.consent.state]}</dd>
      <dt>Shared</dt>
      <dd>${shared(one)}</dd>
      <dt>Until</dt>
      <dd>${day(one.consent.endedAt ?? one.consent.expiresAt)}</dd>
    </dl>
    ${action}
  </article>`

/** One line of the ledger, for the customer whom it is about. */
export interface LedgerLine {
  readonly kind: LedgerKind
  readonly platform: string
  readonly at: Date
}

/** Every kind of look has words: a look that the customer is not shown is one too many. */
const READ_WORDS: Readonly<Record<Extract<LedgerKind, `READ_${string}`>, string>> = {
  READ_ACCOUNTS: 'read the names of your accounts',
  READ_BALANCES: 'read an exact balance',
  READ_BALANCE_BAND: 'read a balance as a range',
  READ_BALANCE_AT_LEAST: 'asked whether a balance is at least an amount',
  READ_ALERTS: 'read your security alerts',
}

/** What the customer is shown of the ledger, in words; what is not here is about the running of the gateway. */
const LEDGER_WORDS: Partial<Readonly<Record<LedgerKind, string>>> = {
  ...READ_WORDS,
  ALERT_DELIVERED: 'was told of a security alert',
  CONSENT_GRANTED: 'was allowed to see what you chose',
  CONSENT_REVOKED: 'may see nothing of a bank any more',
  CONSENT_EXPIRED: 'may see nothing of a bank any more, the time being over',
}

const ledgerLines = (lines: readonly LedgerLine[]): Html =>
  html`<h2>Who looked</h2><p>Every look is written down before it is answered. The newest:</p>
    <ul>${lines.map(({ kind, platform, at }) => LEDGER_WORDS[kind] !== undefined && html`<li>${minute(at)} UTC: ${platform} ${LEDGER_WORDS[kind]}</li>`)}</ul>`

/** The customer's own page: who sees what, until when, who looked, and the way to stop it. */
export const dashboardPage = (
  current: readonly SharingCard[],
  past: readonly SharingCard[],
  looks: readonly LedgerLine[],
): HttpReply =>
  page(
    'What you share',
    html`<h1>What you share</h1>
      ${never} ${current.length === 0 && html`<p>You share nothing at the moment.</p>`}
      ${current.map((one) => card(one, html`<div class="actions"><a class="button" href="/sharing/${one.consent.id}/stop">Stop sharing</a></div>`))}
      ${past.length > 0 && html`<h2>History</h2>`}${past.map((one) => card(one, false))}${looks.length > 0 && ledgerLines(looks)}`,
  )

/** For a browser that Guichet does not know. */
export const strangerPage = (): HttpReply =>
  page(
    'What you share',
    html`<h1>What you share</h1>
      <p>
        Guichet does not know this browser. Open this page in the browser in which you agreed to share, type STOP
        SHARING in the chat, or withdraw at your bank.
      </p>`,
    { status: 401 },
  )

/** One question before it ends. */
export const stopPage = (one: SharingCard): HttpReply =>
  page(
    'Stop sharing',
    html`<h1>Stop sharing ${one.bank} with ${one.platform}?</h1>
      <p>
        From this moment ${one.platform} gets no balance and no alert of ${one.bank} any more. Alerts that wait to be
        sent are dropped, your bank is told, and the balances that Guichet holds are deleted.
      </p>
      <form method="post" action="/sharing/${one.consent.id}/stop">
        <div class="actions"><button>Stop sharing</button><a class="button" href="/sharing">Go back</a></div>
      </form>`,
  )

const PARTIES: Readonly<Record<Receipt['party'], string>> = { CUSTOMER: 'You', CLIENT: 'Platform', BANK: 'Bank' }
const RESULTS: Readonly<Record<Receipt['result'], string>> = {
  DONE: 'done',
  PENDING: 'being told',
  FAILED: 'could not be told',
}

/** What each party was told. */
export const stoppedPage = (one: SharingCard, receipts: readonly Receipt[]): HttpReply =>
  page(
    'Sharing has stopped',
    html`<h1>Sharing has stopped</h1>
      <p>${one.platform} no longer sees anything of ${one.bank}.</p>
      <h2>Receipt</h2>
      <dl>
        ${receipts
          .filter(({ kind }) => kind === 'REVOKED')
          .map(
            ({ party, result }) =>
              html`<dt>${PARTIES[party]}</dt>
                <dd>${RESULTS[result]}</dd>`,
          )}
      </dl>
      <div class="actions"><a class="button" href="/sharing">What you share</a></div>`,
  )
