// The customers and accounts of the sandbox banks. All data is fictional.
export type SandboxBankId = 'northbank' | 'rheinbank' | 'eastbank' | 'westbank' | 'lakebank' | 'southbank'
export type AccountKind = 'CURRENT' | 'SAVINGS' | 'CARD' | 'LOAN'

/** An account of a sandbox bank, before its transactions. */
export interface SandboxAccount {
  readonly id: string
  readonly owners: readonly string[]
  readonly kind: AccountKind
  readonly number: string
  readonly currency: 'GBP' | 'EUR' | 'USD' | 'AUD'
  /** The balance before the first transaction, in cents; negative when owed. */
  readonly openingBalance: number
  /** A credit line in cents, or 0. */
  readonly creditLine: number
}

/** The fixed data of a sandbox bank: its standard and its accounts. */
export interface SandboxBankConfig {
  readonly id: SandboxBankId
  readonly name: string
  readonly country: string
  readonly standard: 'OBIE' | 'BERLIN_GROUP' | 'FDX' | 'CDR'
  readonly version: '3.1.11' | '4.0' | '1.3.11' | '6.4' | '5.2' | '1.36.0'
  readonly accounts: readonly SandboxAccount[]
  /** Whether the bank is a transmitter of the Shared Signals Framework. */
  readonly usesSharedSignals?: true
  /** Whether the bank takes no responses to its alerts. */
  readonly takesNoResponses?: true
  /** Customers for whom this bank's balance endpoint is down. */
  readonly outageForCustomers: readonly string[]
}

/** The customer for certification runs, with three accounts at each bank. */
export const TEST_CUSTOMER = 'tess'

/** The number of entries per page. Lists of the test customer have several pages, so that a client without paging fails. */
export const pageSizeFor = (customer: string | null): number => (customer === TEST_CUSTOMER ? 2 : 100)

/** The password of every customer. */
export const SANDBOX_PASSWORD = 'sandbox'

const createAccount = (
  id: string,
  owners: string,
  kind: AccountKind,
  number: string,
  currency: SandboxAccount['currency'],
  openingBalance: number,
  creditLine = 0,
): SandboxAccount => ({ id, owners: owners.split(' '), kind, number, currency, openingBalance, creditLine })

const createTestAccounts = (prefix: string, currency: SandboxAccount['currency']): SandboxAccount[] =>
  (['CURRENT', 'CURRENT', 'CARD'] as const).map((kind, index) =>
    createAccount(
      `${prefix}-90${index}`,
      TEST_CUSTOMER,
      kind,
      `900000000000${index}00${index}`,
      currency,
      50_000,
      kind === 'CARD' ? 100_000 : 0,
    ),
  )

/** Ten accounts of one customer, for benchmarks. */
const createTenAccounts = (
  owner: string,
  createIdAndNumber: (index: number) => [id: string, number: string],
  currency: 'GBP' | 'EUR',
) =>
  Array.from({ length: 10 }, (_, index) => {
    const [id, number] = createIdAndNumber(index)
    return createAccount(id, owner, index % 2 === 0 ? 'CURRENT' : 'SAVINGS', number, currency, 100_000 + index * 7_350)
  })

