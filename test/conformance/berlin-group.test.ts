import { afterAll, beforeAll, expect, test } from 'vitest'
import type { BankAccount } from '../../src/connectors/index.ts'
import { ACCESS } from '../support/scripted-bank.ts'
import {
  createBerlinGroupAccounts,
  createBerlinGroupBalances,
  readBerlinGroupAccount,
  readBerlinGroupBalances,
  type BerlinGroupAccount,
  type BerlinGroupBalance,
} from '../support/conformance/berlin-group-responses.ts'
import {
  CASES,
  connectToOfficialBank,
  customerOf,
  expectNoLosses,
  expectValidRequests,
  findAcceptedSpoils,
  findOutputFaults,
  withoutHeader,
  type ConformanceSession,
} from '../support/conformance/harness.ts'
import { loadOfficialApi, type OfficialApi } from '../support/conformance/official-api.ts'
import { startOfficialBank, type OfficialBank } from '../support/conformance/official-bank.ts'
import { describeWithFiles } from '../support/conformance/official-files.ts'
import { findBalanceLosses } from '../support/conformance/oracle.ts'
import { createDice, opaqueId } from '../support/conformance/seeded-values.ts'

const PATHS = [
  '/v1/consents',
  '/v1/consents/{consentId}',
  '/v1/consents/{consentId}/status',
  '/v1/accounts',
  '/v1/accounts/{account-id}/balances',
  '/v1/card-accounts',
  '/v1/card-accounts/{account-id}/balances',
]

/** A consent id is also an OAuth scope (RFC 6749, 3.3), without a character that ends one. */
const SCOPE_CHARACTERS = "!#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"

