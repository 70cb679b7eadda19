import { describe, expect, test } from 'vitest'
import type { SignInStep } from '../../src/connectors/sign-in.ts'
import { berlinGroupScript, created, failed, REQUEST, status, type Script } from '../support/berlin-group-script.ts'
import { ok } from '../support/scripted-bank.ts'

const CERTIFICATE_ONLY = { clientToken: false, authorizationServer: undefined }
const CONSENTS = 'POST /v1/consents'
const STATUS = 'GET /v1/consents/c-1/status'
const AUTHORISATIONS = 'POST /v1/consents/c-1/authorisations'
const AUTHORISATION = '/v1/consents/c-1/authorisations/au-1'
const link = (href: string) => ({ href })
const scaStatus = (value: string, more: object = {}) => ok({ scaStatus: value, authorisationId: 'au-1', ...more })

describe('a Berlin Group bank that knows the gateway by its certificate', () => {
  const redirect = { ...CERTIFICATE_ONLY, sca: 'REDIRECT', authorizationOrigins: ['https://www.bank.example'] }
  const links = { _links: { scaRedirect: link('https://www.bank.example/sign-in/1') } }

  test('no request asks for a token or has one, and the consent authorizes reads', async () => {
    const { bank, sent, back, to } = berlinGroupScript(redirect, {
      [CONSENTS]: created(links),
      [STATUS]: status('valid'),
      'GET /v1/accounts': ok({ accounts: [] }),
      'DELETE /v1/consents/c-1': { ...ok(''), status: 204 },
    })
    const step = await bank.requestConsent(REQUEST)
    const complete = await back(step, '?state=st-1')
    expect(complete).toMatchObject({ kind: 'COMPLETE', access: { consentRef: 'c-1', accessToken: '' } })
    if (complete.kind !== 'COMPLETE') return
    await bank.accounts(await bank.refresh(complete.access), null)
    await bank.revokeConsent(complete.access)
    expect(to('GET /v1/accounts')[0]!.headers).toMatchObject({ 'consent-id': 'c-1' })
    expect(sent.filter(({ headers }) => headers?.['authorization'] !== undefined)).toEqual([])
    expect(sent.every(({ url }) => url.startsWith('https://api.bank.example/base/v1/'))).toBe(true)
  })

  test('a consent that is not valid yet when the customer returns is polled, and no longer than stated', async () => {
    const script: Script = { [CONSENTS]: created(links), [STATUS]: status('received', 'received', 'valid') }
    const { bank, back, poll, advance } = berlinGroupScript(redirect, script)
    const waiting = await back(await bank.requestConsent(REQUEST), '?state=st-1')
    expect(waiting).toMatchObject({ kind: 'WAIT', waitsFor: 'BANK' })
    const again = await poll(waiting)
    expect(again).toMatchObject({ kind: 'WAIT', expiresAt: (waiting as { expiresAt?: string }).expiresAt })
    expect((await poll(again)).kind).toBe('COMPLETE')
    advance(16)
    const late = berlinGroupScript(redirect, { ...script, [STATUS]: status('received') })
    const unfinished = await late.back(await late.bank.requestConsent(REQUEST), '?state=st-1')
    late.advance(16)
    await expect(late.poll(unfinished)).rejects.toMatchObject({ code: 'BANK_REFUSED' })
  })

  test('the status of another consent completes no sign-in', async () => {
    const { bank, back } = berlinGroupScript(redirect, {
      [CONSENTS]: created(links),
      [STATUS]: ok({ consentStatus: 'valid', consentId: 'c-2' }),
    })
    const step = await bank.requestConsent(REQUEST)
    await expect(back(step, '?state=st-1')).rejects.toMatchObject({ code: 'BANK_RESPONSE_INVALID' })
  })

  test('a callback with the state of another sign-in, or with a refusal, gives no access', async () => {
    const { bank, back } = berlinGroupScript(redirect, { [CONSENTS]: created(links), [STATUS]: status('valid') })
    const step = await bank.requestConsent(REQUEST)
    for (const search of ['?state=st-2', '', '?state=st-1&error=access_denied'])
      await expect(back(step, search), search).rejects.toMatchObject({ code: 'BANK_REFUSED' })
  })
})

