import { afterAll, beforeAll, expect, test } from 'vitest'
import type { BankAccount, Balances } from '../../src/connectors/index.ts'
import { ACCESS } from '../support/scripted-bank.ts'
import {
  connectToOfficialBank,
  customerOf,
  expectNoLosses,
  expectValidRequests,
  findAcceptedSpoils,
  findOutputFaults,
  withoutHeader,
  type ConformanceSession,
} from '../support/conformance/harness.ts'
import {
  createObieAccounts,
  createObieBalances,
  linkObieNext,
  readObieAccount,
  readObieBalances,
  splitObiePages,
  type ObieAccount,
  type ObieBalance,
} from '../support/conformance/obie-responses.ts'
import { loadOfficialApi, type OfficialApi } from '../support/conformance/official-api.ts'
import { startOfficialBank, type OfficialBank } from '../support/conformance/official-bank.ts'
import { describeWithFiles, readExamples } from '../support/conformance/official-files.ts'
import { findBalanceLosses } from '../support/conformance/oracle.ts'
import { createDice, opaqueId } from '../support/conformance/seeded-values.ts'
import { stepsOf } from '../support/sign-in.ts'

const ACCOUNT_PATHS = [
  '/account-access-consents',
  '/account-access-consents/{ConsentId}',
  '/accounts',
  '/accounts/{AccountId}/balances',
  '/balances',
]
const EVENT_PATHS = ['/event-subscriptions', '/events']
const AISP = '/open-banking/aisp'
const EVENTS = '/open-banking/events'
const access = { ...ACCESS, signedInAt: '2026-01-05T10:11:12.000Z' }
const SIGN_IN = {
  expiresAt: new Date('2026-12-31T10:11:12.345Z'),
  state: 's',
  customer: { ip: '198.51.100.9', userAgent: null },
}

