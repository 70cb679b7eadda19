import { html, renderPage, type Html } from '../../kernel/html.ts'
import type { HttpResponse } from '../../kernel/http.ts'
import type { Consent, Receipt } from '../../modules/consents/index.ts'
import type { LedgerAction } from '../../modules/ledger/index.ts'
import {
  formatDay,
  endedText,
  joinWithAnd,
  formatMinute,
  neverSharedNotice,
  purposeTexts,
  sharedDataTexts,
  suspendedText,
  type SharingCard,
} from './texts.ts'

const STATE_LABELS: Readonly<Record<Consent['status'], string>> = {
  PENDING: 'Pending',
  ACTIVE: 'Active',
  PAUSED: 'Paused',
  SUSPENDED: 'Suspended',
  REVOKED: 'Cancelled',
  EXPIRED: 'Expired',
  REJECTED: 'Rejected',
}
/** The agreement as rows of a description list. */
const agreementRows = ({ consent: { scopes, purposes } }: SharingCard): Html =>
  html`<dt>Shared</dt>
    <dd>${sharedDataTexts(scopes).map((line) => html`<p>${line}</p>`)}</dd>
    <dt>What for</dt>
    <dd>${joinWithAnd(purposeTexts(purposes))}</dd>`

const renderCard = (card: SharingCard, action: Html | false): Html =>
  html`<article>
    <h2>${card.platform} · ${card.bank}</h2>
    ${card.consent.status === 'SUSPENDED' && html`<p class="missing">${suspendedText(card)}</p>`}
    <dl>
      <dt>Status</dt>
      <dd>${STATE_LABELS[card.consent.status]}</dd>
      ${agreementRows(card)}
      <dt>Until</dt>
      <dd>${formatDay(card.consent.endedAt ?? card.consent.expiresAt)}</dd>
    </dl>
    ${action}
  </article>`

/** One ledger entry about a customer, as the dashboard shows it. */
export interface LedgerLine {
  readonly action: LedgerAction
  readonly platform: string
  readonly occurredAt: Date
}

/** The type requires a text for every kind of read, so that the customer sees each of them. */
const READ_TEXTS: Readonly<Record<Extract<LedgerAction, `READ_${string}`>, string>> = {
  READ_ACCOUNTS: 'read the names of your accounts',
  READ_BALANCES: 'asked for an exact balance',
  READ_BALANCE_BAND: 'asked for a balance as a range',
  READ_BALANCE_AT_LEAST: 'asked whether a balance is at least an amount',
  READ_ALERTS: 'read your security alerts',
}

/** The actions that the customer sees. The others concern only the operation of the gateway. */
const LEDGER_TEXTS: Partial<Readonly<Record<LedgerAction, string>>> = {
  ...READ_TEXTS,
  ALERT_DELIVERED: 'received a security alert',
  BALANCE_LINE_CREATED: 'drew a line for you, and tells you when a balance crosses it',
  BALANCE_LINE_DELETED: 'deleted a line',
  BALANCE_LINE_CHECKED: 'had a balance compared with your line',
  CONSENT_GRANTED: 'was allowed to see what you chose',
  CONSENT_REVOKED: 'lost access to one bank because sharing was stopped',
  CONSENT_EXPIRED: 'lost access to one bank because the agreed time was over',
  CONSENT_SUSPENDED: 'sees nothing of one bank for now, because that bank does not share with it',
  CONSENT_RESUMED: 'can see what you chose of one bank again, because that bank shares with it again',
}

const ledgerLines = (lines: readonly LedgerLine[]): Html =>
  html`<h2>Who read your data</h2><p>Every read is recorded before the data is sent. The most recent:</p>
    <ul>${lines.map(({ action, platform, occurredAt }) => LEDGER_TEXTS[action] !== undefined && html`<li>${formatMinute(occurredAt)} UTC: ${platform} ${LEDGER_TEXTS[action]}</li>`)}</ul>`

const signOutForm = html`<form method="post" action="/sharing/sign-out" class="apart">
  <p>Do other people use this browser?</p>
  <div class="actions"><button>Sign out of this browser</button></div>
</form>`