describe('a Berlin Group bank whose consents lead to its metadata', () => {
  const origin = 'https://login.bank.example'
  const linked = { ...CERTIFICATE_ONLY, authorizationOrigins: [origin], oauth: { usesMetadataLink: true } }
  const scriptOf = (issuer: unknown): Script => ({
    [CONSENTS]: created({ _links: { scaOAuth: link(`${origin}/metadata`) } }),
    [`GET ${origin}/metadata`]: ok({
      issuer,
      authorization_endpoint: `${origin}/authorize`,
      token_endpoint: `${origin}/token`,
    }),
  })

  test('the metadata names the issuer if the registration does not', async () => {
    const { bank } = berlinGroupScript(linked, scriptOf(`${origin}/tenants/1`))
    const step = await bank.requestConsent(REQUEST)
    expect(step).toMatchObject({ kind: 'REDIRECT' })
    expect((step as { url: string }).url).toMatch(`${origin}/authorize?`)
  })

  test.each(['https://other.example', 'nonsense', undefined])(
    'metadata that names the issuer %s, on no registered origin, is refused',
    async (issuer) => {
      const { bank } = berlinGroupScript(linked, scriptOf(issuer))
      await expect(bank.requestConsent(REQUEST)).rejects.toMatchObject({ code: 'BANK_RESPONSE_INVALID' })
    },
  )

  test('metadata that names another issuer than the registration is refused', async () => {
    const stated = { ...linked, authorizationServer: `${origin}/tenants/2` }
    const { bank } = berlinGroupScript(stated, scriptOf(`${origin}/tenants/1`))
    await expect(bank.requestConsent(REQUEST)).rejects.toMatchObject({ code: 'BANK_RESPONSE_INVALID' })
  })
})

describe('a decoupled sign-in at a Berlin Group bank', () => {
  const decoupled = { ...CERTIFICATE_ONLY, sca: 'DECOUPLED' }
  const approach = { 'aspsp-sca-approach': 'DECOUPLED' }

  test('the customer confirms in the app, and access follows from the valid consent', async () => {
    const { bank, poll, to } = berlinGroupScript(decoupled, {
      [CONSENTS]: created({ _links: { startAuthorisationWithPsuIdentification: link('/elsewhere') } }, approach),
      [AUTHORISATIONS]: scaStatus('received'),
      [`GET ${AUTHORISATION}`]: [scaStatus('started'), scaStatus('finalised')],
      [STATUS]: status('received', 'valid'),
    })
    const waiting = await bank.requestConsent(REQUEST)
    expect(waiting).toMatchObject({ kind: 'WAIT', waitsFor: 'CUSTOMER', pollAfterSeconds: 3 })
    const still = await poll(waiting)
    expect(still.kind).toBe('WAIT')
    expect((await poll(still)).kind).toBe('COMPLETE')
    expect(to(CONSENTS)[0]!.headers!['tpp-redirect-preferred']).toBe('false')
  })

  test.each([
    ['the customer refuses in the app', scaStatus('failed'), status('received')],
    ['the consent is rejected', scaStatus('started'), status('rejected')],
    ['another person must confirm too', scaStatus('finalised'), status('partiallyAuthorised')],
  ])('the sign-in ends if %s', async (_what, authorisation, consent) => {
    const { bank, poll } = berlinGroupScript(decoupled, {
      [CONSENTS]: created({ _links: { scaStatus: link(AUTHORISATION) } }, approach),
      [`GET ${AUTHORISATION}`]: authorisation,
      [STATUS]: consent,
    })
    await expect(poll(await bank.requestConsent(REQUEST))).rejects.toMatchObject({ code: 'BANK_REFUSED' })
  })

  test('polling ends five minutes after the request, and no poll prolongs it', async () => {
    const { bank, poll, advance } = berlinGroupScript(decoupled, {
      [CONSENTS]: created({}, approach),
      [STATUS]: status('received'),
    })
    let step: SignInStep = await bank.requestConsent(REQUEST)
    let polls = 0
    while (step.kind === 'WAIT') {
      advance(step.pollAfterSeconds)
      const next: SignInStep | undefined = await poll(step).catch(() => undefined)
      if (!next) break
      step = next
      polls++
    }
    expect(polls).toBe(99)
  })
})

