import { expect, test } from 'vitest'
import { provenCustomer, type SignInEvidence } from '../../src/modules/consents/customer-proof.ts'

const nothing: SignInEvidence = {
  session: undefined,
  expected: undefined,
  saysSame: false,
  sameAtBank: [],
  otherAtBank: [],
  accountHolders: [],
}
const NOBODY = { customerId: undefined, opensSession: true, identifies: true }

test.each<[guarantee: string, evidence: Partial<SignInEvidence>, proven: ReturnType<typeof provenCustomer>]>([
  ['a first sign-in makes a new customer', {}, NOBODY],
  ['a session alone joins nothing', { session: 'ada', saysSame: true }, NOBODY],
  ['an expected subject alone joins nothing', { expected: 'ada' }, 'UNEXPECTED'],
  ['a known account alone joins nothing', { accountHolders: ['ada'] }, NOBODY],
  [
    'a known account joins no session of somebody who says that it is not theirs',
    { session: 'ada', accountHolders: ['ada'] },
    NOBODY,
  ],
  [
    'the answer "that was me" joins nothing of another session',
    { session: 'bo', saysSame: true, accountHolders: ['ada'] },
    NOBODY,
  ],
  [
    'the bank that knows the person proves the customer',
    { sameAtBank: ['ada'] },
    { customerId: 'ada', opensSession: true, identifies: true },
  ],
  [
    'the bank is believed rather than the session of another customer',
    { session: 'bo', saysSame: true, sameAtBank: ['ada'] },
    { customerId: 'ada', opensSession: true, identifies: true },
  ],
  [
    'of two customers that are one person at the bank, the session says which',
    { session: 'older', sameAtBank: ['newer', 'older'] },
    { customerId: 'older', opensSession: true, identifies: true },
  ],
  [
    'an account shared before, and a session whose customer says that it was them, prove the customer',
    { session: 'ada', saysSame: true, accountHolders: ['ada'] },
    { customerId: 'ada', opensSession: true, identifies: false, bySession: true },
  ],
  [
    'the session and the platform together prove the customer',
    { session: 'ada', expected: 'ada' },
    { customerId: 'ada', opensSession: true, identifies: false, bySession: true },
  ],
  [
    'the session and the platform together prove nothing against a bank that knows somebody else',
    { session: 'ada', expected: 'ada', sameAtBank: ['bo'] },
    'UNEXPECTED',
  ],
  [
    'the session and the platform together prove nothing against a bank that knows the customer as another',
    { session: 'ada', expected: 'ada', otherAtBank: ['ada'] },
    'UNEXPECTED',
  ],
  [
    'a known account proves nothing against a bank that knows the customer as another',
    { session: 'ada', saysSame: true, otherAtBank: ['ada'], accountHolders: ['ada'] },
    NOBODY,
  ],
  [
    'a session of somebody else than the platform expects proves nothing',
    { session: 'bo', expected: 'ada' },
    'UNEXPECTED',
  ],
  [
    'the bank proves the expected customer in any browser',
    { expected: 'ada', sameAtBank: ['ada'] },
    { customerId: 'ada', opensSession: true, identifies: true },
  ],
  [
    'a bank that knows another person than the platform expects proves nothing',
    { expected: 'ada', sameAtBank: ['bo'] },
    'UNEXPECTED',
  ],
  [
    'the holder of a known account renews for the expected customer and opens no pages of theirs',
    { expected: 'ada', accountHolders: ['ada'] },
    { customerId: 'ada', opensSession: false, identifies: false },
  ],
])('%s', (_guarantee, evidence, proven) => {
  expect(provenCustomer({ ...nothing, ...evidence })).toEqual(proven)
})
