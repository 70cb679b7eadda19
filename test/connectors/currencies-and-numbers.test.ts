import { describe, expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { findCurrency } from '../../src/kernel/currencies.ts'
import { withCurrencyDecimals, parseCurrency, parseDecimal, type CurrencyCode } from '../../src/kernel/money.ts'
import { PER_EURO } from '../support/exchange-rates.ts'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import { accountsOf, balancesOf, connect, EXAMPLES } from '../support/standards.ts'

const STANDARD_IDS = Object.keys(STANDARDS) as StandardId[]
/** A balance answer of the standard in this currency. */
const inCurrency = (id: StandardId, amount: unknown, currency: string): unknown =>
  ({
    OBIE: () => EXAMPLES.OBIE.balances({ Amount: { Amount: amount, Currency: currency } }),
    BERLIN_GROUP: () => EXAMPLES.BERLIN_GROUP.balances({ balanceAmount: { amount, currency } }),
    FDX: () => EXAMPLES.FDX.balances({ availableBalance: amount, currency: { currencyCode: currency } }),
    CDR: () => EXAMPLES.CDR.balances({ availableBalance: amount, currency }),
  })[id]()
const read = async (id: StandardId, amount: unknown, currency: string) => {
  const { bank, problems } = connect(id, () => ok(inCurrency(id, amount, currency)))
  return { ...(await bank.balances(ACCESS, 'a1', null)), problems }
}

const NO_CURRENCIES = ['XXX', 'XTS', 'XAU', 'XDR', 'USN', 'ZZZ', 'ABC', 'DEM', 'HRK', 'BTC', 'EU', '€', '978', '']

describe('the table of currencies', () => {
  test('the table of currencies has every currency that an account can be held in, and no other', () => {
    for (const code of Object.keys(PER_EURO)) expect(findCurrency(code), code).toBeDefined()
    for (let index = 0; index < 26 ** 3; index++) {
      const letter = (place: number): string => String.fromCharCode(65 + (Math.floor(index / 26 ** place) % 26))
      const code = letter(2) + letter(1) + letter(0)
      expect(parseCurrency(code) !== undefined, code).toBe(Object.hasOwn(PER_EURO, code))
    }
    for (const code of [...NO_CURRENCIES, 'eur', 'toString', '__proto__', 'EURO', ' EUR', 'EUR\n'])
      expect(parseCurrency(code), code).toBeUndefined()
  })

  test('every currency of the runtime that the table lacks was withdrawn or is not used by accounts', () => {
    // Withdrawn by 2026, or metals, funds, units between states, and codes for nothing.
    const left =
      /^(A(DP|FA|LK|NG|OK|ON|OR|RA|RL|RM|RP|TS|ZM)|B(AD|AN|EC|EF|EL|GL|GM|GN|GO|OL|OP|OV|RB|RC|RE|RN|RR|RZ|UK|YB|YR)|C(HE|HW|LE|NH|NX|SD|SK|UC|YP)|D(DM|EM)|E(CS|CV|EK|SA|SB|SP)|F(IM|RF)|G(EK|HC|NS|QE|RD|WE|WP)|HR[DK]|I(EP|LP|LR|SJ|TL)|KR[HO]|L(TL|TT|UC|UF|UL|VL|VR)|M(AF|CF|DC|GF|KN|LF|RO|TL|TP|VP|XP|ZE|ZM)|NI[C]|NLG|P(EI|ES|LZ|TE)|R(HD|OL|UR)|S(DD|DP|IT|KK|LL|RG|TD|UR)|T(JR|MM|PE|RL)|U(AK|GS|SN|SS|YP)|V(EB|NN)|WST|X(AG|AU|B[A-D]|DR|EU|FO|FU|PD|PT|RE|SU|TS|UA|XX)|Y(DD|U[DMNR])|Z(AL|MK|RN|RZ|WD|WL|WR|WN))$/
    const unknown = Intl.supportedValuesOf('currency').filter((code) => !findCurrency(code) && !left.test(code))
    expect(unknown).toEqual([])
  })

  test.each([
    ['1', 'EUR', '1.00'],
    ['1.5', 'EUR', '1.50'],
    ['1.50000', 'EUR', '1.50'],
    ['-12.345', 'EUR', '-12.345'],
    ['1000.00', 'JPY', '1000'],
    ['1000', 'ISK', '1000'],
    ['1.5', 'KWD', '1.500'],
    ['0.00', 'CLF', '0.0000'],
    ['1.23456', 'UYW', '1.23456'],
    ['1000.5', 'JPY', undefined],
    ['1000.01', 'KRW', undefined],
    ['1', 'ZZZ', undefined],
  ])('%s in %s is shown as %s', (written, currency, shown) => {
    expect(withCurrencyDecimals(parseDecimal(written)!, currency as CurrencyCode)).toBe(shown)
  })
})

describe.each(STANDARD_IDS)('every connector: %s', (id) => {
  test.each(NO_CURRENCIES)('a connector drops a balance in %j and reports an unsupported currency', async (code) => {
    expect(await read(id, '12.30', code)).toMatchObject({
      balances: [],
      invalidTypes: [],
      unsupportedTypes: ['INTERIM_AVAILABLE'],
      problems: ['UNKNOWN_CURRENCY'],
    })
  })

  test.each([
    '100.00E',
    '1,5',
    '1٫5',
    '١٢',
    '１２',
    '0x10',
    '0b1',
    '1_000',
    "1'000",
    '12.30 ',
    '12.30EUR',
    '12.',
    '.5',
    '1.123456',
  ])('a connector drops %j, which is no amount', async (amount) => {
    const { balances, problems } = await read(id, amount, 'EUR')
    expect(balances).toEqual([])
    expect(problems).toHaveLength(1)
  })

  test('a connector drops a fraction of a currency without minor units, and accepts a thousandth of a cent', async () => {
    for (const currency of ['JPY', 'KRW', 'ISK', 'CLP'])
      expect(await read(id, '1000.50', currency)).toMatchObject({ balances: [], invalidTypes: ['INTERIM_AVAILABLE'] })
    expect((await read(id, '1000.00', 'JPY')).balances).toMatchObject([{ currency: 'JPY' }])
    expect((await read(id, '1.500', 'KWD')).balances).toMatchObject([{ amount: '1.500', currency: 'KWD' }])
    expect((await read(id, '12.34567', 'EUR')).balances).toMatchObject([{ amount: '12.34567' }])
  })

  test('a connector shows the last four digits of an account number, and nothing if they are no digits', async () => {
    const end = async (number: string): Promise<string | null> => {
      const account = {
        OBIE: { Account: [{ SchemeName: 'UK.OBIE.BBAN', Identification: number }] },
        BERLIN_GROUP: { iban: number },
        FDX: { accountNumberDisplay: number },
        CDR: { maskedNumber: number },
      }[id]
      const { bank } = connect(id, () => ok(EXAMPLES[id].accounts(account)))
      return (await accountsOf(bank))[0]!.lastFourDigits
    }
    expect(await end('xxxx xxxx 5678')).toBe('5678')
    for (const number of ['GIFT SHOP', '1234 RENT', '12E4', '567', '12345٦٧٨٩', 'ACME1X23', ''])
      expect(await end(number), number).toBeNull()
  })
})

test('an account number with a bank prefix, spaces or an IBAN around it is the same number', async () => {
  const obie = async (...Account: object[]) =>
    (await accountsOf(connect('OBIE', () => ok(EXAMPLES.OBIE.accounts({ Account }))).bank))[0]!.number
  const berlin = async (account: Record<string, unknown>) =>
    (await accountsOf(connect('BERLIN_GROUP', () => ok(EXAMPLES.BERLIN_GROUP.accounts(account))).bank))[0]!.number
  const number = '60161331926819'
  const scheme = (SchemeName: string, Identification: string, more = {}) => ({ SchemeName, Identification, ...more })
  const pan = scheme('UK.OBIE.PAN', '4929000000004321')
  expect(await obie(pan, scheme('UK.OBIE.SortCodeAccountNumber', number))).toBe(number)
  expect(await obie(scheme('UK.OBIE.IBAN', 'GB29 NWBK 6016 1331 9268 19'), pan)).toBe(number)
  expect(await berlin({ iban: 'gb29nwbk60161331926819' })).toBe(number)
  expect(await berlin({ iban: undefined, bban: 'NWBK60161331926819' })).toBe(number)
  // A building society's customers share the number of a collection account, and differ by the roll number.
  const roll = (text: string) =>
    obie(scheme('UK.OBIE.SortCodeAccountNumber', number, { SecondaryIdentification: text }))
  expect(new Set([number, await roll('A/123'), await roll('B/456')]).size).toBe(3)
  // What could be the number of several accounts is none: masked, cut off, or with wrong check digits.
  for (const wrong of ['GB29NWBK60161331926818', 'GB29********926819', 'XXXXXXXXXX6819', '6819', ''])
    expect(
      [await berlin({ iban: wrong, bban: undefined }), await berlin({ iban: undefined, bban: wrong })],
      wrong,
    ).toEqual(wrong.startsWith('GB29NWBK') ? [null, expect.any(String)] : [null, null])
  expect(await obie(pan)).toBeNull()
  expect(await balancesOf(connect('OBIE', () => ok(EXAMPLES.OBIE.balances())).bank)).toHaveLength(1)
})