describe('an embedded sign-in at a Berlin Group bank', () => {
  const embedded = { ...CERTIFICATE_ONLY, sca: 'EMBEDDED' }
  const METHODS = [
    { authenticationType: 'SMS_OTP', authenticationMethodId: 'm-1', name: 'SMS to +49 160 12345' },
    { authenticationType: 'SMS_OTP', authenticationMethodId: 'm-2' },
    { authenticationType: 'PHOTO_OTP', authenticationMethodId: 'm-3' },
    { authenticationType: 'CHIP_OTP', authenticationMethodId: 'm-4' },
    { authenticationType: 'NEW_OTP', authenticationMethodId: 'm-5' },
  ]
  const script: Script = {
    [CONSENTS]: created({ _links: { startAuthorisation: link('/x') } }),
    [AUTHORISATIONS]: scaStatus('psuAuthenticated', { scaMethods: METHODS }),
    [`PUT ${AUTHORISATION}`]: [
      scaStatus('scaMethodSelected', {
        chosenScaMethod: METHODS[3],
        challengeData: { data: ['397289347'], otpMaxLength: 6, otpFormat: 'integer' },
      }),
      failed(401, 'PSU_CREDENTIALS_INVALID'),
      scaStatus('finalised'),
    ],
    [`GET ${AUTHORISATION}`]: scaStatus('scaMethodSelected'),
    [STATUS]: status('valid'),
  }

  test('the customer chooses a method and enters a code, a wrong one again, and never a password', async () => {
    const { bank, submit, to, log } = berlinGroupScript(embedded, script)
    const choice = await bank.requestConsent(REQUEST)
    expect(choice).toMatchObject({ kind: 'ASK', isRepeated: false })
    expect((choice as { fields?: unknown }).fields).toEqual([
      {
        name: 'SCA_METHOD',
        choices: [
          { value: 'm-1', label: 'A code by text message (1 of 2)' },
          { value: 'm-2', label: 'A code by text message (2 of 2)' },
          { value: 'm-4', label: 'A code from your card reader or code generator' },
        ],
      },
    ])
    const code = await submit(choice, { SCA_METHOD: 'm-4' })
    expect(code).toMatchObject({
      kind: 'ASK',
      fields: [{ name: 'ONE_TIME_CODE', maxLength: 6, isNumeric: true, challenge: '397289347' }],
    })
    const repeated = await submit(code, { ONE_TIME_CODE: '111111' })
    expect(repeated).toMatchObject({ kind: 'ASK', isRepeated: true })
    expect((await submit(repeated, { ONE_TIME_CODE: '222 222' })).kind).toBe('COMPLETE')
    const bodies = to(`PUT ${AUTHORISATION}`).map(({ body }) => JSON.parse(body!) as object)
    expect(bodies).toEqual([
      { authenticationMethodId: 'm-4' },
      { scaAuthenticationData: '111111' },
      { scaAuthenticationData: '222222' },
    ])
    expect(log.join()).not.toMatch(/111111|222222/)
  })

  test('a method that was not offered, and a code that cannot be one, do not reach the bank', async () => {
    const { bank, submit, sent } = berlinGroupScript(embedded, script)
    const choice = await bank.requestConsent(REQUEST)
    const before = sent.length
    expect(await submit(choice, { SCA_METHOD: 'm-3' })).toMatchObject({ kind: 'ASK', isRepeated: true })
    expect(await submit(choice, {})).toMatchObject({ kind: 'ASK', isRepeated: true })
    expect(sent).toHaveLength(before)
    const code = await submit(choice, { SCA_METHOD: 'm-1' })
    const asked = sent.length
    for (const wrong of ['', 'abcdef', '1234567', '12\r\n34'])
      expect(await submit(code, { ONE_TIME_CODE: wrong }), wrong).toMatchObject({ kind: 'ASK', isRepeated: true })
    expect(sent).toHaveLength(asked)
  })

  test('codes can be guessed three times more, and then the sign-in ends', async () => {
    const { bank, submit, to } = berlinGroupScript(embedded, {
      ...script,
      [`PUT ${AUTHORISATION}`]: [
        scaStatus('scaMethodSelected', { chosenScaMethod: METHODS[0] }),
        failed(400, 'FORMAT_ERROR'),
      ],
    })
    let step = await submit(await bank.requestConsent(REQUEST), { SCA_METHOD: 'm-1' })
    for (const code of ['000001', '000002', '000003']) step = await submit(step, { ONE_TIME_CODE: code })
    await expect(submit(step, { ONE_TIME_CODE: '000004' })).rejects.toMatchObject({ code: 'BANK_REFUSED' })
    expect(to(`PUT ${AUTHORISATION}`)).toHaveLength(5)
  })

  test('a wrong code that ends the authorisation ends the sign-in', async () => {
    const { bank, submit } = berlinGroupScript(embedded, { ...script, [`GET ${AUTHORISATION}`]: scaStatus('failed') })
    const code = await submit(await bank.requestConsent(REQUEST), { SCA_METHOD: 'm-1' })
    await expect(submit(code, { ONE_TIME_CODE: '111111' })).rejects.toMatchObject({ code: 'BANK_REFUSED' })
  })

  test.each([
    'startAuthorisationWithPsuAuthentication',
    'startAuthorisationWithEncryptedPsuAuthentication',
    'updatePsuAuthentication',
  ])('a bank that asks for a password (%s) ends the sign-in, and the customer sees no form', async (name) => {
    const { bank, sent } = berlinGroupScript(embedded, { [CONSENTS]: created({ _links: { [name]: link('/x') } }) })
    await expect(bank.requestConsent(REQUEST)).rejects.toMatchObject({ code: 'BANK_REFUSED' })
    expect(sent).toHaveLength(1)
  })

  test('a bank that offers its methods for ever is asked a bounded number of times', async () => {
    const endless = scaStatus('psuAuthenticated', { scaMethods: [METHODS[0]] })
    const { bank, sent } = berlinGroupScript(embedded, {
      ...script,
      [AUTHORISATIONS]: endless,
      [`PUT ${AUTHORISATION}`]: endless,
    })
    await bank.requestConsent(REQUEST)
    expect(sent).toHaveLength(3)
  })
})

