import { afterAll, beforeAll, expect, test } from 'vitest'
import type { BankAccount } from '../../src/connectors/index.ts'
import { ACCESS } from '../support/scripted-bank.ts'
import {
  createCdrAccounts,
  createCdrBalance,
  createCdrBulkBalances,
  linkCdrNext,
  readCdrAccount,
  readCdrBalance,
  splitCdrPages,
} from '../support/conformance/cdr-responses.ts'
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
import { loadOfficialApi, type OfficialApi } from '../support/conformance/official-api.ts'
import { startOfficialBank, type OfficialBank } from '../support/conformance/official-bank.ts'
import { describeWithFiles } from '../support/conformance/official-files.ts'
import { findBalanceLosses } from '../support/conformance/oracle.ts'
import { createDice } from '../support/conformance/seeded-values.ts'

const PATHS = ['/banking/accounts', '/banking/accounts/balances', '/banking/accounts/{accountId}/balance']
const BASE = '/cds-au/v1'
const access = { ...ACCESS, signedInAt: '2026-01-05T10:11:12.000Z' }

describeWithFiles('CDR 1.36 against its official file', ['Consumer Data Right 1.36, banking'], () => {
  let official: OfficialBank
  let session: ConformanceSession
  let api: OfficialApi

  beforeAll(async () => {
    api = await loadOfficialApi('Consumer Data Right 1.36, banking', PATHS)
    official = await startOfficialBank({ [BASE]: api }, { linkNext: linkCdrNext })
    session = connectToOfficialBank('CDR', official, { apiBase: BASE, version: '1.36.0' })
  })
  afterAll(async () => {
    await session.close()
    await official.close()
  })

  test('every account of a random response is returned with its type, status and currency', async () => {
    await expectNoLosses(async (seed) => {
      const dice = createDice(seed)
      const { body, accounts } = createCdrAccounts(api, seed, dice)
      expect(api.findResponseFaults('listBankingAccounts', body)).toEqual([])
      official.stage('listBankingAccounts', dice.isLikely(0.3) ? splitCdrPages(body, 'accounts') : [body])
      const result = await session.bank.accounts(access, customerOf(seed))
      const byRef = new Map(result.map((account) => [account.ref, account]))
      return [
        ...findOutputFaults(session, result),
        ...accounts.flatMap((account) => {
          const actual = byRef.get(account.accountId)
          if (!actual) return [`LOST_ACCOUNT: ${JSON.stringify(account.accountId)}`]
          return Object.entries(readCdrAccount(account)).flatMap(([name, value]) =>
            actual[name as keyof BankAccount] === value ? [] : [`WRONG_ACCOUNT: ${name} of ${JSON.stringify(account)}`],
          )
        }),
        ...(result.length === accounts.length ? [] : [`WRONG_NUMBER: ${result.length} of ${accounts.length}`]),
      ]
    })
  })

  test('the balances of one account are returned with the amounts that the bank stated', async () => {
    await expectNoLosses(async (seed) => {
      const dice = createDice(seed)
      const { body, balance } = createCdrBalance(api, { seed, dice })
      expect(api.findResponseFaults('getBankingBalance', body)).toEqual([])
      official.stage('getBankingBalance', [body])
      const result = await session.bank.balances(access, balance.accountId, customerOf(seed))
      return [...findOutputFaults(session, result), ...findBalanceLosses(readCdrBalance(balance), result)]
    })
  })

  test('the balances of several accounts are returned with the amounts that the bank stated', async () => {
    await expectNoLosses(async (seed) => {
      const dice = createDice(seed)
      const { body, balances } = createCdrBulkBalances(api, { seed, dice })
      expect(api.findResponseFaults('listBankingBalancesBulk', body)).toEqual([])
      official.stage('listBankingBalancesBulk', dice.isLikely(0.3) ? splitCdrPages(body, 'balances') : [body])
      const refs = balances.map(({ accountId }) => accountId)
      const result = await session.bank.bulkBalances!(access, refs, customerOf(seed))
      return [
        ...findOutputFaults(session, [...result]),
        ...balances.flatMap((balance) => {
          const found = result.get(balance.accountId)
          if (!found) return [`LOST_ACCOUNT: ${JSON.stringify(balance.accountId)}`]
          return 'balances' in found ? findBalanceLosses(readCdrBalance(balance), found) : [`ERROR ${found.code}`]
        }),
      ]
    })
  })

  test('a bank that allows smaller pages than the standard gets valid requests with its size, and every page is read', async () => {
    const small = connectToOfficialBank('CDR', official, { apiBase: BASE, version: '1.36.0', pageSize: 25 })
    const { body, accounts } = createCdrAccounts(api, 1, createDice(1))
    official.stage('listBankingAccounts', splitCdrPages(body, 'accounts'))
    expect(await small.bank.accounts(access, null)).toHaveLength(accounts.length)
    const lists = official.received.filter(({ request }) => request.query.includes('page-size=25'))
    expect(lists.flatMap(({ faults }) => faults)).toEqual([])
    expect(lists.length).toBeGreaterThan(0)
    await small.close()
  })

  test('an arrangement is revoked by the form that the standard defines', async () => {
    await session.bank.revokeConsent({ consentRef: 'arrangement-1' })
    const [path, form] = official.forms.at(-1)!
    expect(path).toBe('/auth/arrangements/revoke')
    expect(form.get('cdr_arrangement_id')).toBe('arrangement-1')
    expect(form.get('client_assertion_type')).toBe('urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
    expect(form.get('client_assertion')).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/)
    expect(form.get('client_id')).toBe('guichet')
  })

  test('the connector sends no invalid request', () => {
    expectValidRequests(official)
    expect(new Set(official.received.map(({ operation }) => operation)).size).toBe(3)
  })

  test('both validators reject every spoiled request', () => {
    expect(
      findAcceptedSpoils(official, {
        'a read without a version': ['getBankingBalance', (request) => withoutHeader(request, 'x-v')],
        'a page size that is no number': ['listBankingAccounts', () => ({ query: '?page-size=many' })],
        'a filter that does not exist': ['listBankingBalancesBulk', () => ({ query: '?purchases=true' })],
        'a path that does not exist': ['listBankingAccounts', () => ({ path: '/banking/transactions' })],
      }),
    ).toEqual([])
  })
})