/** The customer's dashboard: current and past consents, recent reads, and links to stop sharing. */
export const dashboardPage = (
  current: readonly SharingCard[],
  past: readonly SharingCard[],
  lines: readonly LedgerLine[],
): HttpResponse =>
  renderPage(
    'What you share',
    html`<h1>What you share</h1>
      ${neverSharedNotice} ${current.length === 0 && html`<p>You share nothing at the moment.</p>`}
      ${current.map((card) => renderCard(card, html`<div class="actions"><a class="button" href="/sharing/${card.consent.id}/stop">Stop sharing</a></div>`))}
      ${past.length > 0 && html`<h2>History</h2>`}${past.map((card) => renderCard(card, false))}${lines.length > 0 && ledgerLines(lines)}
      ${signOutForm}`,
  )

/** The 401 page for a browser without a verified session. */
export const notSignedInPage = (): HttpResponse =>
  renderPage(
    'What you share',
    html`<h1>What you share</h1>
      <p>
        You are not signed in in this browser. Open this page in the browser in which you agreed to share, type STOP
        SHARING in the chat, or withdraw at your bank.
      </p>`,
    { status: 401 },
  )

/** The page after a customer has signed out. */
export const signedOutPage = (): HttpResponse =>
  renderPage(
    'Signed out',
    html`<h1>You are signed out of this browser</h1>
      <p>
        Signing out does not stop any sharing. To stop it, type STOP SHARING in the chat, or withdraw at your bank. You are
        signed in again when you next share a bank in this browser.
      </p>`,
  )

/** Names the other banks that the customer still shares with the platform of a consent. */
const remainingSharingNotice = ({ platform }: SharingCard, others: readonly SharingCard[]): Html | false =>
  others.length > 0 &&
  html`<p>You still share ${joinWithAnd(others.map(({ bank }) => bank).sort())} with ${platform} under other agreements.</p>`

/** The confirmation page before a consent is revoked. */
export const stopPage = (card: SharingCard, others: readonly SharingCard[]): HttpResponse =>
  renderPage(
    'Stop sharing',
    html`<h1>Stop sharing ${card.bank} with ${card.platform}?</h1>
      <p>From this moment ${card.platform} sees nothing more under this agreement. Anything that waits to be sent is dropped.</p>
      <p>
        Unless another agreement of yours needs them, ${card.bank} is notified, and the balances that Guichet stores
        are deleted.
      </p>
      ${remainingSharingNotice(card, others)}
      <form method="post" action="/sharing/${card.consent.id}/stop">
        <div class="actions"><button>Stop sharing</button><a class="button" href="/sharing">Go back</a></div>
      </form>
      ${signOutForm}`,
  )

const PARTY_LABELS: Readonly<Record<Receipt['party'], string>> = { CUSTOMER: 'You', CLIENT: 'Platform', BANK: 'Bank' }
const RESULT_LABELS: Readonly<Record<Receipt['result'], string>> = {
  DONE: 'done',
  PENDING: 'being notified',
  NOT_NEEDED: 'not notified, because another agreement of yours still needed the connection',
}

/** The content of the page about a consent that has ended. */
export interface EndedSharing {
  readonly card: SharingCard
  readonly receipts: readonly Receipt[]
  /** Other ACTIVE consents of the customer with the same platform. */
  readonly others: readonly SharingCard[]
  /** Whether stopping the consent also ended this browser's session. */
  readonly isSignedOut: boolean
}

/** When a consent ended and by whom, the receipt for each party, and the remaining consents. */
export function endedPage({ card, receipts, others, isSignedOut }: EndedSharing): HttpResponse {
  return renderPage(
    'Sharing has stopped',
    html`<h1>Sharing has stopped</h1>
      <p>${endedText(card)}</p>
      ${others.length > 0 ? remainingSharingNotice(card, others) : html`<p>${card.platform} no longer sees anything of ${card.bank}.</p>`}
      <h2>Receipt</h2>
      <dl>
        ${agreementRows(card)}
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
          ? html`<p>You no longer share anything, so this browser was signed out.</p>`
          : html`<div class="actions"><a class="button" href="/sharing">What you share</a></div>
              ${signOutForm}`
      }`,
  )
}