describe('OAuth as a step before the consent', () => {
  const preStep = {
    sca: 'OAUTH_PRE_STEP',
    clientToken: false,
    oauth: { scope: 'DEDICATED_AISP', clientAuthentication: 'none' },
  }

  test('the consent is created and polled with the token of the customer', async () => {
    const { bank, back, poll, to } = berlinGroupScript(preStep, {
      [CONSENTS]: created({}),
      [STATUS]: status('received', 'valid'),
      'DELETE /v1/consents/c-1': { ...ok(''), status: 204 },
    })
    const redirect = await bank.requestConsent(REQUEST)
    expect(redirect).toMatchObject({ kind: 'REDIRECT', pending: { consentRef: '' } })
    expect(new URL((redirect as { url: string }).url).searchParams.get('scope')).toBe('DEDICATED_AISP')
    expect(to(CONSENTS)).toEqual([])
    const waiting = await back(redirect, '?state=st-1&code=x')
    expect(waiting).toMatchObject({ kind: 'WAIT', waitsFor: 'CUSTOMER', pending: { consentRef: 'c-1' } })
    const still = await poll(waiting)
    const complete = await poll(still)
    expect(complete).toMatchObject({
      kind: 'COMPLETE',
      access: { consentRef: 'c-1', accessToken: 'tk', refreshToken: 'r' },
    })
    if (complete.kind !== 'COMPLETE') return
    await bank.revokeConsent(complete.access)
    for (const operation of [CONSENTS, STATUS, 'DELETE /v1/consents/c-1'])
      expect(to(operation)[0]!.headers!['authorization'], operation).toBe('Bearer tk')
    expect(bank.isConsentEnded).toBeUndefined()
  })

  test('a second redirect for the consent is followed only to a registered host', async () => {
    const at = (href: string) =>
      berlinGroupScript(
        { ...preStep, authorizationOrigins: ['https://www.bank.example'] },
        { [CONSENTS]: created({ _links: { scaRedirect: link(href) } }), [STATUS]: status('valid') },
      )
    const good = at('https://www.bank.example/confirm')
    const second = await good.back(await good.bank.requestConsent(REQUEST), '?state=st-1&code=x')
    expect(second).toMatchObject({ kind: 'REDIRECT', url: 'https://www.bank.example/confirm' })
    await expect(good.back(second, '?state=st-9')).rejects.toMatchObject({ code: 'BANK_REFUSED' })
    expect((await good.back(second, '?state=st-1')).kind).toBe('COMPLETE')
    const bad = at('https://www.evil.example/confirm')
    await expect(bad.back(await bad.bank.requestConsent(REQUEST), '?state=st-1&code=x')).rejects.toMatchObject({
      code: 'BANK_RESPONSE_INVALID',
    })
  })
})

