import type { GatewayError } from '../../kernel/errors.ts'
import { html, renderPage, type Html } from '../../kernel/html.ts'
import type { HttpResponse } from '../../kernel/http.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Bank, ConnectableBank, SignInOutline } from '../../modules/banks/index.ts'
import {
  accountsText,
  requestedDataText,
  joinWithAnd,
  neverSharedNotice,
  purposeTexts,
  sharedDataTexts,
  signInTexts,
  createSwitches,
  type Agreement,
} from './texts.ts'

const DURATIONS: readonly [days: number, label: string][] = [
  [1, 'One day'],
  [30, '30 days'],
  [90, '90 days'],
  [365, 'One year'],
]

/** The state of an interaction that the consent pages show. */
export interface InteractionView {
  readonly uid: string
  readonly platform: string
  /** The platform's label of the chat that the link was made for. */
  readonly chat: string | undefined
  /**
   * True if this browser has a session and the platform sends no `id_token_hint`. Several people can use a browser, and what
   * one of them shares must not appear in the other's chat.
   */
  readonly asksIfSameCustomer: boolean
}

/** The duration of `days` days, for use in a sentence. */
const durationText = (days: number): string =>
  (DURATIONS.find(([duration]) => duration === days)?.[1] ?? '90 days').replace('One', 'one')

/** A form that posts to a page of the interaction. */
const renderForm = (interaction: InteractionView, action: string, fields: Html): Html =>
  html`<form method="post" action="/interaction/${interaction.uid}/${action}">${fields}</form>`

/** The buttons of a form: to continue, or to share nothing. */
export const decisionButtons = (label: string): Html =>
  html`<div class="actions">
    <button name="decision" value="go">${label}</button
    ><button name="decision" value="cancel" formnovalidate>Not now</button>
  </div>`

/** The choices made on the first page. */
export interface BankChoice {
  readonly bank: Bank
  /** Whether the customer states to be the one who agreed in this browser before. */
  readonly isSameCustomer: boolean
}

const hiddenBankFields = ({ bank, isSameCustomer }: BankChoice): Html =>
  html`<input type="hidden" name="bank" value="${bank.id}" /><input type="hidden" name="same" value="${isSameCustomer ? 'yes' : 'no'}" />`

const sameCustomerQuestion = html`<fieldset><legend><h2>Somebody has shared a bank in this browser before. Was that you?</h2></legend>
  <label class="choice"><input type="radio" name="same" value="yes" required /><span>Yes<small>Your banks are shown together.</small></span></label>
  <label class="choice"><input type="radio" name="same" value="no" required /><span>No<small>You cannot see each other's banks.</small></span></label></fieldset>`

/** Names the chat that the bank will be connected to, because the link may have been forwarded by somebody else. */
const chatNotice = ({ platform, chat }: InteractionView): Html =>
  html`<p class="chat">
    ${
      chat === undefined
        ? html`This connects your bank to <strong>a chat in ${platform}</strong>.`
        : html`This connects your bank to the chat <strong>“<bdi>${chat}</bdi>” in ${platform}</strong>.`
    }
    Continue only if you started this in that chat yourself. If somebody sent you this link, choose “Not now”.
  </p>`

const bankChoice = ({ platform }: InteractionView, bank: ConnectableBank, chosenBankId: string | undefined): Html =>
  bank.isOffered
    ? html`<label class="choice"
        ><input
          type="radio"
          name="bank"
          value="${bank.id}"
          required${bank.id === chosenBankId && html` checked`}
        /><span>${bank.name}<small>${bank.country}</small></span></label
      >`
    : html`<p class="choice refusing">
        <span>${bank.name}<small>${bank.country} · ${bank.name} does not share with ${platform}.</small></span>
      </p>`

/** Says that the chosen bank cannot be chosen, and why. */
const refusingBankNotice = ({ platform }: InteractionView, { name }: ConnectableBank): Html =>
  html`<p role="alert" class="missing">
    <strong>${name} does not share with ${platform}.</strong> ${name} has decided this. Nothing was shared. Choose another bank,
    or choose “Not now”.
  </p>`

/**
 * First page: the choice of bank. A bank that does not serve the platform is shown and cannot be chosen. `error` is the reason if
 * a choice was not accepted.
 */