/** All sandbox banks, in the order of their ports. */
export const SANDBOX_BANKS: readonly SandboxBankConfig[] = [
  {
    id: 'northbank',
    name: 'Northbank',
    country: 'GB',
    standard: 'OBIE',
    version: '4.0',
    accounts: [
      ...createTestAccounts('nb', 'GBP'),
      createAccount('nb-10001', 'ada', 'CURRENT', '20051510011234', 'GBP', 412_050, 50_000),
      createAccount('nb-10002', 'ada', 'SAVINGS', '20051510015678', 'GBP', 1_250_000),
      createAccount('nb-10003', 'bo', 'CARD', '4929000000004321', 'GBP', -20_000, 300_000),
      createAccount('nb-10004', 'bo', 'LOAN', '20051510019876', 'GBP', -940_000),
      createAccount('nb-10005', 'dan', 'CURRENT', '20051510012468', 'GBP', 88_000),
      ...createTenAccounts('finn', (index) => [`nb-2000${index}`, `2005151002222${index}`], 'GBP'),
    ],
    outageForCustomers: [],
  },
  {
    id: 'rheinbank',
    name: 'Rheinbank',
    country: 'DE',
    standard: 'BERLIN_GROUP',
    version: '1.3.11',
    accounts: [
      ...createTestAccounts('rb', 'EUR'),
      createAccount('8f1c2a44-0001-4000-8000-000000000001', 'ada', 'CURRENT', 'DE89370400440532013000', 'EUR', 230_075),
      createAccount('8f1c2a44-0002-4000-8000-000000000002', 'ada', 'CARD', '525412xxxxxx9876', 'EUR', 0, 500_000),
      createAccount(
        '8f1c2a44-0003-4000-8000-000000000003',
        'cleo dan',
        'CURRENT',
        'DE02120300000000202051',
        'EUR',
        500_000,
      ),
      createAccount('8f1c2a44-0004-4000-8000-000000000004', 'cleo', 'CURRENT', 'DE02500105170137075030', 'USD', 71_000),
      ...createTenAccounts(
        'finn',
        (index) => [`8f1c2a44-001${index}-4000-8000-000000000010`, `DE8937040044053201310${index}`],
        'EUR',
      ),
    ],
    outageForCustomers: ['dan'],
  },
  {
    id: 'eastbank',
    name: 'Eastbank',
    country: 'GB',
    standard: 'OBIE',
    version: '3.1.11',
    accounts: [
      ...createTestAccounts('eb', 'GBP'),
      createAccount('eb-30001', 'eve', 'CURRENT', '40406530001357', 'GBP', 64_000),
    ],
    outageForCustomers: [],
  },
  {
    id: 'westbank',
    name: 'Westbank',
    country: 'US',
    standard: 'FDX',
    version: '6.4',
    accounts: [
      ...createTestAccounts('wb', 'USD'),
      createAccount('wb-40001', 'fay', 'CURRENT', '000123455820', 'USD', 310_025),
      createAccount('wb-40002', 'fay', 'CARD', '4929000000007711', 'USD', -15_000, 1_000_000),
      createAccount('wb-40003', 'fay', 'LOAN', '000123459001', 'USD', -1_820_000),
    ],
    outageForCustomers: [],
  },
  {
    id: 'lakebank',
    name: 'Lakebank',
    country: 'US',
    standard: 'FDX',
    version: '5.2',
    takesNoResponses: true,
    accounts: [
      ...createTestAccounts('lb', 'USD'),
      createAccount('lb-50001', 'fay', 'SAVINGS', '000777001234', 'USD', 905_050),
    ],
    outageForCustomers: [],
  },
  {
    id: 'southbank',
    name: 'Southbank',
    country: 'AU',
    standard: 'CDR',
    version: '1.36.0',
    usesSharedSignals: true,
    accounts: [
      ...createTestAccounts('sb', 'AUD'),
      createAccount('sb-60001', 'cody', 'CURRENT', '062000 11112222', 'AUD', 152_310),
      createAccount('sb-60002', 'cody', 'CARD', '5353160000004455', 'AUD', -90_055, 1_000_000),
      createAccount('sb-60003', 'cody', 'LOAN', '062000 33334444', 'AUD', -48_000_000),
    ],
    outageForCustomers: [],
  },
]

/** How many accounts each extra customer has at which bank: twenty at three banks, and two at a fourth. */
const EXTRA_ACCOUNTS: Readonly<
  Partial<Record<SandboxBankId, readonly [accounts: number, currency: SandboxAccount['currency']]>>
> = {
  northbank: [7, 'GBP'],
  westbank: [7, 'USD'],
  southbank: [6, 'AUD'],
  rheinbank: [2, 'EUR'],
}

/** Adds `customerCount` customers to a bank: `crowd0`, `crowd1` and so on. */
export function withExtraCustomers(config: SandboxBankConfig, customerCount: number): SandboxBankConfig {
  const [count, currency] = EXTRA_ACCOUNTS[config.id] ?? [0, 'GBP']
  const extraAccounts = Array.from({ length: customerCount }, (_customer, customerIndex) =>
    Array.from({ length: count }, (_account, index) => {
      const id = `${config.id[0]!}c-${customerIndex}-${index}`
      return createAccount(
        id,
        `crowd${customerIndex}`,
        'SAVINGS',
        `7000${customerIndex}000${index}`,
        currency,
        100_000 + customerIndex * 1_111 + index,
      )
    }),
  )
  return customerCount === 0 ? config : { ...config, accounts: [...config.accounts, ...extraAccounts.flat()] }
}
