import { expect, test } from 'vitest'
import { resolveCustomer, type SignInEvidence } from '../../src/modules/consents/customer-resolution.ts'

const nothing: SignInEvidence = {
  sessionCustomerId: undefined,
  expectedCustomerId: undefined,
  claimsSameCustomer: false,
  sameCustomerIdsAtBank: [],
  otherCustomerIdsAtBank: [],
  accountHolderIds: [],
}
const NOBODY = { customerId: undefined, canOpenSession: true, bindsBankIdentity: true }

test.each<[guarantee: string, evidence: Partial<SignInEvidence>, proven: ReturnType<typeof resolveCustomer>]>([
  ['a first sign-in makes a new customer', {}, NOBODY],
  ['a session alone proves nobody', { sessionCustomerId: 'ada', claimsSameCustomer: true }, NOBODY],
  ['an expected subject alone proves nobody', { expectedCustomerId: 'ada' }, 'UNEXPECTED'],
  ['a known account alone proves nobody', { accountHolderIds: ['ada'] }, NOBODY],
  [
    'a known account and a session prove nobody if the person says that the session is not theirs',
    { sessionCustomerId: 'ada', accountHolderIds: ['ada'] },
    NOBODY,
  ],
  [
    'the answer "that was me" proves nobody if another customer shared the account',
    { sessionCustomerId: 'bo', claimsSameCustomer: true, accountHolderIds: ['ada'] },
    NOBODY,
  ],
  [
    'a bank that knows the person proves the customer',
    { sameCustomerIdsAtBank: ['ada'] },
    { customerId: 'ada', canOpenSession: true, bindsBankIdentity: true },
  ],
  [
    'the bank outweighs the session of another customer',
    { sessionCustomerId: 'bo', claimsSameCustomer: true, sameCustomerIdsAtBank: ['ada'] },
    { customerId: 'ada', canOpenSession: true, bindsBankIdentity: true },
  ],
  [
    'the session chooses between two customers who are one person at the bank',
    { sessionCustomerId: 'older', sameCustomerIdsAtBank: ['newer', 'older'] },
    { customerId: 'older', canOpenSession: true, bindsBankIdentity: true },
  ],
  [
    'an account shared before, and a session whose customer says that it was them, prove the customer',
    { sessionCustomerId: 'ada', claimsSameCustomer: true, accountHolderIds: ['ada'] },
    { customerId: 'ada', canOpenSession: true, bindsBankIdentity: false, isProvenBySession: true },
  ],
  [
    'the session and the platform together prove the customer',
    { sessionCustomerId: 'ada', expectedCustomerId: 'ada' },
    { customerId: 'ada', canOpenSession: true, bindsBankIdentity: false, isProvenBySession: true },
  ],
  [
    'the session and the platform prove nothing against a bank that knows another customer',
    { sessionCustomerId: 'ada', expectedCustomerId: 'ada', sameCustomerIdsAtBank: ['bo'] },
    'UNEXPECTED',
  ],
  [
    'the session and the platform prove nothing against a bank that knows the customer as another',
    { sessionCustomerId: 'ada', expectedCustomerId: 'ada', otherCustomerIdsAtBank: ['ada'] },
    'UNEXPECTED',
  ],
  [
    'a known account proves nothing against a bank that knows the customer as another',
    { sessionCustomerId: 'ada', claimsSameCustomer: true, otherCustomerIdsAtBank: ['ada'], accountHolderIds: ['ada'] },
    NOBODY,
  ],
  [
    'a session of somebody else than the platform expects proves nothing',
    { sessionCustomerId: 'bo', expectedCustomerId: 'ada' },
    'UNEXPECTED',
  ],
  [
    'the bank proves the expected customer in any browser',
    { expectedCustomerId: 'ada', sameCustomerIdsAtBank: ['ada'] },
    { customerId: 'ada', canOpenSession: true, bindsBankIdentity: true },
  ],
  [
    'a bank that knows another person than the platform expects proves nothing',
    { expectedCustomerId: 'ada', sameCustomerIdsAtBank: ['bo'] },
    'UNEXPECTED',
  ],
  [
    'the holder of a known account renews for the expected customer and opens no pages of theirs',
    { expectedCustomerId: 'ada', accountHolderIds: ['ada'] },
    { customerId: 'ada', canOpenSession: false, bindsBankIdentity: false },
  ],
])('%s', (_guarantee, evidence, proven) => {
  expect(resolveCustomer({ ...nothing, ...evidence })).toEqual(proven)
})
