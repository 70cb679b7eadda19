import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { httpbis } from 'http-message-signatures'
import { SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { STANDARDS, type BankBalance, type StandardId } from '../../src/connectors/index.ts'
import { parseDecimal, toScaledUnits } from '../../src/kernel/money.ts'
import {
  apiBaseOf,
  bankOf,
  CASES,
  CASES_DIR,
  readCase,
  standardOf,
  type Case,
  type CaseResult,
  type ExpectedBalance,
} from '../support/shared-cases.ts'
import { eventTools } from '../support/event-tools.ts'
import { completeSignIn } from '../support/sign-in.ts'
import { ADDRESS, connect, EXAMPLES } from '../support/standards.ts'

/** The files' words for a balance type, with its phase, and ours. */
const BALANCE_TYPES: Readonly<Record<string, string>> = {
  'booked interim': 'INTERIM_BOOKED',
  'booked closing': 'CLOSING_BOOKED',
  'booked opening': 'OPENING_BOOKED',
  'available interim': 'INTERIM_AVAILABLE',
  'available closing': 'CLOSING_AVAILABLE',
  'expected none': 'EXPECTED',
  // CDR and FDX have no phases, and a purse is what is available in its currency.
  'booked none': 'INTERIM_BOOKED',
  'available none': 'INTERIM_AVAILABLE',
}
/** Native types that the gateway leaves out on purpose: they can reveal single payments. */
const LEFT_OUT = new Set(['nonInvoiced'])
/** The files' words for an account type, and ours. */
const ACCOUNT_TYPES: Readonly<Record<string, string>> = {
  checking: 'CURRENT',
  savings: 'SAVINGS',
  money_market: 'SAVINGS',
  credit_card: 'CARD',
  loan: 'LOAN',
  mortgage: 'MORTGAGE',
  e_money: 'PREPAID_OR_WALLET',
  overdraft: 'LOAN',
  line_of_credit: 'LOAN',
  other: 'OTHER',
}
/** The files' words for a problem, and the issues or errors that report it. */
const PROBLEMS: Readonly<Record<string, RegExp>> = {
  ambiguous_sign: /^AMBIGUOUS_SIGN$/,
  invalid_amount: /^INVALID_AMOUNT$/,
  missing_currency: /^MISSING_CURRENCY$/,
  not_a_balance: /^INVALID_BALANCE$/,
  unknown_enum: /^(UNKNOWN_ACCOUNT_TYPE|UNKNOWN_ACCOUNT_STATUS|NONSTANDARD_CODE)$/,
  too_many_pages: /^(TOO_MANY_PAGES|INVALID_NEXT_PAGE|REPEATED_PAGE)$/,
  invalid_json: /^BANK_RESPONSE_INVALID$/,
  http_error: /^(RECONNECT_REQUIRED|BANK_QUOTA_EXHAUSTED|BANK_RATE_LIMITED)$/,
}
/** The files' words for how a read ends, and our error codes. */
const OUTCOMES: Readonly<Record<string, string>> = {
  consent_invalid: 'RECONNECT_REQUIRED',
  consent_expired: 'RECONNECT_REQUIRED',
  consent_revoked: 'RECONNECT_REQUIRED',
  retry_next_day: 'BANK_QUOTA_EXHAUSTED',
  malformed: 'BANK_RESPONSE_INVALID',
}
const STATUSES: Readonly<Record<string, string>> = { open: 'OPEN', closed: 'CLOSED', blocked: 'RESTRICTED' }

const REGISTRATION: Readonly<Record<StandardId, (one: Case) => Record<string, unknown>>> = {
  OBIE: ({ version }) => ({ version, bulkBalances: true }),
  BERLIN_GROUP: ({ exchanges }) => ({
    cardAccounts: exchanges.some(({ request }) => request.path.includes('card-accounts')),
    sca: 'REDIRECT',
    authorizationOrigins: ['https://www.testbank.com', 'https://bank.example'],
  }),
  FDX: ({ version }) => ({ version: version.replace('x', '2') }),
  CDR: () => ({}),
}

/** What a case allows at a path in place of what it expects. */
const allowed = ({ expected }: Case, path: RegExp): unknown[] =>
  (expected.alternatives ?? []).filter((one) => path.test(one.path)).flatMap(({ allow }) => allow)

const ours = ({ type, currency, amount, creditLineIncluded }: BankBalance): string =>
  [type, currency, toScaledUnits(amount), creditLineIncluded].join(' ')
const theirs = ({ type, phase = 'none', currency, amount, includesCredit }: ExpectedBalance): string =>
  [BALANCE_TYPES[`${type} ${phase}`], currency, toScaledUnits(parseDecimal(amount)!), includesCredit].join(' ')

/** What is wrong with the balances of the account with this position. */
function findBalanceFaults(
  one: Case,
  index: number,
  found: readonly BankBalance[],
  problems: readonly string[],
): string[] {
  const { balances } = one.expected.accounts[index]!
  const mayLackFlag = allowed(one, /includesCredit/)
  const left = new Set(found)
  const faults = balances.flatMap((balance, at) => {
    if (LEFT_OUT.has(balance.nativeType)) return []
    const flags = [balance.includesCredit, ...mayLackFlag] as (boolean | null)[]
    const match = [...left].find((candidate) =>
      flags.some((includesCredit) => theirs({ ...balance, includesCredit }) === ours(candidate)),
    )
    if (match) left.delete(match)
    const mayBeAbsent = allowed(one, new RegExp(`^accounts\\[${index}\\]\\.balances\\[${at}\\]$`)).some(
      (allow) =>
        /^absent with problem (\w+)$/.test(String(allow)) &&
        problems.some((problem) => PROBLEMS[String(allow).split(' ').at(-1)!]!.test(problem)),
    )
    return match || mayBeAbsent ? [] : [`LOST ${theirs(balance)}`]
  })
  return [...faults, ...[...left].map((balance) => `WRONG ${ours(balance)}`)]
}

function findAccountFaults(one: Case, { accounts, balances }: CaseResult, problems: readonly string[]): string[] {
  return one.expected.accounts.flatMap((expected, index) => {
    // A Berlin Group account is known by the ID in the link to its balances, which can be another.
    const account = accounts.find(({ ref }) => ref.replace(/^card:/, '') === expected.id) ?? accounts[index]
    const ref = account?.ref ?? (balances.has(`card:${expected.id}`) ? `card:${expected.id}` : expected.id)
    const faults = findBalanceFaults(one, index, balances.get(ref) ?? [], problems)
    if (!account) return accounts.length > 0 ? [`LOST ${expected.id}`] : faults
    const types = [expected.type, ...allowed(one, /\.type$/)].map((type) => ACCOUNT_TYPES[String(type)])
    const currencies = [expected.currency, ...allowed(one, /\.currency$/)]
    const statuses = [expected.status, ...allowed(one, /\.status$/)]
    return [
      ...faults,
      ...(types.includes(account.type) || expected.type === 'unknown' ? [] : [`TYPE ${account.type}`]),
      ...(currencies.includes(account.currency) ? [] : [`CURRENCY ${account.currency}`]),
      ...(expected.status === undefined || statuses.some((status) => STATUSES[String(status)] === account.status)
        ? []
        : [`STATUS ${account.status}`]),
      ...(expected.mask === undefined || account.lastFourDigits === expected.mask ? [] : ['MASK']),
      ...(expected.ownerCategory === undefined || account.usage === expected.ownerCategory.toUpperCase()
        ? []
        : ['USAGE']),
    ]
  })
}

/** Every problem is reported, and none if the case has none. */
function findProblemFaults(one: Case, reported: readonly string[]): string[] {
  const { problems, outcome } = one.expected
  const missing = problems.filter(
    ({ code, optional }) => optional !== true && !reported.some((problem) => PROBLEMS[code]!.test(problem)),
  )
  const isQuiet = problems.length === 0 && allowed(one, /^(problems|accounts\[\d\]\.balances)/).length === 0
  return [
    ...missing.map(({ code }) => `NOT REPORTED ${code}`),
    ...(isQuiet ? reported.map((problem) => `REPORTED ${problem}`) : []),
    ...(outcome !== undefined && !reported.includes(OUTCOMES[outcome]!) ? [`OUTCOME ${reported.join()}`] : []),
  ]
}

async function findReadFaults(one: Case, id: StandardId): Promise<string[]> {
  const { respond, requested } = bankOf(one)
  const { bank, problems, log } = connect(id, respond, { ...REGISTRATION[id](one), apiBase: apiBaseOf(one) })
  const result = await readCase(one, bank)
  const reported = [...problems, ...result.codes]
  const text = JSON.stringify([result.accounts, [...result.balances], reported, log])
  return [
    ...findAccountFaults(one, result, reported),
    ...findProblemFaults(one, reported),
    ...one.mustNotContain.filter((secret) => text.includes(secret)).map((secret) => `LEAK ${secret}`),
    ...(one.expected.doNotRequest ?? []).filter((path) => requested.some((url) => url.includes(path))),
  ]
}

/** A consent of the case is created, and ends if the bank says so. */
async function findConsentFaults(one: Case, id: StandardId): Promise<string[]> {
  const { consent } = one.expected
  const { respond } = bankOf(one)
  const { bank } = connect(id, respond, { ...REGISTRATION[id](one), apiBase: apiBaseOf(one) })
  const request = {
    expiresAt: new Date('2027-05-01T00:00:00Z'),
    state: 's',
    customer: { ip: '203.0.113.9', userAgent: null },
  }
  if (id === 'OBIE') {
    // The metadata of this bank has no page to sign in, after the consent was created.
    const { sent } = connect(id, respond, REGISTRATION[id](one))
    await bank.requestConsent(request).catch(() => undefined)
    return sent.length === 0 ? [] : ['SENT']
  }
  const { pending } = await bank.requestConsent(request)
  const access = await completeSignIn(bank, new URL('https://gateway.example/bank/callback?state=s'), pending)
  const hasEnded = consent!.statuses.includes('revoked') ? await bank.isConsentEnded!(access.consentRef) : false
  return [
    ...(pending.consentRef === consent!.id ? [] : ['CONSENT ID']),
    ...(hasEnded === consent!.statuses.includes('revoked') ? [] : ['NOT ENDED']),
  ]
}

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const EVENTS_URL = 'https://gateway.example/bank-events/cnct_1'

/** The event of a case as its bank signs it, with the issuer, the audience and the time of this test. */
async function readCaseEvent(one: Case, id: StandardId) {
  const registration = STANDARDS[id].registration(ADDRESS).parse({
    ...EXAMPLES[id].registration,
    clientId: 'guichet-client-1',
    events: {
      issuer: 'https://bank.example',
      keys: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'e' }] },
      // The audience is the only thing of an event that its standard leaves to the bank.
      ...(one.audienceAsIs && { audience: 'CLIENT_ID' }),
    },
  })
  const { request } = one.exchanges[0]!
  const received = { headers: {}, url: `${EVENTS_URL}/notifications`, audience: EVENTS_URL }
  if (request.decodedJwt) {
    const claims = { ...request.decodedJwt, iss: 'https://bank.example' }
    const body = await new SignJWT(one.audienceAsIs ? claims : { ...claims, aud: EVENTS_URL })
      .setProtectedHeader({ alg: 'ES256', kid: 'e', typ: one.typ ?? 'secevent+jwt', ...one.joseHeader })
      .setIssuedAt()
      .sign(privateKey, { crit: Object.fromEntries(Object.keys(one.joseHeader ?? {}).map((name) => [name, true])) })
    return STANDARDS[id].readEvent({ ...received, contentType: 'application/jwt', body }, registration, eventTools())
  }
  const body = JSON.stringify(request.body)
  const digest = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
  const { headers } = await httpbis.signMessage(
    {
      key: {
        id: 'e',
        alg: 'ecdsa-p256-sha256',
        sign: (data: Buffer) => Promise.resolve(sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
      },
      fields: ['@method', '@target-uri', 'content-digest'],
      params: ['created', 'keyid', 'alg'],
    },
    { method: 'POST', url: received.url, headers: { 'content-digest': digest } },
  )
  const lowerCase = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  return STANDARDS[id].readEvent(
    { ...received, headers: lowerCase, contentType: 'application/json', body },
    registration,
    eventTools(),
  )
}

async function findEventFaults(one: Case, id: StandardId): Promise<string[]> {
  const event = await readCaseEvent(one, id).catch((error: unknown) => String((error as { code?: string }).code))
  const expected = { kind: 'CONSENT_REVOKED', consentRef: one.expected.events![0]!.resourceId }
  return typeof event !== 'string' && JSON.stringify(event.payloads) === JSON.stringify([expected]) ? [] : ['EVENT']
}

const findFaults = (one: Case, id: StandardId): Promise<string[]> =>
  one.expected.events
    ? findEventFaults(one, id)
    : one.expected.consent
      ? findConsentFaults(one, id)
      : findReadFaults(one, id)

describe('the sample payloads of banks', () => {
  if (CASES.length === 0) test.skip(`the cases are not tested: there is no folder ${CASES_DIR}, see GUICHET_CASES`)
  for (const one of CASES) {
    const id = standardOf(one)
    if (id === undefined) test.skip(`${one.id} is not tested: the gateway has no connector for ${one.standard}`)
    else
      test(`${one.id} is read as the case says`, async () => {
        expect(await findFaults(one, id)).toEqual([])
      })
  }
})
