import { html, renderPage, type Html } from '../../kernel/html.ts'
import type { HttpResponse } from '../../kernel/http.ts'
import type { SignInValues, SignInField, SignInView } from '../../modules/consents/index.ts'
import { decisionButtons } from './consent-pages.ts'

type FieldOf<Name extends SignInField['name']> = Extract<SignInField, { name: Name }>
type ShownStep = Exclude<SignInView, { kind: 'REDIRECT' }>

/** Where the page of a step is shown. */
export interface StepPlace {
  readonly bankName: string
  /** The path of the page, to which its form posts. */
  readonly path: string
  /** The place of the step among the consent pages. Absent if nobody consents to anything. */
  readonly position?: string
}

/** The maximum length of a form, in bytes. */
export const MAX_FORM_BYTES = 8_192

/** The fields that a form can have. */
const FIELD_NAMES = [
  'PSU_ID',
  'PSU_ID_TYPE',
  'IBAN',
  'SCA_METHOD',
  'ONE_TIME_CODE',
] as const satisfies readonly SignInField['name'][]

/** The values of a form, and the number of the step that it was made for. */
export function parseValues(form: URLSearchParams): { readonly number: number; readonly values: SignInValues } {
  const given = FIELD_NAMES.flatMap((name) => {
    const value = form.get(name)
    return value === null ? [] : [[name, value] as const]
  })
  return { number: Number(form.get('step')), values: Object.fromEntries(given) }
}

/** The page of a step that the customer takes at the gateway. */
export const signInStepPage = (place: StepPlace, step: ShownStep): HttpResponse =>
  step.kind === 'ASK' ? questionPage(place, step) : waitPage(place, step)

const renderPosition = ({ position }: StepPlace): Html | false =>
  position !== undefined && html`<p class="step">${position}</p>`

function questionPage(
  place: StepPlace,
  { number, fields, isRepeated }: Extract<ShownStep, { kind: 'ASK' }>,
): HttpResponse {
  const { bankName, path } = place
  const title = titleOf(bankName, fields)
  return renderPage(
    title,
    html`${renderPosition(place)}
      <h1>${title}</h1>
      ${
        isRepeated &&
        html`<p role="alert" class="missing">
          <strong>${bankName} did not accept this.</strong> Please check it and try again, or choose “Not now”.
        </p>`
      }
      ${neverPasswordNotice(bankName)}
      <form method="post" action="${path}">
        <input type="hidden" name="step" value="${number}" />${fields.map(renderField)}${decisionButtons('Continue')}
      </form>`,
    { status: isRepeated ? 400 : 200 },
  )
}

const neverPasswordNotice = (bankName: string): Html =>
  html`<p class="never">
    <strong>Never enter a password or PIN of ${bankName} here.</strong> Guichet does not ask for it and has no use for it.
  </p>`

const titleOf = (bankName: string, fields: readonly SignInField[]): string =>
  fields.some(({ name }) => name === 'ONE_TIME_CODE')
    ? `Enter the code from ${bankName}`
    : fields.some(({ name }) => name === 'SCA_METHOD')
      ? `How do you confirm at ${bankName}?`
      : `${bankName} needs to know who you are`

/** The inputs of a question. */
function renderField(field: SignInField): Html {
  switch (field.name) {
    case 'PSU_ID':
      return textField(field.name, CUSTOMER_ID_TEXTS[field.label], html` maxlength="64" autocomplete="username"`)
    case 'IBAN':
      return textField(
        field.name,
        ['The account to share (IBAN)', 'Only this account is shared.'],
        html` maxlength="48" autocomplete="off" spellcheck="false"`,
      )
    case 'PSU_ID_TYPE':
      return choiceField('Which of these do you use?', field)
    case 'SCA_METHOD':
      return choiceField('Choose one', field)
    case 'ONE_TIME_CODE':
      return codeField(field)
  }
}

function codeField({ name, maxLength, isNumeric, challenge }: FieldOf<'ONE_TIME_CODE'>): Html {
  return html`${
    challenge !== undefined &&
    html`<p>Enter this in your code generator: <strong><code>${challenge}</code></strong></p>`
  }
    ${textField(
      name,
      ['One-time code', 'It is valid once, and only for this.'],
      html` maxlength="${maxLength}" autocomplete="one-time-code" spellcheck="false"${isNumeric && html` inputmode="numeric"`}`,
    )}`
}

const textField = (name: string, [label, details]: readonly [string, string?], attributes: Html): Html =>
  html`<label class="field">${label}${details !== undefined && html`<small>${details}</small>`}<input name="${name}" required${attributes} /></label>`

const choiceField = (legend: string, { name, choices }: FieldOf<'PSU_ID_TYPE' | 'SCA_METHOD'>): Html =>
  html`<fieldset>
    <legend><h2>${legend}</h2></legend>
    ${choices.map(
      ({ value, label }) =>
        html`<label class="choice"><input type="radio" name="${name}" value="${value}" required /><span>${label}</span></label>`,
    )}
  </fieldset>`

const CUSTOMER_ID_TEXTS: Readonly<Record<FieldOf<'PSU_ID'>['label'], readonly [string, string?]>> = {
  USER_NAME: ['Your user name in online banking'],
  CUSTOMER_NUMBER: ['Your customer number'],
  CONTRACT_NUMBER: ['The number of your contract for online banking'],
  ACCOUNT_NUMBER: ['The account number with which you sign in'],
  EMAIL_ADDRESS: ['The e-mail address with which you sign in'],
  NATIONAL_ID: ['Your national identity number'],
}

function waitTexts(
  waitsFor: Extract<ShownStep, { kind: 'WAIT' }>['waitsFor'],
  bankName: string,
): { readonly title: string; readonly text: Html } {
  switch (waitsFor) {
    case 'CUSTOMER':
      return {
        title: `Now confirm in the app of ${bankName}`,
        text: html`<p>
          ${bankName} asks you to confirm, in its app or by the means that you use there. Confirm only if it names
          Guichet.
        </p>`,
      }
    case 'BANK':
      return {
        title: `${bankName} is finishing`,
        text: html`<p>${bankName} has your agreement and is preparing it.</p>`,
      }
    case 'SIGN_IN_PAGE':
      return {
        title: `${bankName} is preparing your sign-in`,
        text: html`<p>In a moment you continue at ${bankName}, where you sign in.</p>`,
      }
  }
}

function waitPage(
  place: StepPlace,
  { waitsFor, pollAfterSeconds }: Extract<ShownStep, { kind: 'WAIT' }>,
): HttpResponse {
  const { bankName, path } = place
  const { title, text } = waitTexts(waitsFor, bankName)
  return renderPage(
    title,
    html`${renderPosition(place)}
      <h1>${title}</h1>
      ${text}
      <p>This page continues by itself. Nothing is shared so far.</p>
      <form method="post" action="${path}">
        <div class="actions">
          <a class="button" href="${path}">Check now</a><button name="decision" value="cancel">Not now</button>
        </div>
      </form>`,
    { refreshUrl: path, refreshAfterSeconds: pollAfterSeconds },
  )
}
