import { html, renderPage, type Html } from '../../kernel/html.ts'
import type { HttpResponse } from '../../kernel/http.ts'
import type { Consent, Receipt } from '../../modules/consents/index.ts'
import type { LedgerKind } from '../../modules/ledger/index.ts'
import {
  formatDay,
  endedText,
  joinWithAnd,
  formatMinute,
  neverSharedNotice,
  purposeTexts,
  sharedDataTexts,
  type SharingCard,
} from './texts.ts'

const STATE_LABELS: Readonly<Record<Consent['status'], string>> = {
  PENDING: 'Pending',
  ACTIVE: 'Active',
  REVOKED: 'Cancelled',
  EXPIRED: 'Expired',
  REJECTED: 'Rejected',
}
/** What was agreed to, as lines of a description list. */
const agreementRows = ({ consent: { scopes, purposes } }: SharingCard): Html =>
  html`<dt>Shared</dt>
    <dd>${sharedDataTexts(scopes).map((line) => html`<p>${line}</p>`)}</dd>
    <dt>What for</dt>
    <dd>${joinWithAnd(purposeTexts(purposes))}</dd>`

const renderCard = (one: SharingCard, action: Html | false): Html =>
  html`<article>
    <h2>${one.platform} · ${one.bank}</h2>
    <dl>
      <dt>State</dt>
      <dd>${STATE_LABELS[one.consent.status]}</dd>
      ${agreementRows(one)}
      <dt>Until</dt>
      <dd>${formatDay(one.consent.endedAt ?? one.consent.expiresAt)}</dd>
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
const READ_TEXTS: Readonly<Record<Extract<LedgerKind, `READ_${string}`>, string>> = {
  READ_ACCOUNTS: 'read the names of your accounts',
  READ_BALANCES: 'read an exact balance',
  READ_BALANCE_BAND: 'read a balance as a range',
  READ_BALANCE_AT_LEAST: 'asked whether a balance is at least an amount',
  READ_ALERTS: 'read your security alerts',
}

/** What the customer is shown of the ledger, in words; what is not here is about the running of the gateway. */
const LEDGER_TEXTS: Partial<Readonly<Record<LedgerKind, string>>> = {
  ...READ_TEXTS,
  ALERT_DELIVERED: 'was told of a security alert',
  CONSENT_GRANTED: 'was allowed to see what you chose',
  CONSENT_REVOKED: 'lost what you had allowed for one bank: it was stopped',
  CONSENT_EXPIRED: 'lost what you had allowed for one bank: its time was over',
}

const ledgerLines = (lines: readonly LedgerLine[]): Html =>
  html`<h2>Who looked</h2><p>Every look is written down before it is answered. The newest:</p>
    <ul>${lines.map(({ kind, platform, at }) => LEDGER_TEXTS[kind] !== undefined && html`<li>${formatMinute(at)} UTC: ${platform} ${LEDGER_TEXTS[kind]}</li>`)}</ul>`

const signOutForm = html`<form method="post" action="/sharing/sign-out" class="apart">
  <p>Do others use this browser, too?</p>
  <div class="actions"><button>Sign out of this browser</button></div>
</form>`

/** The customer's own page: who sees what, until when, who looked, and the way to stop it. */
export const dashboardPage = (
  current: readonly SharingCard[],
  past: readonly SharingCard[],
  lines: readonly LedgerLine[],
): HttpResponse =>
  renderPage(
    'What you share',
    html`<h1>What you share</h1>
      ${neverSharedNotice} ${current.length === 0 && html`<p>You share nothing at the moment.</p>`}
      ${current.map((one) => renderCard(one, html`<div class="actions"><a class="button" href="/sharing/${one.consent.id}/stop">Stop sharing</a></div>`))}
      ${past.length > 0 && html`<h2>History</h2>`}${past.map((one) => renderCard(one, false))}${lines.length > 0 && ledgerLines(lines)}
      ${signOutForm}`,
  )

/** For a browser that Guichet does not know. */
export const notSignedInPage = (): HttpResponse =>
  renderPage(
    'What you share',
    html`<h1>What you share</h1>
      <p>
        Guichet does not know this browser. Open this page in the browser in which you agreed to share, type STOP
        SHARING in the chat, or withdraw at your bank.
      </p>`,
    { status: 401 },
  )

/** For a browser whose session has ended by its customer's word. */
export const signedOutPage = (): HttpResponse =>
  renderPage(
    'Signed out',
    html`<h1>You are signed out of this browser</h1>
      <p>
        Signing out stops no sharing. To stop it, type STOP SHARING in the chat, or withdraw at your bank. This browser
        knows you again after the next bank that you share in it.
      </p>`,
  )

/** What the customer goes on sharing with the platform of a consent, beside it. */
const remainingSharingNotice = ({ platform }: SharingCard, others: readonly SharingCard[]): Html | false =>
  others.length > 0 &&
  html`<p>You go on sharing ${joinWithAnd(others.map(({ bank }) => bank).sort())} with ${platform} by other agreements.</p>`

/** One question before it ends. */
export const stopPage = (one: SharingCard, others: readonly SharingCard[]): HttpResponse =>
  renderPage(
    'Stop sharing',
    html`<h1>Stop sharing ${one.bank} with ${one.platform}?</h1>
      <p>From this moment ${one.platform} sees nothing more by this agreement. What waits to be sent is dropped.</p>
      <p>
        Unless another agreement of yours needs them, ${one.bank} is told, and the balances that Guichet holds are
        deleted.
      </p>
      ${remainingSharingNotice(one, others)}
      <form method="post" action="/sharing/${one.consent.id}/stop">
        <div class="actions"><button>Stop sharing</button><a class="button" href="/sharing">Go back</a></div>
      </form>
      ${signOutForm}`,
  )

const PARTY_LABELS: Readonly<Record<Receipt['party'], string>> = { CUSTOMER: 'You', CLIENT: 'Platform', BANK: 'Bank' }
const RESULT_LABELS: Readonly<Record<Receipt['result'], string>> = {
  DONE: 'done',
  PENDING: 'being told',
  FAILED: 'could not be told',
  NOT_NEEDED: 'not notified, because another agreement of yours still needed the connection',
}

/** What is said of a consent that has ended. */
export interface EndedSharing {
  readonly card: SharingCard
  readonly receipts: readonly Receipt[]
  /** What the customer shares with the same platform still. */
  readonly others: readonly SharingCard[]
  /** Whether the session of this browser has ended with it. */
  readonly isSignedOut: boolean
}

/** When a consent ended and by whom, what each party was told, and what goes on. */
export function endedPage({ card: one, receipts, others, isSignedOut }: EndedSharing): HttpResponse {
  return renderPage(
    'Sharing has stopped',
    html`<h1>Sharing has stopped</h1>
      <p>${endedText(one)}</p>
      ${others.length > 0 ? remainingSharingNotice(one, others) : html`<p>${one.platform} no longer sees anything of ${one.bank}.</p>`}
      <h2>Receipt</h2>
      <dl>
        ${agreementRows(one)}
        ${receipts
          .filter(({ kind }) => kind === 'REVOKED')
          .map(
            ({ party, result }) =>
              html`<dt>${PARTY_LABELS[party]}</dt>
                <dd>${RESULT_LABELS[result]}</dd>`,
          )}
      </dl>
      ${
        isSignedOut
          ? html`<p>You share nothing any more, so this browser was signed out.</p>`
          : html`<div class="actions"><a class="button" href="/sharing">What you share</a></div>
              ${signOutForm}`
      }`,
  )
}
