import { GatewayError, toGatewayError } from '../../kernel/errors.ts'
import { parseResponse } from '../bank-api.ts'
import { decodeSegment } from '../pagination.ts'
import type { OpenSignInStep, SignInChoice, SignInField, SignInStep, SignInValues } from '../sign-in.ts'
import { isOpaqueId } from '../wire-members.ts'
import { identificationHeaders } from './identification.ts'
import { progressOf, refused, withProgress, type Pending, type SignInParts } from './progress.ts'
import { authorisationResponse, scaMethod, type AuthorisationResponse } from './wire.ts'

type AskStep = Extract<OpenSignInStep, { kind: 'ASK' }>

/** How sign-ins go on. */
interface SignInFlow {
  finish(pending: Pending, waitsFor: 'CUSTOMER' | 'BANK'): Promise<SignInStep>
  wait(pending: Pending, waitsFor: 'CUSTOMER' | 'BANK'): OpenSignInStep
  repeat(step: AskStep): OpenSignInStep
}

/** The methods that the gateway can offer (1.3.11, 14.9). A method with a picture is left out: no picture of a bank is shown. */
const METHODS: ReadonlyMap<string, string> = new Map([
  ['SMS_OTP', 'A code by text message'],
  ['CHIP_OTP', 'A code from your card reader or code generator'],
  ['SMTP_OTP', 'A code by e-mail'],
  ['PUSH_OTP', "The bank's app"],
  ['PUSH_DEC', "Confirm in the bank's app"],
])
const DEFAULT_CODE_LENGTH = 16
/** States in which an authorisation still waits for the customer. */
const OPEN_STATUSES: ReadonlySet<string> = new Set([
  'received',
  'psuIdentified',
  'psuAuthenticated',
  'scaMethodSelected',
  'started',
  'unconfirmed',
])
const DONE_STATUSES: ReadonlySet<string> = new Set(['finalised', 'exempted'])

/** The authorisations of consents at one bank: decoupled, and embedded without a password (1.3.11, 5.1.3, 5.1.4 and 7). */
export function createAuthorisations({ profile, tools, client, resolveSignInUrl }: SignInParts, flow: SignInFlow) {
  const callHeaders = async (pending: Pending): Promise<Record<string, string>> => ({
    ...(await client.consentHeaders()),
    ...identificationHeaders(progressOf(pending).identification ?? {}),
  })

  /** Starts the authorisation, or continues it with a method or a code, and follows the response. */
  async function update(pending: Pending, body: Readonly<Record<string, string>>): Promise<OpenSignInStep> {
    const { authorisation } = progressOf(pending)
    const params = { consent: pending.consentRef, ...(authorisation !== undefined && { authorisation }) }
    const operation = authorisation === undefined ? 'startAuthorisation' : 'updateAuthorisation'
    const response = await client.callBank(operation, { params, headers: await callHeaders(pending), body })
    const parsed = parseResponse(authorisationResponse, response, tools.report)
    return follow(parsed, response.headers, pending, body)
  }

  /**
   * The next step after a response of the bank. It never follows a link to the API, but calls its own operations. `sent` is what the
   * response is for; undefined for the response to the consent.
   */
  async function follow(
    response: AuthorisationResponse,
    headers: Readonly<Record<string, string>>,
    earlier: Pending,
    sent?: Readonly<Record<string, string>>,
  ): Promise<OpenSignInStep> {
    const links = response._links ?? {}
    const pending = withProgress(earlier, {
      authorisation:
        response.authorisationId ?? authorisationIn(links.scaStatus?.href) ?? earlier.progress?.authorisation,
    })
    const approach = headers['aspsp-sca-approach']?.toUpperCase()
    if (response.scaStatus === 'failed') throw refused('the authorisation failed')
    if (DONE_STATUSES.has(response.scaStatus ?? '')) return flow.wait(pending, 'BANK')
    const isMethodSent = sent?.['authenticationMethodId'] !== undefined
    if (response.scaMethods && !response.chosenScaMethod && !isMethodSent)
      return chooseMethod(response.scaMethods, pending)
    if (links.scaRedirect?.href !== undefined)
      return { kind: 'REDIRECT', url: resolveSignInUrl(links.scaRedirect.href), pending }
    if (needsCode(response, approach ?? profile.sca)) return askForCode(response, pending)
    if (needsPassword(response)) throw refused("the bank asks for the customer's password")
    const isStartNeeded = links.startAuthorisation ?? links.startAuthorisationWithPsuIdentification
    return isStartNeeded && sent === undefined ? update(pending, {}) : flow.wait(pending, 'CUSTOMER')
  }

  function chooseMethod(raw: readonly unknown[], pending: Pending): Promise<OpenSignInStep> | OpenSignInStep {
    const choices = methodChoices(raw)
    if (choices.length === 0) throw refused('the bank offers no method that the gateway supports')
    if (choices.length === 1) return update(pending, { authenticationMethodId: choices[0]!.value })
    return ask(pending, { name: 'SCA_METHOD', choices })
  }

  const askForCode = ({ challengeData }: AuthorisationResponse, pending: Pending): OpenSignInStep =>
    ask(pending, {
      name: 'ONE_TIME_CODE',
      maxLength: challengeData?.otpMaxLength ?? DEFAULT_CODE_LENGTH,
      isNumeric: challengeData?.otpFormat === 'integer',
      ...challengeOf(challengeData?.data),
    })

  /** Asks for one field, which is stored so that the form can be checked and repeated. */
  const ask = (pending: Pending, field: SignInField): AskStep => ({
    kind: 'ASK',
    fields: [field],
    isRepeated: false,
    pending: withProgress(pending, { requestedField: field, repeats: 0 }),
  })

  /** Continues with the method or the code that the customer entered. */
  async function submit(values: SignInValues, pending: Pending): Promise<SignInStep> {
    const { requestedField } = progressOf(pending)
    const again = (): OpenSignInStep => {
      if (!requestedField) throw new GatewayError('INTERNAL', { internalMessage: 'no field was requested' })
      return flow.repeat({ kind: 'ASK', fields: [requestedField], isRepeated: true, pending })
    }
    if (requestedField?.name === 'SCA_METHOD') {
      const isOffered = requestedField.choices.some(({ value }) => value === values.SCA_METHOD)
      return isOffered ? update(pending, { authenticationMethodId: values.SCA_METHOD! }) : again()
    }
    if (requestedField?.name !== 'ONE_TIME_CODE') return again()
    const code = values.ONE_TIME_CODE?.replaceAll(' ', '') ?? ''
    if (code.length > requestedField.maxLength || !(requestedField.isNumeric ? /^\d+$/ : /^[\x21-\x7e]+$/).test(code))
      return again()
    try {
      const step = await update(pending, { scaAuthenticationData: code })
      return step.kind === 'WAIT' ? await flow.finish(step.pending as Pending, 'BANK') : step
    } catch (error) {
      // Banks state a wrong code in several ways; the authorisation says whether the customer can try again.
      if (WRONG_CODE.has(toGatewayError(error).code) && (await isOpen(pending))) return again()
      throw error
    }
  }

  async function fetchStatus(pending: Pending): Promise<string | undefined> {
    const { authorisation } = progressOf(pending)
    if (authorisation === undefined) return undefined
    const params = { consent: pending.consentRef, authorisation }
    const response = await client.callBank('authorisationStatus', { params, headers: await callHeaders(pending) })
    return parseResponse(authorisationResponse, response, tools.report).scaStatus
  }

  const isOpen = async (pending: Pending): Promise<boolean> => OPEN_STATUSES.has((await fetchStatus(pending)) ?? '')

  return {
    follow,
    submit,

    /** Checks whether the customer has confirmed and the consent is valid. */
    async poll(pending: Pending): Promise<SignInStep> {
      const hasAuthorisations = profile.sca === 'DECOUPLED' || profile.sca === 'EMBEDDED'
      if (
        hasAuthorisations &&
        pending.progress?.authorisation !== undefined &&
        (await fetchStatus(pending)) === 'failed'
      )
        throw refused('the authorisation failed')
      return flow.finish(pending, pending.progress?.waiting?.waitsFor ?? 'CUSTOMER')
    },
  }
}

