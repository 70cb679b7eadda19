import { STANDARDS, type BankInterface, type StandardId } from '../../src/connectors/index.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { scriptedBank } from './scripted-bank.ts'

export const common = {
  bank: { id: 'testbank', name: 'Testbank', country: 'GB' },
  authorizationServer: 'https://auth.bank.example',
  apiBase: 'https://api.bank.example/base',
  clientId: 'guichet',
  events: { issuer: 'https://bank.example', keys: { keys: [{ kty: 'EC', kid: 'e' }] } },
}

export interface Example {
  readonly registration: Record<string, unknown>
  /** A balances answer of the standard with one good balance of 12.30. */
  readonly balances: (extra?: Record<string, unknown>) => unknown
  readonly account: string
  readonly accounts: (extra?: Record<string, unknown>) => unknown
}

export const CANARY = 'CANARY-b7'
export const noise = {
  merchant: CANARY,
  transactions: [{ note: CANARY }],
  [CANARY]: CANARY,
  'x-last': { [CANARY]: CANARY },
}

/** What the contract needs to know of each standard: how a good answer looks. */
export const EXAMPLES: Readonly<Record<StandardId, Example>> = {
  OBIE: {
    registration: { ...common, version: '4.0' },
    account: 'a1',
    balances: (extra) => ({
      Data: {
        Balance: [
          {
            AccountId: 'a1',
            CreditDebitIndicator: 'Credit',
            Type: 'ITAV',
            DateTime: '2026-01-01T00:00:00Z',
            Amount: { Amount: '12.30', Currency: 'GBP' },
            ...extra,
          },
        ],
        ...extra,
      },
      ...extra,
    }),
    accounts: (extra) => ({
      Data: {
        Account: [
          {
            AccountId: 'a1',
            Currency: 'GBP',
            AccountTypeCode: 'CACC',
            AccountCategory: 'Personal',
            Status: 'Enabled',
            Nickname: CANARY,
            Account: [
              { SchemeName: 'UK.OBIE.SortCodeAccountNumber', Identification: '20000012345678', Name: CANARY, ...extra },
            ],
            ...extra,
          },
        ],
      },
      ...extra,
    }),
  },
  BERLIN_GROUP: {
    registration: { ...common, version: '1.3.11', cardAccounts: false },
    account: 'a1',
    balances: (extra) => ({
      balances: [
        {
          balanceType: 'interimAvailable',
          balanceAmount: { amount: '12.30', currency: 'GBP', ...extra },
          lastChangeDateTime: '2026-01-01T10:11:12Z',
          lastCommittedTransaction: CANARY,
          ...extra,
        },
      ],
      ...extra,
    }),
    accounts: (extra) => ({
      accounts: [
        {
          resourceId: 'a1',
          iban: 'GB12345678',
          currency: 'GBP',
          cashAccountType: 'CACC',
          name: CANARY,
          ownerName: CANARY,
          details: CANARY,
          usage: 'PRIV',
          ...extra,
        },
      ],
      ...extra,
    }),
  },
}

export const connect = (
  id: StandardId,
  answer: (request: OutboundRequest) => OutboundResponse,
): { bank: BankInterface; sent: OutboundRequest[]; log: string[] } => {
  const { tools, sent, log } = scriptedBank(answer)
  return { bank: STANDARDS[id].connect(STANDARDS[id].registration.parse(EXAMPLES[id].registration), tools), sent, log }
}

export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'NONE',
    (error: unknown) => (error as { code?: string }).code ?? 'NOT A GATEWAY ERROR',
  )