for (const version of ['3.1.11', '4.0'] as const) {
  const accountsFile = `UK Open Banking ${version}, accounts` as const
  const eventsFile = `UK Open Banking ${version}, events` as const

  describeWithFiles(`UK Open Banking ${version} against its official files`, [accountsFile, eventsFile], () => {
    let official: OfficialBank
    let session: ConformanceSession
    let api: OfficialApi
    let events: OfficialApi

    beforeAll(async () => {
      api = await loadOfficialApi(accountsFile, ACCOUNT_PATHS)
      events = await loadOfficialApi(eventsFile, EVENT_PATHS)
      official = await startOfficialBank({ [AISP]: api, [EVENTS]: events }, { linkNext: linkObieNext })
      session = connectToOfficialBank('OBIE', official, {
        apiBase: AISP,
        eventsApi: official.origin + EVENTS,
        version,
        bulkBalances: true,
        messageSigning: { issuer: 'organisation-1/software-1' },
      })
    })
    afterAll(async () => {
      await session.close()
      await official.close()
    })

    test('every account of a random response is returned with its type, usage, status and currency', async () => {
      await expectNoLosses(async (seed) => {
        const dice = createDice(seed)
        const { body, accounts } = createObieAccounts(api, seed, dice)
        expect(api.findResponseFaults('GetAccounts', body)).toEqual([])
        official.stage('GetAccounts', dice.isLikely(0.3) ? splitObiePages(body, 'Account') : [body])
        const result = await session.bank.accounts(access, customerOf(seed))
        const byRef = new Map(result.map((account) => [account.ref, account]))
        return [
          ...findOutputFaults(session, result),
          ...accounts.flatMap((account) => {
            const expected = readObieAccount(account)
            const actual = byRef.get(account.AccountId)
            if (!actual) return [`LOST_ACCOUNT: ${JSON.stringify(account.AccountId)}`]
            return Object.entries(expected).flatMap(([name, value]) =>
              actual[name as keyof BankAccount] === value
                ? []
                : [`WRONG_ACCOUNT: ${name} of ${JSON.stringify(account)}`],
            )
          }),
          ...(result.length === accounts.length ? [] : [`WRONG_NUMBER: ${result.length} of ${accounts.length}`]),
        ]
      })
    })

    test('every balance of one account is returned with the amount that the bank stated', async () => {
      await expectNoLosses(async (seed) => {
        const dice = createDice(seed)
        const ref = opaqueId(dice, 40)
        const operation = 'GetAccountsAccountIdBalances'
        const { body, balances } = createObieBalances(api, { operation, seed, dice }, [ref])
        expect(api.findResponseFaults(operation, body)).toEqual([])
        official.stage(operation, dice.isLikely(0.3) ? splitObiePages(body, 'Balance') : [body])
        const result = await session.bank.balances(access, ref, customerOf(seed))
        return [...findOutputFaults(session, result), ...findBalanceLosses(readObieBalances(balances), result)]
      })
    })

    test('every balance of several accounts is returned with the amount that the bank stated', async () => {
      await expectNoLosses(async (seed) => {
        const dice = createDice(seed)
        const refs = [opaqueId(dice, 40), opaqueId(dice, 40)]
        const { body, balances } = createObieBalances(api, { operation: 'GetBalances', seed, dice }, refs)
        expect(api.findResponseFaults('GetBalances', body)).toEqual([])
        official.stage('GetBalances', dice.isLikely(0.3) ? splitObiePages(body, 'Balance') : [body])
        const result = await session.bank.bulkBalances!(access, refs, customerOf(seed))
        return [
          ...findOutputFaults(session, [...result]),
          ...refs.flatMap((ref) => {
            const own = readObieBalances(balances.filter(({ AccountId }) => AccountId === ref))
            const found = result.get(ref) ?? { balances: [], invalidTypes: [] }
            return 'balances' in found ? findBalanceLosses(own, found) : [`ERROR: ${found.code}`]
          }),
        ]
      })
    })

    test('every event of a random poll is returned', async () => {
      await expectNoLosses(async (seed) => {
        const body = events.createResponse('CreateEvents', seed) as { sets: Record<string, string> }
        official.stage('CreateEvents', [body])
        const ids = Object.keys(body.sets)
        const rejected = ids.slice(1, 2).map((id) => ({ id, err: 'invalid_request' as const }))
        const result = await session.bank.pollEvents!({ acknowledged: ids.slice(0, 1), rejected })
        const returned = new Map(result.map(({ id, event }) => [id, event.body]))
        return ids.filter((id) => returned.get(id) !== body.sets[id]).map((id) => `LOST_EVENT: ${id}`)
      })
    })

    test('a consent is created and deleted', async () => {
      await expectNoLosses(async (seed) => {
        const dice = createDice(seed)
        const body = api.createResponse('CreateAccountAccessConsents', seed, 201) as { Data: { ConsentId: string } }
        body.Data.ConsentId = opaqueId(dice, 128)
        official.stage('CreateAccountAccessConsents', [body])
        const customer = customerOf(seed) ?? SIGN_IN.customer
        const { pending } = await session.bank.requestConsent({ ...SIGN_IN, customer })
        await session.bank.revokeConsent({ consentRef: pending.consentRef })
        const { operation, request } = official.received.at(-1)!
        const isDeleted =
          operation === 'DeleteAccountAccessConsentsConsentId' &&
          decodeURIComponent(request.path.split('/').at(-1)!) === body.Data.ConsentId
        return pending.consentRef === body.Data.ConsentId && isDeleted ? [] : ['LOST_CONSENT: another id']
      })
    })

    test('a bank that needs time for a consent is asked for it, and no random response ends the sign-in too early', async () => {
      const slow = connectToOfficialBank('OBIE', official, {
        apiBase: AISP,
        version,
        financialId: '0015800000jfQ9aAAE',
        consentReadyAfterSeconds: 60,
      })
      const ended = ['Rejected', 'Revoked', 'RJCT', 'CANC', 'EXPD']
      await expectNoLosses(async (seed) => {
        const operation = 'GetAccountAccessConsentsConsentId'
        const created = api.createResponse('CreateAccountAccessConsents', seed, 201) as { Data: { ConsentId: string } }
        created.Data.ConsentId = opaqueId(createDice(seed), 128)
        const body = api.createResponse(operation, seed) as { Data: { ConsentId: string; Status: string } }
        body.Data.ConsentId = created.Data.ConsentId
        official.stage('CreateAccountAccessConsents', [created])
        official.stage(operation, [body])
        const waiting = await slow.bank.requestConsent(SIGN_IN)
        const step = await stepsOf(slow.bank)
          .poll(waiting)
          .catch(() => ({ kind: 'REFUSED' }))
        const { request, operation: last } = official.received.at(-1)!
        const expected = ended.includes(body.Data.Status) ? 'REFUSED' : 'REDIRECT'
        return [
          ...(waiting.kind === 'WAIT' ? [] : [`NO_WAIT: ${waiting.kind}`]),
          ...(step.kind === expected ? [] : [`WRONG_STEP: ${step.kind} for ${body.Data.Status}`]),
          ...(last === operation ? [] : [`NOT_ASKED: ${last}`]),
          ...(request.headers['x-fapi-financial-id'] === '0015800000jfQ9aAAE' ? [] : ['NO_ID: no id of the bank']),
        ]
      })
      await slow.close()
    })

    test('every account and every balance of the official examples is returned', async () => {
      for (const [name, body] of readExamples('uk-obie/examples', `v${version}-Accounts-`)) {
        const accounts = [(body as { Data: { Account: ObieAccount | ObieAccount[] } }).Data.Account].flat()
        official.stage('GetAccounts', [body])
        const refs = (await session.bank.accounts(access, null)).map(({ ref }) => ref)
        expect(refs, name).toEqual(accounts.map(({ AccountId }) => AccountId))
      }
      for (const [name, body] of readExamples('uk-obie/examples', `v${version}-Balances-`)) {
        // An example of 3.1.11 has one object for the list.
        const balances = [(body as { Data: { Balance: ObieBalance | ObieBalance[] } }).Data.Balance].flat()
        const refs = [...new Set(balances.map(({ AccountId }) => AccountId))]
        official.stage('GetBalances', [body])
        const result = await session.bank.bulkBalances!(access, refs, null)
        for (const ref of refs) {
          const own = readObieBalances(balances.filter(({ AccountId }) => AccountId === ref))
          expect(findBalanceLosses(own, result.get(ref) as Balances), name).toEqual([])
        }
      }
    })

    test('the connector sends no invalid request', () => {
      expectValidRequests(official)
      expect(new Set(official.received.map(({ operation }) => operation)).size).toBe(9)
    })

    test('both validators reject every spoiled request', () => {
      expect(
        findAcceptedSpoils(official, {
          'a consent without permissions': ['CreateAccountAccessConsents', () => ({ body: { Data: {}, Risk: {} } })],
          'a permission that does not exist': [
            'CreateAccountAccessConsents',
            () => ({ body: { Data: { Permissions: ['ReadEverything'] }, Risk: {} } }),
          ],
          'a sign-in date in another format': [
            'GetAccounts',
            ({ headers }) => ({ headers: { ...headers, 'x-fapi-auth-date': '2026-01-05T10:11:12Z' } }),
          ],
          'a query that does not exist': ['GetAccounts', () => ({ query: '?everything=true' })],
          'an event poll with another member': ['CreateEvents', () => ({ body: { maxEvents: 1, all: true } })],
          'a subscription without a signature': [
            'CreateEventSubscriptions',
            (request) => withoutHeader(request, 'x-jws-signature'),
          ],
          'a path that does not exist': ['GetBalances', () => ({ path: '/balance' })],
        }),
      ).toEqual([])
    })
  })
}
