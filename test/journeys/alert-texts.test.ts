import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { ALERT_ACTIONS, ALERT_ANSWER_VALUES, ALERT_TYPES } from '../../src/kernel/alert-vocabulary.ts'
import { ALERT_CATALOGUES, ALERT_LANGUAGES, textsOf } from '../../src/modules/alerts/texts/catalogue.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { platformsOf } from '../support/platforms.ts'

const all = ALERT_LANGUAGES.flatMap((language) =>
  ALERT_TYPES.flatMap((type) =>
    ALERT_ACTIONS.map((requestedAction) =>
      textsOf({ type, requestedAction }, ALERT_ANSWER_VALUES, 'Pay.example & Sons', language),
    ),
  ),
)
/** What messengers make a link of: a scheme, or a dot between two letters. */
const LINK = /:\/\/|www|\p{L}\.\p{L}/iu

describe('the catalogue of texts', () => {
  test('no text of any language has a link, a digit, an amount or a placeholder that was not filled', () => {
    for (const { preview, body, notice, labels } of all)
      for (const text of [preview, body, notice, ...labels.map(({ label }) => label)]) {
        expect(text).not.toMatch(LINK)
        expect(text).not.toMatch(/[\d{}$€£]/)
        expect(text.trim()).toBe(text)
        expect(text).not.toBe('')
      }
  })

  test('the preview for a lock screen is the same for every alert of a bank', () => {
    for (const language of ALERT_LANGUAGES)
      expect(new Set(all.filter((texts) => texts.language === language).map(({ preview }) => preview)).size).toBe(1)
  })

  test('every type has a text of its own in every language, and each key names one text', () => {
    for (const language of ALERT_LANGUAGES)
      expect(new Set(Object.values(ALERT_CATALOGUES[language].types)).size).toBe(ALERT_TYPES.length)
    expect(new Set(all.map(({ key, language }) => `${key} ${language}`)).size).toBe(all.length)
  })
})