export function bankPage(
  interaction: InteractionView,
  scopes: readonly CustomerScope[],
  banks: readonly ConnectableBank[],
  chosenBankId: string | undefined,
  error?: GatewayError,
): HttpResponse {
  const refusing = banks.find(({ id, isOffered }) => id === chosenBankId && !isOffered)
  const isAnyOffered = banks.some(({ isOffered }) => isOffered)
  const page = renderPage(
    'Choose your bank',
    html`<p class="step">Step 1 of 3</p>
      <h1>${interaction.platform} asks to see ${requestedDataText(scopes)}</h1>
      ${refusing && refusingBankNotice(interaction, refusing)} ${chatNotice(interaction)}
      <p>You choose the bank and what is shared. Guichet asks your bank and passes on nothing else.</p>
      ${neverSharedNotice}
      ${renderForm(
        interaction,
        'bank',
        html`<fieldset>
            <legend><h2>Choose your bank</h2></legend>
            ${banks.map((bank) => bankChoice(interaction, bank, chosenBankId))}
            ${!isAnyOffered && html`<p>No bank can be connected at the moment. Please try again later.</p>`}
          </fieldset>
          ${interaction.asksIfSameCustomer && sameCustomerQuestion}${decisionButtons('Continue')}`,
      )}`,
    error && { status: error.definition.httpStatus },
  )
  return { ...page, ...(error && { error }) }
}

/** Second page: what is shared, what is never shared, for what purposes and for how long. */
export const sharingPage = (
  interaction: InteractionView,
  chosen: BankChoice,
  requested: Agreement,
  isNothingSelected = false,
): HttpResponse =>
  renderPage(
    'What will be shared',
    html`<p class="step">Step 2 of 3</p>
      <h1>What ${interaction.platform} will see from ${chosen.bank.name}</h1>
      ${chatNotice(interaction)}
      ${
        isNothingSelected &&
        html`<p role="alert" class="missing">
          Nothing is switched on. Switch on what you want to share, or choose “Not now”.
        </p>`
      }
      ${renderForm(
        interaction,
        'sharing',
        html`${hiddenBankFields(chosen)}
          <fieldset>
            <legend><h2>Shared</h2></legend>
            ${accountsLine(requested.scopes)}
            ${createSwitches(requested.scopes).map(
              (sharingSwitch) =>
                html`<label class="choice"
                  ><input type="checkbox" name="share" value="${sharingSwitch.name}" /><span
                    >${sharingSwitch.label}<small>${sharingSwitch.details}</small></span
                  ></label
                >`,
            )}
          </fieldset>
          ${neverSharedNotice}
          <h2>What for</h2>
          ${purposesText(interaction, requested)}
          <fieldset>
            <legend><h2>For how long</h2></legend>
            ${DURATIONS.map(([days, label]) => html`<label class="choice"><input type="radio" name="days" value="${days}" ${days === 90 && html` checked`} /><span>${label}</span></label>`)}
          </fieldset>
          <p>You can stop at any time: type STOP SHARING in the chat, or open <a href="/sharing">what you share</a> in this browser.</p>
          ${decisionButtons('Continue')}`,
      )}`,
    { status: isNothingSelected ? 400 : 200 },
  )

const accountsLine = (scopes: readonly CustomerScope[]): Html => {
  const accounts = accountsText(scopes)
  const hasSwitches = createSwitches(scopes).length > 0
  return accounts === undefined
    ? html`<p>What you switch on:</p>`
    : html`<p>Of each account that you choose at the bank: ${accounts}${hasSwitches ? ', and what you switch on:' : '.'}</p>`
}

/** The requested purposes and the platform's promise to use the data for nothing else. */
const purposesText = ({ platform }: InteractionView, { purposes }: Agreement): Html =>
  html`<p>
    ${platform} may use this only ${joinWithAnd(purposeTexts(purposes))}. Not for ads, not for offers, not sold. ${platform}
    has promised this.
  </p>`

/** Third page: the summary before the redirect to the bank. */
export const confirmationPage = (
  interaction: InteractionView,
  chosen: BankChoice,
  agreement: Agreement,
  shares: readonly string[],
  days: number,
  signIn: SignInOutline,
): HttpResponse => {
  const { heading, explanation, action } = signInTexts(signIn, chosen.bank.name)
  return renderPage(
    heading,
    html`<p class="step">Step 3 of 3</p>
      <h1>${heading}</h1>
      ${chatNotice(interaction)}
      <p>${explanation} Guichet and ${interaction.platform} never see your password.</p>
      <h2>What you share with ${interaction.platform} for ${durationText(days)}</h2>
      <ul>
        ${sharedDataTexts(agreement.scopes).map((line) => html`<li>${line}</li>`)}
      </ul>
      ${purposesText(interaction, agreement)}
      ${renderForm(
        interaction,
        'leave',
        html`${hiddenBankFields(chosen)}<input type="hidden" name="days" value="${days}" />
          ${shares.map((share) => html`<input type="hidden" name="share" value="${share}" />`)}${decisionButtons(action)}`,
      )}`,
  )
}
