import { defineCommand, type CommandContext } from '../command.ts'
import { CommandError } from '../errors.ts'
import { requestClientToken } from '../graph.ts'
import { CUSTOMER, flag, requiredText, text, words } from '../inputs.ts'
import { readClientFile } from '../key-files.ts'
import { createAuthorizationHeaders, createOauthClient, executeGraphql } from '../oauth-client.ts'
import {
  DEFAULT_SCOPES,
  deleteSavedToken,
  findConnectablePersonaBanks,
  listSavedPersonas,
  loadSavedToken,
  openSandbox,
  optInAtBanks,
  PLATFORM_CLIENT,
  sandboxBankUrl,
  saveToken,
  withdrawConsents,
  type Sandbox,
} from '../sandbox.ts'
import { record, table } from '../view.ts'

const BANK = requiredText('--bank <bank-id>', 'the sandbox bank')

/** The sandbox: its customers and its banks act on command. */
export const SANDBOX_COMMANDS = [
  defineCommand({
    name: 'sandbox token',
    description:
      'Run the opt-in without a browser, at every bank of the customer. --json prints the access token with its private keys.',
    options: {
      customer: CUSTOMER,
      scopes: words('--scopes <scopes>', `scopes, separated by spaces (default: "${DEFAULT_SCOPES.join(' ')}")`),
      bank: text('--bank <bank-id>', 'only this bank'),
      client: text('--client <client>', `the platform's client, by its name or key file (default: ${PLATFORM_CLIENT})`),
      bearer: flag('--bearer', 'a plain bearer token instead of one that is bound to a key'),
    },
    examples: [
      'guichet sandbox token --customer ada --json > ada.json',
      'guichet sandbox token --customer bo --bearer --json',
    ],
    json: '{ accessToken tokenType clientId clientJwk dpopJwk consentId customer refreshToken idToken }',
    view: record({ CUSTOMER: 'customer', CLIENT: 'clientId', CONSENT: 'consentId', 'TOKEN TYPE': 'tokenType' }),
    async run(context, { customer, scopes = DEFAULT_SCOPES, bank, client, bearer }) {
      const sandbox = openSandbox(context.issuer, context.dataDir)
      const clientId = client ?? (bearer ? `${PLATFORM_CLIENT}-bearer` : PLATFORM_CLIENT)
      const banks = bank === undefined ? await findConnectablePersonaBanks(sandbox, customer) : [bank]
      const token = await optInAtBanks(sandbox, customer, { clientId, bearer, scopes, banks })
      if (clientId === PLATFORM_CLIENT) saveToken(sandbox, customer, token)
      const { accessToken, tokenType, refreshToken, idToken, dpopJwk } = token
      const { data } = await executeGraphql(context.issuer, token, '{ customer { id currentConsents { id } } }')
      const sharing = data?.['customer'] as { id: string; currentConsents: { id: string }[] } | null
      return {
        accessToken,
        tokenType,
        clientId,
        clientJwk: readClientFile(sandbox, clientId).key,
        dpopJwk,
        consentId: sharing?.currentConsents[0]?.id,
        customer: sharing?.id,
        refreshToken,
        idToken,
      }
    },
  }),
  defineCommand({
    name: 'sandbox fault',
    description: 'Make a sandbox bank fail from now on. NONE ends it; any unknown kind lists all kinds.',
    options: {
      bank: BANK,
      account: text('--account <account-id>', "one account, by the bank's ID of it; otherwise all"),
      kind: requiredText('--kind <fault>', 'what goes wrong'),
    },
    examples: ['guichet sandbox fault --bank northbank --kind NONE'],
    json: '{ bank account kind }',
    view: record({ BANK: 'bank', ACCOUNT: 'account', FAULT: 'kind' }),
    async run({ issuer, dataDir }, { bank, account, kind }) {
      const url = sandboxBankUrl(openSandbox(issuer, dataDir), bank)
      const response = await fetch(`${url}/sandbox/faults`, { method: 'PUT', body: JSON.stringify({ account, kind }) })
      if (!response.ok) {
        const { faults } = (await response.json()) as { faults: readonly string[] }
        throw new CommandError(`--kind must be one of ${faults.join(', ')}`)
      }
      return { bank, account: account ?? 'all', kind }
    },
  }),
  defineCommand({
    name: 'sandbox alert',
    description: 'Let a sandbox bank sign and push an alert, as a bank would. Any unknown type lists all types.',
    options: {
      bank: BANK,
      customer: CUSTOMER,
      type: requiredText('--type <type>', 'the AlertType, such as CARD_SECURITY'),
      severity: text(
        '--severity <severity>',
        'INFO, WARNING or URGENT (default); only URGENT alerts are shown at once',
      ),
      action: text('--action <action>', 'the AlertAction (default: REVIEW_WITH_BANK)'),
    },
    examples: ['guichet sandbox alert --bank northbank --customer ada --type UNUSUAL_ACTIVITY_REVIEW'],
    json: '{ pushed [{ status }] }',
    view: (result, terminal) => pushTable((result as { pushed: unknown }).pushed, terminal),
    async run({ issuer, dataDir }, { bank, customer, type, severity, action }) {
      const url = sandboxBankUrl(openSandbox(issuer, dataDir), bank)
      const body = JSON.stringify({ customer, type, severity, requestedAction: action })
      const response = await fetch(`${url}/sandbox/alerts`, { method: 'POST', body })
      if (response.ok) return response.json()
      const { allowed = {} } = (await response.json()) as { allowed?: Record<string, readonly string[]> }
      const faults = Object.entries(allowed).map(([name, values]) => `--${name} must be one of ${values.join(', ')}`)
      throw new CommandError(faults.length > 0 ? faults : `${bank} responded with HTTP status ${response.status}`)
    },
  }),
  defineCommand({
    name: 'sandbox received',
    description: "List the webhooks that the sandbox platform received, and whether their signature is the gateway's.",
    options: {},
    examples: ['guichet sandbox received'],
    json: '[{ id verified body }]',
    view: table({
      ID: 'id',
      VERIFIED: 'verified',
      EVENT: 'body.type',
      ALERT: 'body.data.type',
      BANK: 'body.data.bankId',
    }),
    async run({ issuer, dataDir }) {
      const { platform } = openSandbox(issuer, dataDir).addresses
      const { received } = (await (await fetch(`${platform}/sandbox/received`)).json()) as { received: unknown[] }
      return received
    },
  }),
  defineCommand({
    name: 'sandbox responses',
    description: 'List the responses of customers that a sandbox bank received, and whether it froze the account.',
    options: { bank: BANK },
    examples: ['guichet sandbox responses --bank northbank'],
    json: '[{ answer account isConfirmed isFrozen }]',
    view: table({ ANSWER: 'answer', ACCOUNT: 'account', CONFIRMED: 'isConfirmed', FROZEN: 'isFrozen' }),
    async run({ issuer, dataDir }, { bank }) {
      const url = sandboxBankUrl(openSandbox(issuer, dataDir), bank)
      const desk = (await (await fetch(`${url}/sandbox/alert-responses`)).json()) as FraudDesk
      return desk.responses.map(({ answer, account, isConfirmed }) => ({
        answer,
        account,
        isConfirmed,
        isFrozen: account !== null && desk.frozenAccounts.includes(account),
      }))
    },
  }),
  defineCommand({
    name: 'sandbox reset',
    description:
      'Start again: all accounts get their full disclosure limits, all banks work, nothing is frozen, and the customers share nothing.',
    options: { customer: text('--customer <persona>', 'only the sharing of this customer; otherwise of all') },
    examples: ['guichet sandbox reset', 'guichet sandbox reset --customer ada'],
    json: '{ accounts personas }, the number of accounts and the names of the customers',
    view: record({ 'ACCOUNTS RESET': 'accounts', 'CUSTOMERS RESET': 'personas' }),
    async run(context, { customer }) {
      const sandbox = openSandbox(context.issuer, context.dataDir)
      const personas = customer === undefined ? listSavedPersonas(sandbox) : [customer]
      for (const persona of personas) await resetPersona(context, sandbox, persona)
      await clearFaults(sandbox)
      await clearFraudDesks(sandbox)
      return { accounts: await resetDisclosureLimits(context), personas }
    },
  }),
]

