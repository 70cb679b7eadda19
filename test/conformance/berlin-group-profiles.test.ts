import { X509Certificate, type KeyObject } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { BankAccess } from '../../src/connectors/index.ts'
import type { GatewayCredentials } from '../../src/connectors/credentials.ts'
import type { GatewayError } from '../../src/kernel/errors.ts'
import type { SignInField, SignInStep } from '../../src/connectors/sign-in.ts'
import { createAuthority, newKey } from '../support/certificate-authority.ts'
import {
  connectToOfficialBank,
  CASES,
  customerOf,
  expectNoLosses,
  type ConformanceSession,
} from '../support/conformance/harness.ts'
import { findSignatureFaults, type SignatureRules } from '../support/conformance/http-signature.ts'
import { loadOfficialApi, type OfficialApi } from '../support/conformance/official-api.ts'
import { startOfficialBank, type OfficialBank, type ReceivedRequest } from '../support/conformance/official-bank.ts'
import { describeWithFiles } from '../support/conformance/official-files.ts'
import { createDice, opaqueId } from '../support/conformance/seeded-values.ts'
import { CUSTOMER, stepsOf } from '../support/sign-in.ts'

const CONSENT = '/v1/consents/{consentId}'
const PATHS = [
  '/v1/consents',
  CONSENT,
  `${CONSENT}/status`,
  `${CONSENT}/authorisations`,
  `${CONSENT}/authorisations/{authorisationId}`,
  '/v1/accounts',
  '/v1/accounts/{account-id}/balances',
  '/v1/card-accounts',
  '/v1/card-accounts/{account-id}/balances',
]
const IBAN = 'DE89370400440532013000'
const NO_TOKEN = { clientToken: false, authorizationServer: undefined }
const REDIRECT = { ...NO_TOKEN, sca: 'REDIRECT' }
const DECOUPLED = { ...NO_TOKEN, sca: 'DECOUPLED' }
const EMBEDDED = { ...NO_TOKEN, sca: 'EMBEDDED' }

const SIGN_IN = { expiresAt: new Date('2027-05-01T00:00:00Z'), state: 'st-1', customer: CUSTOMER }

/** The members of an authorisation that decide how a sign-in continues. */
interface Authorisation {
  readonly scaStatus?: string
  readonly scaMethods?: readonly { authenticationType: string; authenticationMethodId: string }[]
  readonly chosenScaMethod?: object
  _links?: Record<string, { href: string }>
}
const WITHOUT_PICTURES = ['SMS_OTP', 'CHIP_OTP', 'SMTP_OTP', 'PUSH_OTP', 'PUSH_DEC']

/** A response of the file's schema with methods and links as a bank has them. */
function createAuthorisation(body: unknown, seed: number): Authorisation {
  const dice = createDice(seed)
  const authorisation = body as Authorisation
  for (const method of authorisation.scaMethods ?? [])
    Object.assign(method, {
      authenticationType: dice.pick([...WITHOUT_PICTURES, 'PHOTO_OTP']),
      authenticationMethodId: opaqueId(dice, 35),
    })
  const names = [
    'scaRedirect',
    'scaStatus',
    'selectAuthenticationMethod',
    'authoriseTransaction',
    'updatePsuAuthentication',
  ]
  authorisation._links = Object.fromEntries(
    names.filter(() => dice.isLikely(0.4)).map((name) => [name, { href: 'https://www.bank.example/sign-in' }]),
  )
  return authorisation
}

/** Whether a response is a reason to end the sign-in: it failed, needs a password, or has no method that can be shown. */
const isRefusal = ({ scaStatus, scaMethods, _links = {} }: Authorisation): boolean =>
  scaStatus === 'failed' ||
  'updatePsuAuthentication' in _links ||
  scaMethods?.every(({ authenticationType }) => !WITHOUT_PICTURES.includes(authenticationType)) === true

/** What the customer enters, by the name of the field. */
function answerTo(field: SignInField): string {
  if ('choices' in field) return field.choices[0]!.value
  return { PSU_ID: '4711 0815', IBAN, ONE_TIME_CODE: '314159' }[field.name]
}