describe('the texts of an alert', () => {
  let gateway: TestGateway
  let bo: Token
  beforeAll(async () => {
    gateway = await startGateway()
    bo = await gateway.customer('bo', ['northbank'], {
      scopes: ['accounts:read', 'alerts:read', 'alerts:respond'],
    })
    await gateway.alert('northbank', { account: 'nb-10003', type: 'UNUSUAL_ACTIVITY_REVIEW' })
    await eventually('the alert', async () => (await textsFor(bo)).length > 0)
  })
  afterAll(() => gateway.close())

  interface Texts {
    readonly key: string
    readonly preview: string
    readonly body: string
    readonly phrase: string | null
    readonly labels: readonly { answer: string; label: string }[]
  }
  async function textsFor(token: Token, language = 'EN'): Promise<Texts[]> {
    const query = `query ($language: AlertLanguage!) { customer { alerts { nodes {
      texts(language: $language) { key preview body notice phrase labels { answer label } } } } } }`
    const { data } = await gateway.ask(token, query, { language })
    return (data as { customer: { alerts: { nodes: { texts: Texts }[] } } }).customer.alerts.nodes.map(
      ({ texts }) => texts,
    )
  }
  async function setPhrase(token: Token, phrase: string | null) {
    const { data } = await gateway.ask(
      token,
      `mutation ($input: SetAntiPhishingPhraseInput!) { setAntiPhishingPhrase(input: $input) {
        customer { antiPhishingPhrase } userErrors { code path message } } }`,
      { input: { phrase } },
    )
    return data?.['setAntiPhishingPhrase'] as {
      customer: { antiPhishingPhrase: string | null } | null
      userErrors: { code: string; path: string[] }[]
    }
  }

  test.each([
    ['EN', 'Security message from Northbank', 'Freeze it now'],
    ['DE', 'Sicherheitsnachricht von Northbank', 'Jetzt sperren'],
    ['FR', 'Message de sécurité de Northbank', 'Bloquer maintenant'],
    ['ES', 'Mensaje de seguridad de Northbank', 'Bloquear ahora'],
  ])('come in %s with the bank and the labels of the available responses', async (language, preview, label) => {
    const [texts] = await textsFor(bo, language)
    expect(texts).toMatchObject({ key: 'UNUSUAL_ACTIVITY_REVIEW.REVIEW_WITH_BANK', preview, phrase: null })
    expect(texts!.labels.map(({ answer }) => answer)).toEqual(['CALL_ME', 'IT_WAS_NOT_ME', 'FREEZE_REQUESTED'])
    expect(texts!.labels.at(-1)!.label).toBe(label)
  })

  test('the phrase that the customer chose is shown by the client that they chose it with, and by no other', async () => {
    expect(await setPhrase(bo, 'blauer Elefant 7')).toEqual({
      customer: { antiPhishingPhrase: 'blauer Elefant 7' },
      userErrors: [],
    })
    const [texts] = await textsFor(bo)
    expect(texts!.phrase).toBe('blauer Elefant 7')
    expect(texts!.preview).not.toContain('Elefant')
    await platformsOf(gateway).add('parley', 'Parley')
    const elsewhere = await gateway.customer('bo', ['northbank'], {
      clientId: 'parley',
      scopes: ['accounts:read', 'alerts:read'],
    })
    const { data } = await gateway.ask(elsewhere, '{ customer { antiPhishingPhrase } }')
    expect(data).toEqual({ customer: { antiPhishingPhrase: null } })
  })

  test('the phrase is in no readable form in the database', async () => {
    await setPhrase(bo, 'geheimes Wort')
    const rows = await gateway.database.query('select * from alert_phrase')
    expect(rows).toHaveLength(1)
    expect(JSON.stringify(rows)).not.toContain('geheimes')
  })

  test.each([
    'abc',
    'a'.repeat(41),
    'see https://x.example',
    'code 123456',
    '1 2 3 4',
    ' spaces',
    'two  spaces',
    'pay.example',
    'code １２３４',
    'code ¹²③4',
    // Marks between digits.
    'code 1\u03012\u03013\u03014\u0301',
    '1\u20e32\u20e33\u20e34\u20e3',
    // Letters and marks that nobody sees.
    '\u3164\u3164\u3164\u3164',
    'blue elephant\ufe0f',
    'blue\u034felephant',
    // Marks that cover other lines, or belong to the text before.
    'blue' + '\u0301'.repeat(20),
    '\u0301blue',
    // Characters that change the direction or join.
    'blue\u202eelephant',
    'blue\u200delephant',
    'elephant 🐘',
  ])('the phrase "%s" is refused, because it could be a link, a code or nothing', async (phrase) => {
    expect(await setPhrase(bo, phrase)).toMatchObject({
      customer: null,
      userErrors: [{ code: 'INVALID_INPUT', path: ['phrase'] }],
    })
  })

  test.each(['फिल्म और किताब', 'שָׁלוֹם עולם', 'قِصَّة جميلة', 'Tiếng Việt', '青いゾウの夢', 'haus 17'])(
    'the phrase "%s" is accepted as it is written',
    async (phrase) => {
      const { customer } = await setPhrase(bo, phrase)
      expect(customer).toEqual({ antiPhishingPhrase: phrase.normalize('NFC') })
    },
  )

  test('a phrase can only be set while the customer is present', async () => {
    const query = `mutation { setAntiPhishingPhrase(input: { phrase: "other words" }) { userErrors { code } } }`
    const { data } = await gateway.askUnattended(bo, query)
    expect(data).toEqual({ setAntiPhishingPhrase: { userErrors: [{ code: 'CUSTOMER_PRESENCE_REQUIRED' }] } })
  })

  test('the phrase is deleted with the last consent of its client', async () => {
    await setPhrase(bo, 'last words')
    await gateway.ask(bo, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
    expect(await gateway.database.query('select 1 from alert_phrase')).toEqual([])
  })
})