interface FraudDesk {
  readonly responses: readonly { answer: string; account: string | null; isConfirmed: boolean }[]
  readonly frozenAccounts: readonly string[]
}

const pushTable = table({ 'RESPONSE OF THE GATEWAY': 'status' })

/** Ends what the persona shares, and forgets their token. */
async function resetPersona(context: CommandContext, sandbox: Sandbox, persona: string): Promise<void> {
  const token = await loadSavedToken(sandbox, persona)
  if (token) await withdrawConsents(context, token, { all: true })
  if (token?.refreshToken !== undefined)
    await createOauthClient(sandbox.issuer, readClientFile(sandbox, PLATFORM_CLIENT)).revoke(token.refreshToken)
  deleteSavedToken(sandbox, persona)
}

async function clearFaults({ addresses }: Sandbox): Promise<void> {
  const banks = Object.values(addresses.banks)
  await Promise.all(banks.map((bank) => fetch(`${bank}/sandbox/faults`, { method: 'DELETE' })))
}

async function clearFraudDesks({ addresses }: Sandbox): Promise<void> {
  const banks = Object.values(addresses.banks)
  await Promise.all(banks.map((bank) => fetch(`${bank}/sandbox/alert-responses`, { method: 'DELETE' })))
}

/** Returns the number of accounts. */
async function resetDisclosureLimits(context: CommandContext): Promise<number> {
  const url = `${context.issuer}/sandbox/reset`
  const token = await requestClientToken(context, 'admin', 'clients:manage')
  const response = await fetch(url, { method: 'POST', headers: await createAuthorizationHeaders(token, 'POST', url) })
  if (!response.ok)
    throw new CommandError(`${context.issuer} is no sandbox: it responded with HTTP status ${response.status}`)
  return ((await response.json()) as { accounts: number }).accounts
}