describe('what a Berlin Group bank must know before the consent', () => {
  const IDENTIFIED = {
    ...CERTIFICATE_ONLY,
    sca: 'DECOUPLED',
    customerIdentification: {
      label: 'CUSTOMER_NUMBER',
      types: [
        { value: 'DE_ONLB_DB', name: 'Deutsche Bank' },
        { value: 'DE_ONLB_POBA', name: 'Postbank' },
      ],
    },
  }

  test('the customer states who they are, and the headers say so', async () => {
    const { bank, submit, to, sent, log } = berlinGroupScript(IDENTIFIED, { [CONSENTS]: created({}) })
    const question = await bank.requestConsent(REQUEST)
    expect(sent).toEqual([])
    expect(question).toMatchObject({
      kind: 'ASK',
      fields: [{ name: 'PSU_ID_TYPE' }, { name: 'PSU_ID', label: 'CUSTOMER_NUMBER' }],
    })
    const step = await submit(question, { PSU_ID_TYPE: 'DE_ONLB_POBA', PSU_ID: ' 4711 0815 ' })
    expect(step.kind).toBe('WAIT')
    expect(to(CONSENTS)[0]!.headers).toMatchObject({ 'psu-id': '4711 0815', 'psu-id-type': 'DE_ONLB_POBA' })
    expect(log.join()).not.toContain('4711')
  })

  test('a value that cannot be a header is asked for again, and never sent', async () => {
    const { bank, submit, sent } = berlinGroupScript(IDENTIFIED, { [CONSENTS]: created({}) })
    const question = await bank.requestConsent(REQUEST)
    for (const PSU_ID of ['', 'a\r\nx-evil: 1', 'jörg', 'x'.repeat(65)])
      expect(await submit(question, { PSU_ID_TYPE: 'DE_ONLB_DB', PSU_ID }), PSU_ID).toMatchObject({
        kind: 'ASK',
        isRepeated: true,
      })
    expect(await submit(question, { PSU_ID_TYPE: 'OTHER', PSU_ID: '1' })).toMatchObject({ isRepeated: true })
    expect(sent).toEqual([])
  })

  test('a fixed type is sent without a question', async () => {
    const members = { ...IDENTIFIED, customerIdentification: { types: [{ value: 'FIXED', name: 'Bank' }] } }
    const { bank, to } = berlinGroupScript(members, { [CONSENTS]: created({}) })
    expect((await bank.requestConsent(REQUEST)).kind).toBe('WAIT')
    expect(to(CONSENTS)[0]!.headers).toMatchObject({ 'psu-id-type': 'FIXED' })
  })

  test('a dedicated consent is for the account that the customer names, and its number is not stored', async () => {
    const { bank, submit, to } = berlinGroupScript(
      { ...CERTIFICATE_ONLY, sca: 'DECOUPLED', consentAccess: 'DEDICATED' },
      { [CONSENTS]: created({}) },
    )
    const question = await bank.requestConsent(REQUEST)
    expect(await submit(question, { IBAN: 'DE89 3704 0044 0532 0130 01' })).toMatchObject({ isRepeated: true })
    const step = await submit(question, { IBAN: 'de89 3704 0044 0532 0130 00' })
    const account = [{ iban: 'DE89370400440532013000' }]
    expect(JSON.parse(to(CONSENTS)[0]!.body!)).toMatchObject({ access: { accounts: account, balances: account } })
    expect(JSON.stringify(step)).not.toContain('370400440532')
  })

  test.each([
    ['ALL_PSD2', { allPsd2: 'allAccounts' }],
    ['BANK_OFFERED', { accounts: [], balances: [] }],
  ])('a consent of the kind %s asks for nothing else', async (consentAccess, access) => {
    const { bank, to } = berlinGroupScript(
      { ...CERTIFICATE_ONLY, sca: 'DECOUPLED', consentAccess },
      { [CONSENTS]: created({}) },
    )
    await bank.requestConsent(REQUEST)
    expect((JSON.parse(to(CONSENTS)[0]!.body!) as { access: unknown }).access).toEqual(access)
  })
})
