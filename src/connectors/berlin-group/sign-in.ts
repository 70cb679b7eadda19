import { addMs, SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { createSecret, parseResponse } from '../bank-api.ts'
import type { BankAccess, BankInterface, PresentCustomer } from '../connector.ts'
import type { OauthClient } from '../oauth-client.ts'
import type { OpenSignInStep, PendingSignIn, SignInInput, SignInStep } from '../sign-in.ts'
import { createAuthorisations } from './authorisation.ts'
import { CLIENT_TOKEN_TTL_MS } from './client.ts'
import { consentAccessOf, identificationFields, identificationHeaders, readIdentification } from './identification.ts'
import { progressOf, refused, withProgress, type Pending, type SignInParts } from './progress.ts'
import { usesOauth } from './registration.ts'
import { consentResponse, ENDED_STATUSES } from './wire.ts'

/** Unattended accesses per day: the maximum that the standard allows without a separate agreement. */
const FREQUENCY_PER_DAY = 4
/** How often the customer can enter something that is not accepted. */
const MAX_REPEATS = 3

/** The sign-ins of a Berlin Group bank: by OAuth, redirect, decoupled or embedded, as its profile says (1.3.11, 5). */
export function createSignIns(parts: SignInParts): Pick<BankInterface, 'requestConsent' | 'continueSignIn'> & {
  /** Access by the consent alone, where the customer has no tokens. */
  clientAccess(earlier: Pick<BankAccess, 'consentRef' | 'signedInAt'>): Promise<BankAccess>
} {
  const { profile, tools, client, oauth, resolveSignInUrl } = parts
  const { sca } = profile
  const authorisations = createAuthorisations(parts, { finish, wait, repeat })

  /** Repeats a form. Throws `BANK_REFUSED` if it was repeated too often. */
  function repeat(step: Extract<OpenSignInStep, { kind: 'ASK' }>): OpenSignInStep {
    const progress = progressOf(step.pending as Pending)
    if (progress.repeats >= MAX_REPEATS) throw refused('too many entries that were not accepted')
    return {
      ...step,
      isRepeated: true,
      pending: withProgress(step.pending as Pending, { repeats: progress.repeats + 1 }),
    }
  }

  /** Waits for the customer or for the bank. The time begins when the wait does, and no poll prolongs it. */
  function wait(pending: Pending, waitsFor: 'CUSTOMER' | 'BANK'): OpenSignInStep {
    const { pollAfterSeconds, customerSeconds, bankSeconds } = profile.waiting
    const now = tools.clock.now()
    const seconds = waitsFor === 'CUSTOMER' ? customerSeconds : bankSeconds
    const started = pending.progress?.waiting
    const until = started?.waitsFor === waitsFor ? started.until : addMs(now, seconds * SECOND_MS).toISOString()
    if (until <= now.toISOString()) throw refused('the consent did not become valid in time')
    return {
      kind: 'WAIT',
      waitsFor,
      pollAfterSeconds,
      expiresAt: until,
      pending: withProgress(pending, { waiting: { waitsFor, until } }),
    }
  }

  /** Completes the sign-in if the consent is valid. A completed sign-in does not yet mean a valid consent (1.3.11, 14.19). */
  async function finish(pending: Pending, waitsFor: 'CUSTOMER' | 'BANK'): Promise<SignInStep> {
    const { consentRef, access } = pending
    const status = await client.fetchConsentStatus(
      consentRef,
      sca === 'OAUTH_PRE_STEP' ? access?.accessToken : undefined,
    )
    if (status === 'valid') return { kind: 'COMPLETE', access: access ?? (await clientAccess({ consentRef })) }
    if (ENDED_STATUSES.has(status)) throw refused('the consent has ended')
    // Another holder of the account must agree too, who is not here.
    if (status === 'partiallyAuthorised') throw refused('the consent needs another person')
    return wait(pending, waitsFor)
  }

  /** With redirect, decoupled and embedded SCA there are no customer tokens: the consent id authorizes access. */
  async function clientAccess({
    consentRef,
    signedInAt,
  }: Pick<BankAccess, 'consentRef' | 'signedInAt'>): Promise<BankAccess> {
    const now = tools.clock.now()
    return {
      consentRef,
      accessToken: (await client.clientToken()) ?? '',
      refreshToken: null,
      expiresAt: addMs(now, profile.clientToken ? CLIENT_TOKEN_TTL_MS : NO_TOKEN_TTL_MS).toISOString(),
      signedInAt: signedInAt ?? now.toISOString(),
    }
  }

  async function authorizationRedirect(pending: Pending): Promise<OpenSignInStep> {
    return { kind: 'REDIRECT', url: await requireOauth(oauth).signInUrl({}, pending), pending }
  }

  /** Begins once the customer is identified: with the bank's authorization server, or with the consent. */
  const begin = (pending: Pending, customer: PresentCustomer): Promise<OpenSignInStep> =>
    sca === 'OAUTH_PRE_STEP' ? authorizationRedirect(pending) : createConsent(pending, customer)

  async function createConsent(pending: Pending, customer: PresentCustomer): Promise<OpenSignInStep> {
    const { expiresAt, identification = {} } = progressOf(pending)
    const address = client.addressOf(customer)
    if (address === undefined)
      throw refused('the bank takes only IPv4 addresses of customers, and this customer has another')
    const { redirectUri, refusalUri } = redirectUris(parts, pending.state)
    const response = await client.callBank('createConsent', {
      headers: {
        ...(await client.consentHeaders(pending.access?.accessToken)),
        ...identificationHeaders(identification),
        'psu-ip-address': address,
        'tpp-redirect-uri': redirectUri.href,
        'tpp-nok-redirect-uri': refusalUri.href,
        'tpp-redirect-preferred': String(sca !== 'DECOUPLED' && sca !== 'EMBEDDED'),
        'tpp-notification-uri': tools.eventsUrl,
        'tpp-notification-content-preferred': 'status=PROCESS,LAST',
      },
      body: {
        access: consentAccessOf(profile, identification),
        recurringIndicator: true,
        validUntil: expiresAt.slice(0, 10),
        frequencyPerDay: FREQUENCY_PER_DAY,
        combinedServiceIndicator: false,
      },
    })
    const { consentId, ...authorisation } = parseResponse(consentResponse, response, tools.report)
    const links = authorisation._links ?? {}
    const access = pending.access && { ...pending.access, consentRef: consentId }
    const created: Pending = {
      ...pending,
      consentRef: consentId,
      ...(access && { access }),
      // The account is in the consent now, and need not be stored.
      progress: { ...progressOf(pending), identification: { ...identification, iban: undefined } },
    }
    switch (sca) {
      case 'OAUTH':
        return authorizationRedirect({ ...created, ...metadataLink(links.scaOAuth?.href) })
      case 'REDIRECT':
        return { kind: 'REDIRECT', url: resolveSignInUrl(links.scaRedirect?.href), pending: created }
      case 'OAUTH_PRE_STEP':
        return links.scaRedirect?.href === undefined
          ? wait(created, 'CUSTOMER')
          : { kind: 'REDIRECT', url: resolveSignInUrl(links.scaRedirect.href), pending: created }
      case 'DECOUPLED':
      case 'EMBEDDED':
        return authorisations.follow(authorisation, response.headers, created)
    }
  }

  /** The bank's link to its metadata, if the profile follows it. */
  const metadataLink = (href: string | undefined): { metadataUrl?: string } =>
    oauth?.profile.usesMetadataLink && href !== undefined ? { metadataUrl: href } : {}

  async function continueAfterCallback(
    callback: URL,
    pending: Pending,
    customer: PresentCustomer,
  ): Promise<SignInStep> {
    if (usesOauth(profile) && !pending.access) {
      const { access } = await requireOauth(oauth).redeemCode(callback, pending)
      return sca === 'OAUTH' ? finish({ ...pending, access }, 'BANK') : createConsent({ ...pending, access }, customer)
    }
    if (callback.searchParams.get('state') !== pending.state || callback.searchParams.has('error'))
      throw refused('sign-in refused')
    return finish(pending, 'BANK')
  }

  async function continueSignIn(input: SignInInput, stored: PendingSignIn): Promise<SignInStep> {
    const pending = stored as Pending
    switch (input.kind) {
      case 'CALLBACK':
        return continueAfterCallback(input.url, pending, input.customer)
      case 'POLL':
        return authorisations.poll(pending)
      case 'FORM': {
        if (pending.consentRef !== '') return authorisations.submit(input.values, pending)
        const identification = readIdentification(profile, input.values)
        if (!identification)
          return repeat({ kind: 'ASK', fields: identificationFields(profile), isRepeated: true, pending })
        return begin(withProgress(pending, { identification, repeats: 0 }), input.customer)
      }
    }
  }

  return {
    clientAccess,
    continueSignIn,

    async requestConsent({ expiresAt, state, customer }) {
      const pending: Pending = {
        consentRef: '',
        state,
        codeVerifier: createSecret(tools),
        nonce: createSecret(tools),
        progress: { expiresAt: expiresAt.toISOString(), repeats: 0 },
      }
      const fields = identificationFields(profile)
      if (fields.length > 0) return { kind: 'ASK', fields, isRepeated: false, pending }
      const identification = readIdentification(profile, {})
      return begin(withProgress(pending, { identification }), customer)
    },
  }
}

/** Where the bank returns the customer. With OAuth SCA the authorization server adds `state` and `error` itself. */
function redirectUris(
  { tools, profile }: SignInParts,
  state: string,
): { readonly redirectUri: URL; readonly refusalUri: URL } {
  const [redirectUri, refusalUri] = [new URL(tools.redirectUri), new URL(tools.redirectUri)]
  if (profile.sca === 'OAUTH') return { redirectUri, refusalUri }
  redirectUri.searchParams.set('state', state)
  refusalUri.searchParams.set('state', state)
  refusalUri.searchParams.set('error', 'access_denied')
  return { redirectUri, refusalUri }
}

/** A consent that is used without a token has no token to renew. */
const NO_TOKEN_TTL_MS = 86_400 * SECOND_MS

function requireOauth(oauth: OauthClient | undefined): OauthClient {
  if (!oauth) throw new GatewayError('INTERNAL', { internalMessage: 'the profile has no authorization server' })
  return oauth
}