describeWithFiles('Berlin Group 1.3.11 against its official file', ['Berlin Group 1.3.11'], () => {
  let official: OfficialBank
  let session: ConformanceSession
  let api: OfficialApi

  beforeAll(async () => {
    api = await loadOfficialApi('Berlin Group 1.3.11', PATHS)
    official = await startOfficialBank({ '/psd2': api })
    session = connectToOfficialBank('BERLIN_GROUP', official, {
      apiBase: '/psd2',
      version: '1.3.11',
      cardAccounts: true,
    })
  })
  afterAll(async () => {
    await session.close()
    await official.close()
  })

  /** Reads a list with these accounts, and returns the connector's own references of them, in their order. */
  async function refsOf(resourceIds: readonly string[], isCard: boolean): Promise<string[]> {
    const accounts = resourceIds.map((resourceId) => ({
      resourceId,
      currency: 'EUR',
      ...(isCard && { maskedPan: '42' }),
    }))
    official.stage('getAccountList', [{ accounts: isCard ? [] : accounts }])
    official.stage('getCardAccountList', [{ cardAccounts: isCard ? accounts : [] }])
    return (await session.bank.accounts(ACCESS, null)).map(({ ref }) => ref)
  }

  test('every account of a random response is returned with its type, usage, status and currency', async () => {
    await expectNoLosses(async (seed) => {
      const dice = createDice(seed)
      const cash = createBerlinGroupAccounts(api, { operation: 'getAccountList', seed, dice })
      const cards = createBerlinGroupAccounts(api, { operation: 'getCardAccountList', seed, dice })
      expect(api.findResponseFaults('getAccountList', cash.body)).toEqual([])
      expect(api.findResponseFaults('getCardAccountList', cards.body)).toEqual([])
      official.stage('getAccountList', [cash.body])
      official.stage('getCardAccountList', [cards.body])
      const result = await session.bank.accounts(ACCESS, customerOf(seed))
      const stated = [
        ...cash.accounts.map((account) => readBerlinGroupAccount(account, false)),
        ...cards.accounts.map((account) => readBerlinGroupAccount(account, true)),
      ]
      return [
        ...findOutputFaults(session, result),
        ...(result.length === stated.length ? [] : [`LOST_ACCOUNT: ${result.length} of ${stated.length}`]),
        ...(new Set(result.map(({ ref }) => ref)).size === result.length ? [] : ['SAME_REF: two accounts']),
        // The references are the connector's own, so that accounts are compared by their place.
        ...(result.length === stated.length ? result : []).flatMap((account, index) =>
          Object.entries(stated[index]!).flatMap(([name, value]) =>
            account[name as keyof BankAccount] === value ? [] : [`WRONG_ACCOUNT: ${name} ${String(value)}`],
          ),
        ),
      ]
    })
  })

  for (const operation of ['getBalances', 'getCardAccountBalances'] as const)
    test(`every balance of a random response to ${operation} is returned with the amount that the bank stated`, async () => {
      const isCard = operation === 'getCardAccountBalances'
      const resourceIds = Array.from({ length: CASES }, (_, index) => opaqueId(createDice(index + 1), 120))
      const refs = await refsOf(resourceIds, isCard)
      await expectNoLosses(async (seed) => {
        const dice = createDice(seed)
        const resourceId = resourceIds[seed - 1]!
        const { body, balances, debitAccounting } = createBerlinGroupBalances(api, { operation, seed, dice })
        expect(api.findResponseFaults(operation, body)).toEqual([])
        official.stage(operation, [body])
        const result = await session.bank.balances(ACCESS, refs[seed - 1]!, customerOf(seed))
        const { path } = official.received.at(-1)!.request
        const requested = decodeURIComponent(path.split('/').at(-2)!)
        return [
          ...(requested === resourceId ? [] : [`WRONG_PATH: ${path}`]),
          ...findOutputFaults(session, result),
          ...findBalanceLosses(readBerlinGroupBalances(balances, isCard ? { debitAccounting } : undefined), result),
        ]
      })
    })

  test('a consent is created, checked and deleted', async () => {
    await expectNoLosses(async (seed) => {
      const dice = createDice(seed)
      const body = api.createResponse('createConsent', seed, 201) as { consentId: string }
      body.consentId = opaqueId(dice, 120, SCOPE_CHARACTERS)
      official.stage('createConsent', [body])
      const { pending } = await session.bank.requestConsent({
        expiresAt: new Date('2026-12-31T10:11:12.345Z'),
        state: 's',
        customer: customerOf(seed) ?? { ip: '198.51.100.9', userAgent: null },
      })
      const status = api.createResponse('getConsentStatus', seed) as { consentStatus: string }
      official.stage('getConsentStatus', [status])
      const isEnded = await session.bank.isConsentEnded!(pending.consentRef)
      await session.bank.revokeConsent({ consentRef: pending.consentRef })
      const { operation, request } = official.received.at(-1)!
      const isDeleted =
        operation === 'deleteConsent' && decodeURIComponent(request.path.split('/').at(-1)!) === body.consentId
      return [
        ...(isDeleted ? [] : ['LOST_CONSENT: another id']),
        ...(isEnded === ['rejected', 'revokedByPsu', 'expired', 'terminatedByTpp'].includes(status.consentStatus)
          ? []
          : [`WRONG_STATUS: ${status.consentStatus}`]),
      ]
    })
  })

  test('every account and every balance of the official examples is returned', async () => {
    for (const [name, body] of api.examples('getAccountList')) {
      official.stage('getAccountList', [body])
      official.stage('getCardAccountList', [{ cardAccounts: [] }])
      const { accounts } = body as { accounts: BerlinGroupAccount[] }
      expect(await session.bank.accounts(ACCESS, null), name).toHaveLength(accounts.length)
    }
    for (const [operation, prefix] of [
      ['getBalances', ''],
      ['getCardAccountBalances', 'card:'],
    ] as const)
      for (const [name, body] of api.examples(operation)) {
        official.stage(operation, [body])
        const { balances, debitAccounting } = body as { balances: BerlinGroupBalance[]; debitAccounting?: boolean }
        const result = await session.bank.balances(ACCESS, `${prefix}a1`, null)
        // One example has the member in the list.
        const misplaced = balances.find((entry) => 'debitAccounting' in entry) as
          { debitAccounting: boolean } | undefined
        const card = prefix === '' ? undefined : { debitAccounting: debitAccounting ?? misplaced?.debitAccounting }
        const stated = balances.filter((entry) => 'balanceAmount' in entry)
        expect(findBalanceLosses(readBerlinGroupBalances(stated, card), result), name).toEqual([])
      }
  })

  test('the connector sends no invalid request', () => {
    // The file types the customer's address as IPv4 only.
    expectValidRequests(official, ['/header/psu-ip-address must match format "ipv4"'])
    expect(new Set(official.received.map(({ operation }) => operation)).size).toBe(7)
  })

  test('both validators reject every spoiled request', () => {
    expect(
      findAcceptedSpoils(official, {
        'a read without a request id': ['getAccountList', (request) => withoutHeader(request, 'x-request-id')],
        'a read without a consent id': ['getBalances', (request) => withoutHeader(request, 'consent-id')],
        'a consent without the customer': ['createConsent', (request) => withoutHeader(request, 'psu-ip-address')],
        'a consent without a date': [
          'createConsent',
          ({ body }) => ({ body: { ...(body as object), validUntil: undefined } }),
        ],
        'a consent for no day': [
          'createConsent',
          ({ body }) => ({ body: { ...(body as object), frequencyPerDay: 0 } }),
        ],
        'a path that does not exist': ['getAccountList', () => ({ path: '/v1/account' })],
      }),
    ).toEqual([])
  })
})