/** The error codes to which the statement that a code is wrong can lead. */
const WRONG_CODE: ReadonlySet<string> = new Set(['BANK_REFUSED', 'RECONNECT_REQUIRED'])

/** The offered methods. Several of one kind are numbered, because the bank's own words are not shown. */
function methodChoices(raw: readonly unknown[]): SignInChoice[] {
  const methods = raw.flatMap((entry) => {
    const method = scaMethod.safeParse(entry).data
    const label = method && METHODS.get(method.authenticationType)
    return label === undefined ? [] : [{ value: method!.authenticationMethodId, label }]
  })
  return methods.map(({ value, label }) => {
    const same = methods.filter((other) => other.label === label)
    const position = same.findIndex((other) => other.value === value) + 1
    return { value, label: same.length > 1 ? `${label} (${position} of ${same.length})` : label }
  })
}

/** What a code generator must be given, if it is a short text without words. */
function challengeOf(data: readonly unknown[] | undefined): { challenge?: string } {
  const [first] = data ?? []
  return typeof first === 'string' && /^[0-9A-Za-z]{1,32}$/.test(first) ? { challenge: first } : {}
}

/** Whether the customer gets a code: the bank has chosen a method, and it is not confirmed elsewhere. */
function needsCode({ chosenScaMethod, challengeData, scaStatus }: AuthorisationResponse, approach: string): boolean {
  if (approach === 'DECOUPLED' || chosenScaMethod?.authenticationType === 'PUSH_DEC') return false
  return (
    challengeData !== undefined ||
    chosenScaMethod !== undefined ||
    (approach === 'EMBEDDED' && scaStatus === 'scaMethodSelected')
  )
}

const needsPassword = ({ _links: links = {} }: AuthorisationResponse): boolean =>
  [
    links.startAuthorisationWithPsuAuthentication,
    links.startAuthorisationWithEncryptedPsuAuthentication,
    links.updatePsuAuthentication,
    links.updateEncryptedPsuAuthentication,
  ].some((link) => link !== undefined)

/** The id of an authorisation in the bank's link to it. */
function authorisationIn(href: string | undefined): string | undefined {
  const segment = /\/authorisations\/([^/?#]+)\/?(?:[?#].*)?$/.exec(href ?? '')?.[1]
  const id = segment === undefined ? undefined : decodeSegment(segment)
  return id !== undefined && isOpaqueId(id) ? id : undefined
}
