/** The people of the sandbox and what they have at which bank. All of it is made up. */
export type SandboxBankId = 'northbank' | 'rheinbank' | 'eastbank'
export type AccountKind = 'CURRENT' | 'SAVINGS' | 'CARD' | 'LOAN'

export interface SandboxAccount {
  readonly id: string
  readonly owners: readonly string[]
  readonly kind: AccountKind
  readonly number: string
  readonly currency: 'GBP' | 'EUR' | 'USD'
  /** What the account held, in cents, before the first entry of its history; negative is owed. */
  readonly opening: number
  /** A credit line in cents, or 0. */
  readonly creditLine: number
}

export interface SandboxBankFacts {
  readonly id: SandboxBankId
  readonly name: string
  readonly country: string
  readonly standard: 'OBIE' | 'BERLIN_GROUP'
  readonly version: '3.1.11' | '4.0' | '1.3.11'
  readonly accounts: readonly SandboxAccount[]
  /** Customers whose balances this bank cannot give at the moment. */
  readonly outageFor: readonly string[]
}

/** Everybody signs in at their bank with their name and this. */
export const SANDBOX_PASSWORD = 'sandbox'

const account = (
  id: string,
  owners: string,
  kind: AccountKind,
  number: string,
  currency: SandboxAccount['currency'],
  opening: number,
  creditLine = 0,
): SandboxAccount => ({ id, owners: owners.split(' '), kind, number, currency, opening, creditLine })

/** Ten accounts of one person, for measuring. */
const tenOf = (owner: string, make: (index: number) => [id: string, number: string], currency: 'GBP' | 'EUR') =>
  Array.from({ length: 10 }, (_, index) => {
    const [id, number] = make(index)
    return account(id, owner, index % 2 === 0 ? 'CURRENT' : 'SAVINGS', number, currency, 100_000 + index * 7_350)
  })

export const SANDBOX_BANKS: readonly SandboxBankFacts[] = [
  {
    id: 'northbank',
    name: 'Northbank',
    country: 'GB',
    standard: 'OBIE',
    version: '4.0',
    accounts: [
      account('nb-10001', 'ada', 'CURRENT', '20051510011234', 'GBP', 412_050, 50_000),
      account('nb-10002', 'ada', 'SAVINGS', '20051510015678', 'GBP', 1_250_000),
      account('nb-10003', 'bo', 'CARD', '4929000000004321', 'GBP', -20_000, 300_000),
      account('nb-10004', 'bo', 'LOAN', '20051510019876', 'GBP', -940_000),
      account('nb-10005', 'dan', 'CURRENT', '20051510012468', 'GBP', 88_000),
      ...tenOf('finn', (index) => [`nb-2000${index}`, `2005151002222${index}`], 'GBP'),
    ],
    outageFor: [],
  },
  {
    id: 'rheinbank',
    name: 'Rheinbank',
    country: 'DE',
    standard: 'BERLIN_GROUP',
    version: '1.3.11',
    accounts: [
      account('8f1c2a44-0001-4000-8000-000000000001', 'ada', 'CURRENT', 'DE89370400440532013000', 'EUR', 230_075),
      account('8f1c2a44-0002-4000-8000-000000000002', 'ada', 'CARD', '525412xxxxxx9876', 'EUR', 0, 500_000),
      account('8f1c2a44-0003-4000-8000-000000000003', 'cleo dan', 'CURRENT', 'DE02120300000000202051', 'EUR', 500_000),
      account('8f1c2a44-0004-4000-8000-000000000004', 'cleo', 'CURRENT', 'DE02500105170137075030', 'USD', 71_000),
      ...tenOf(
        'finn',
        (index) => [`8f1c2a44-001${index}-4000-8000-000000000010`, `DE8937040044053201310${index}`],
        'EUR',
      ),
    ],
    outageFor: ['dan'],
  },
  {
    id: 'eastbank',
    name: 'Eastbank',
    country: 'GB',
    standard: 'OBIE',
    version: '3.1.11',
    accounts: [account('eb-30001', 'eve', 'CURRENT', '40406530001357', 'GBP', 64_000)],
    outageFor: [],
  },
]
