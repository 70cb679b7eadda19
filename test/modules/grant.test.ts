import { describe, expect, test } from 'vitest'
import { addMs } from '../../src/kernel/clock.ts'
import * as consents from '../../src/modules/consents/index.ts'
import { AccountAccess, CONSENTS_KEY, Grant } from '../../src/modules/consents/grant.ts'

const NOW = new Date('2027-03-01T12:00:00Z')

const grant = new Grant(CONSENTS_KEY, {
  consentId: 'cons_1',
  customerId: 'cust_1',
  clientId: 'client',
  bankId: 'bank',
  connectionId: 'conn_1',
  scopes: ['accounts:read', 'balances:band'],
  purposes: ['ACCOUNT_SERVICE'],
  accountIds: ['acct_1', 'acct_2'],
  grantedAt: NOW,
  expiresAt: addMs(NOW, 1_000),
})

describe('a grant', () => {
  test('a grant authorizes an account of its consent for a scope of its consent', () => {
    const access = grant.open('balances:band', 'acct_2', NOW)
    expect(access).toBeInstanceOf(AccountAccess)
    expect(access).toMatchObject({ grant, accountId: 'acct_2', scope: 'balances:band' })
  })

  test('a grant authorizes nothing for a scope that the customer did not agree to', () => {
    expect(grant.open('balances:exact', 'acct_1', NOW)).toBeUndefined()
    expect(grant.openAll('balances:exact', NOW)).toEqual([])
  })

  test('a grant does not authorize an account that the customer did not share', () => {
    expect(grant.open('accounts:read', 'acct_3', NOW)).toBeUndefined()
  })

  test('a grant authorizes nothing from the moment at which the consent expires', () => {
    expect(grant.open('accounts:read', 'acct_1', addMs(NOW, 999))).toBeDefined()
    expect(grant.open('accounts:read', 'acct_1', addMs(NOW, 1_000))).toBeUndefined()
    expect(grant.openAll('accounts:read', addMs(NOW, 1_000))).toEqual([])
  })

  test('a grant authorizes all accounts of its consent in one call', () => {
    expect(grant.openAll('accounts:read', NOW).map(({ accountId }) => accountId)).toEqual(['acct_1', 'acct_2'])
  })
})

describe('other modules', () => {
  const key = Symbol('consents') as never

  test('other modules cannot construct a grant', () => {
    expect(() => new Grant(key, {} as never)).toThrow(TypeError)
  })

  test('other modules cannot construct an access', () => {
    expect(() => new AccountAccess(key, grant, 'acct_3', 'balances:exact')).toThrow(TypeError)
  })

  test('other modules can import neither the constructors nor their key', () => {
    expect(Object.values(consents)).not.toContain(CONSENTS_KEY)
    expect(Object.keys(consents)).not.toEqual(expect.arrayContaining(['Grant']))
    expect(Object.keys(consents)).not.toEqual(expect.arrayContaining(['AccountAccess']))
  })
})