describeWithFiles('profiles of Berlin Group banks against the official file', ['Berlin Group 1.3.11'], () => {
  let official: OfficialBank
  let api: OfficialApi
  let session: ConformanceSession | undefined
  beforeAll(async () => {
    api = await loadOfficialApi('Berlin Group 1.3.11', PATHS)
    official = await startOfficialBank(
      { '/psd2': api, '/hub/bank-a': api },
      // The paths of banks that have other ones; everything else is as in the file.
      {
        ownParameters: ['bic'],
        toOfficialPath: (path) => path.replace(/^\/v2\//, '/v1/').replace('/bank-offered-consents', '/consents'),
      },
    )
  })
  afterEach(async () => {
    await session?.close()
    session = undefined
  })
  afterAll(() => official.close())

  /** Sets the responses to a sign-in: a consent with links, and the authorisation of the sandboxes in the standard. */
  function stageSignIn(links: Readonly<Record<string, string>>, isDecoupled = false): void {
    const _links = Object.fromEntries(Object.entries(links).map(([name, href]) => [name, { href }]))
    const method = { authenticationType: 'CHIP_OTP', authenticationMethodId: 'm-1' }
    const self = { scaStatus: { href: `${CONSENT}/authorisations/au-1` } }
    const started = isDecoupled
      ? { scaStatus: 'started' }
      : { scaStatus: 'psuAuthenticated', scaMethods: [method, { ...method, authenticationMethodId: 'm-2' }] }
    const updates = [
      { scaStatus: 'scaMethodSelected', chosenScaMethod: method, challengeData: { otpMaxLength: 6 }, _links: self },
      { scaStatus: 'finalised', _links: self },
    ]
    official.stage('createConsent', [{ consentStatus: 'received', consentId: 'c-1', _links }])
    official.stage('getConsentStatus', [{ consentStatus: 'valid' }])
    official.stage('startConsentAuthorisation', [{ authorisationId: 'au-1', ...started, _links: self }])
    official.stageEach('updateConsentsPsuData', updates)
    official.stage('getConsentScaStatus', [{ scaStatus: 'finalised' }])
    official.stage('getAccountList', [
      { accounts: [{ resourceId: 'a1', iban: IBAN, currency: 'EUR', cashAccountType: 'CACC', balances: BALANCES }] },
    ])
    official.stage('getBalances', [{ balances: BALANCES }])
  }

  /** Connects to the bank, signs a customer in, reads and ends the consent. Returns what the bank received. */
  async function useBank(
    members: object,
    links: Readonly<Record<string, string>> = {},
    credentials: Partial<GatewayCredentials> = {},
  ): Promise<{ received: readonly ReceivedRequest[]; access: BankAccess; amounts: readonly string[] }> {
    const first = official.received.length
    const registration = { apiBase: '/psd2', version: '1.3.11', cardAccounts: false, ...members }
    session = connectToOfficialBank('BERLIN_GROUP', official, registration, credentials)
    const { bank } = session
    const { submit, poll, back } = stepsOf(bank)
    stageSignIn(links, 'sca' in members && members.sca === 'DECOUPLED')
    let step: SignInStep = await bank.requestConsent(SIGN_IN)
    for (let count = 0; step.kind !== 'COMPLETE' && count < 8; count++)
      if (step.kind === 'ASK')
        step = await submit(step, Object.fromEntries(step.fields.map((field) => [field.name, answerTo(field)])))
      else step = step.kind === 'WAIT' ? await poll(step) : await back(step, '?state=st-1&code=x')
    if (step.kind !== 'COMPLETE') throw new Error('the sign-in does not end')
    const access = step.access
    const amounts: string[] = []
    for (const customer of [null, customerOf(1), customerOf(2)]) {
      const [account] = await bank.accounts(access, customer)
      const { balances } = await bank.balances(access, account!.ref, customer)
      amounts.push(...balances.map(({ amount }) => amount))
    }
    await bank.revokeConsent(access)
    return { received: official.received.slice(first), access, amounts }
  }

  const operationsOf = (received: readonly ReceivedRequest[]): (string | undefined)[] => [
    ...new Set(received.map(({ operation }) => operation)),
  ]
  /** What two validators find wrong, without the types of addresses, of which the file knows only IPv4. */
  const faultsOf = (received: readonly ReceivedRequest[]): string[] =>
    received
      .flatMap(({ faults }) => faults)
      .filter((fault) => !fault.includes('psu-ip-address must match format "ipv4"'))
  const bodyOf = (received: readonly ReceivedRequest[], operation: string): unknown =>
    received.find((one) => one.operation === operation)?.request.body

  test('a bank that redirects and knows the gateway by its certificate gets valid requests without a token', async () => {
    const forms = official.forms.length
    const { received, amounts } = await useBank(REDIRECT, { scaRedirect: `${official.origin}/sign-in` })
    expect(faultsOf(received)).toEqual([])
    expect(operationsOf(received)).toEqual([
      'createConsent',
      'getConsentStatus',
      'getAccountList',
      'getBalances',
      'deleteConsent',
    ])
    expect(amounts).toEqual(['12.30', '12.30', '12.30'])
    expect(official.forms).toHaveLength(forms)
    expect(received.filter(({ request }) => 'authorization' in request.headers)).toEqual([])
  })

  test('a bank that confirms in its app gets valid requests for the authorisation and its status', async () => {
    const { received } = await useBank(DECOUPLED, { startAuthorisation: CONSENT })
    expect(faultsOf(received)).toEqual([])
    expect(operationsOf(received).slice(0, 4)).toEqual([
      'createConsent',
      'startConsentAuthorisation',
      'getConsentScaStatus',
      'getConsentStatus',
    ])
  })

  test('a bank that confirms by a code gets valid requests with the method and the code', async () => {
    const types = [
      { value: 'PRIVATE', name: 'Private' },
      { value: 'BUSINESS', name: 'Business' },
    ]
    const identified = { ...EMBEDDED, customerIdentification: { label: 'CUSTOMER_NUMBER', types } }
    const { received } = await useBank(identified, { startAuthorisation: CONSENT })
    expect(faultsOf(received)).toEqual([])
    const updates = received.filter(({ operation }) => operation === 'updateConsentsPsuData')
    expect(updates.map(({ request }) => request.body)).toEqual([
      { authenticationMethodId: 'm-1' },
      { scaAuthenticationData: '314159' },
    ])
    for (const { request } of [received[0]!, ...updates])
      expect(request.headers).toMatchObject({ 'psu-id': '4711 0815', 'psu-id-type': 'PRIVATE' })
  })

  test.each([
    ['DEDICATED', { accounts: [{ iban: IBAN }], balances: [{ iban: IBAN }] }],
    ['ALL_PSD2', { allPsd2: 'allAccounts' }],
    ['BANK_OFFERED', { accounts: [], balances: [] }],
  ])('a bank with consents of the kind %s gets a valid one', async (consentAccess, access) => {
    const { received } = await useBank({ ...DECOUPLED, consentAccess })
    expect(faultsOf(received)).toEqual([])
    expect(bodyOf(received, 'createConsent')).toMatchObject({ access })
  })

  test('a bank behind a hub has other paths, and every request names the client to the hub', async () => {
    const { received } = await useBank({
      ...DECOUPLED,
      apiBase: '/hub/bank-a',
      paths: { version: 'v2', newConsents: 'bank-offered-consents' },
      clientIdHeader: 'x-ibm-client-id',
    })
    expect(faultsOf(received)).toEqual([])
    expect(received[0]!.url).toBe('/hub/bank-a/v2/bank-offered-consents')
    expect(received.every(({ url }) => url.startsWith('/hub/bank-a/v2/'))).toBe(true)
    expect(received.every(({ request }) => request.headers['x-ibm-client-id'] === 'guichet')).toBe(true)
  })

  test('a bank that wants a parameter of its own gets it with every request', async () => {
    const { received } = await useBank({
      ...DECOUPLED,
      balancesWithAccounts: true,
      queryParameters: { bic: 'SWEDSESS' },
    })
    expect(faultsOf(received)).toEqual([])
    expect(received.map(({ url }) => new URL(url, official.origin).searchParams.get('bic'))).toEqual(
      received.map(() => 'SWEDSESS'),
    )
    expect(received.some(({ url }) => url.includes('withBalance=true'))).toBe(true)
  })

  test('a bank that types addresses as IPv4 never gets another one', async () => {
    const { received } = await useBank({ ...DECOUPLED, customerIp: 'IPV4' })
    expect(received.flatMap(({ faults }) => faults)).toEqual([])
    expect(received.filter(({ request }) => 'psu-ip-address' in request.headers).length).toBeGreaterThan(2)
  })

  test('a bank that states balances with its accounts is asked for them in the list, and never for those of cards', async () => {
    official.stage('getCardAccountList', [{ cardAccounts: [{ resourceId: 'k1', maskedPan: '42', currency: 'EUR' }] }])
    official.stage('getCardAccountBalances', [{ balances: BALANCES, debitAccounting: true }])
    const { received, access, amounts } = await useBank({
      ...DECOUPLED,
      balancesWithAccounts: true,
      cardAccounts: true,
    })
    const bulk = await session!.bank.bulkBalances!(access, ['a1', 'card:k1'], null)
    expect(amounts).toEqual(['12.30', '12.30', '12.30'])
    expect([...bulk.values()].map((one) => 'balances' in one && one.balances[0]!.amount)).toEqual(['12.30', '-12.30'])
    expect(faultsOf(official.received)).toEqual([])
    expect(received.filter(({ url }) => url.endsWith('/v1/accounts?withBalance=true'))).toHaveLength(3)
  })

  test('no random response to an authorisation is lost: it leads to a step, or to a refusal for a reason of its own', async () => {
    const members = { ...EMBEDDED, authorizationOrigins: ['https://www.bank.example'] }
    session = connectToOfficialBank('BERLIN_GROUP', official, {
      apiBase: '/psd2',
      version: '1.3.11',
      cardAccounts: false,
      ...members,
    })
    const { bank } = session
    const steps: string[] = []
    stageSignIn({ startAuthorisation: CONSENT })
    await expectNoLosses(async (seed) => {
      const started = createAuthorisation(api.createResponse('startConsentAuthorisation', seed, 201), seed)
      const updated = createAuthorisation(api.createResponse('updateConsentsPsuData', seed), seed + CASES)
      const first = official.received.length
      const polled = api.createResponse('getConsentScaStatus', seed) as Authorisation
      official.stage('startConsentAuthorisation', [started])
      official.stage('updateConsentsPsuData', [updated])
      official.stage('getConsentScaStatus', [polled])
      try {
        const step = await bank.requestConsent(SIGN_IN)
        steps.push(step.kind, (step.kind === 'WAIT' ? await stepsOf(bank).poll(step) : step).kind)
        return []
      } catch (error) {
        const { code, internalMessage } = error as GatewayError
        const bodies = {
          startConsentAuthorisation: started,
          updateConsentsPsuData: updated,
          getConsentScaStatus: polled,
        }
        const last = official.received.slice(first).findLast(({ operation = '' }) => operation in bodies)?.operation
        return code === 'BANK_REFUSED' && isRefusal(bodies[last as keyof typeof bodies])
          ? []
          : [`LOST_STEP: ${code} ${internalMessage}`]
      }
    })
    expect(new Set(steps)).toEqual(new Set(['ASK', 'COMPLETE', 'REDIRECT', 'WAIT']))
    expect(faultsOf(official.received)).toEqual([])
  })

  describe('requests that are signed with a qualified certificate', () => {
    const keys: Readonly<Record<string, KeyObject>> = {
      PS256: newKey('rsa'),
      ES256: newKey('ec'),
      EdDSA: newKey('ed25519'),
    }
    const subject = 'C=DE, O=Guichet, 2.5.4.97=PSDDE-BAFIN-123456, CN=guichet'
    const WITH_TARGET = ['(request-target)', 'host', 'digest', 'x-request-id', 'date', 'psu-id', 'tpp-redirect-uri']

    test.each<[string, string, object, Partial<SignatureRules>]>([
      ['rsa-sha256', 'PS256', {}, {}],
      ['rsa-sha512', 'PS256', { digest: 'SHA-512', keyId: 'SERIAL_AND_REVERSED_ISSUER', headers: WITH_TARGET }, {}],
      ['ecdsa-sha256', 'ES256', { placement: 'AUTHORIZATION', keyId: 'CLIENT_ID' }, {}],
      ['rsa-sha256', 'PS256', { draft: 12 }, { agreedAlgorithm: 'rsa-sha256' }],
      ['rsa-sha512', 'PS256', { draft: 12, digest: 'SHA-512' }, { agreedAlgorithm: 'rsa-sha512' }],
      ['ed25519', 'EdDSA', { draft: 12, keyId: 'SERIAL' }, { agreedAlgorithm: 'ed25519' }],
    ])(
      'every request of a sign-in, of reads and of the end is accepted: %s, %s, %j',
      async (algorithm, type, rules, bank) => {
        const key = keys[type]!
        const members = {
          ...REDIRECT,
          mutualTls: true,
          certificates: { signing: 'ISSUED' },
          oauth: { signingAlgorithm: type },
          customerIdentification: { label: 'CONTRACT_NUMBER' },
          signatures: { algorithm, ...rules },
        }
        const jwk = key.export({ format: 'jwk' })
        const authority = await createAuthority('C=DE, O=Trust Service, CN=QSeal CA 1')
        const { leaf: signingCertificate } = await authority.issueFor(key, { subject })
        const { received } = await useBank(
          members,
          { scaRedirect: `${official.origin}/sign-in` },
          {
            signingKey: { ...jwk, kty: String(jwk.kty), kid: 'k', alg: type },
            signingCertificate,
          },
        )
        const { serialNumber } = new X509Certificate(signingCertificate)
        const keyIds = 'keyId' in rules ? ['guichet', serialNumber.toLowerCase()] : []
        const trusted = { trustAnchors: [authority.root], keyIds, ...bank }
        expect(faultsOf(received)).toEqual([])
        expect(
          received.flatMap(({ request, url, text }) =>
            findSignatureFaults({ method: request.method, path: url, headers: request.headers, body: text }, trusted),
          ),
        ).toEqual([])
        expect(received).toHaveLength(9)
      },
    )
  })
})

const BALANCES = [{ balanceType: 'expected', balanceAmount: { amount: '12.30', currency: 'EUR' } }]
