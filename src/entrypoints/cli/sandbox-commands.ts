import {
  sandboxBankUrl,
  mutate,
  requireOption,
  requestClientToken,
  type Command,
  type CommandContext,
} from './command.ts'
import { createAuthorizationHeaders, executeGraphql, createOauthClient, type Token } from './oauth-client.ts'
import { CommandError } from './errors.ts'
import {
  readClientFile,
  DEFAULT_SCOPES,
  deleteSavedToken,
  saveToken,
  loadSavedToken,
  listSavedPersonas,
  findConnectablePersonaBanks,
  openSandbox,
  optInAtBanks,
  type Sandbox,
} from './sandbox.ts'

/** The commands that only a sandbox has: its personas and its banks do what they are told. */
export const SANDBOX_COMMANDS: Readonly<Record<string, Command>> = {
  'sandbox token': {
    usage: 'sandbox token --customer <persona> [--scopes "<scopes>"] [--bank <id>] [--client <id>] [--bearer]',
    description: 'the real opt-in without a browser, at every bank of the persona, and its token',
    async run(context, _args, { customer, scopes, bank, client, bearer = false }) {
      const sandbox = openSandbox(context.issuer, context.dataDir)
      const persona = requireOption(customer, '--customer')
      const clientId = client ?? (bearer ? 'chatterbox-bearer' : 'chatterbox')
      const token = await optInAtBanks(sandbox, persona, {
        clientId,
        bearer,
        scopes: scopes?.split(/\s+/) ?? DEFAULT_SCOPES,
        banks: bank === undefined ? await findConnectablePersonaBanks(sandbox, persona) : [bank],
      })
      if (clientId === 'chatterbox') saveToken(sandbox, persona, token)
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
  },
  'sandbox fault': {
    usage: 'sandbox fault --bank <id> [--account <bank account id>] --kind <fault>',
    description: 'from now on something goes wrong at the sandbox bank; NONE ends it, and a wrong kind lists them',
    async run(context, _args, { bank, account, kind }) {
      const url = sandboxBankUrl(openSandbox(context.issuer, context.dataDir), requireOption(bank, '--bank'))
      const body = JSON.stringify({ account, kind: requireOption(kind, '--kind') })
      const response = await fetch(`${url}/sandbox/faults`, { method: 'PUT', body })
      if (!response.ok)
        throw new CommandError(`faults: ${((await response.json()) as { faults: string[] }).faults.join(', ')}`)
      return { bank, account: account ?? 'all', kind }
    },
  },
  'sandbox alert': {
    usage: 'sandbox alert --bank <id> --customer <persona> --type <AlertType> [--severity <severity>]',
    description: 'the sandbox bank signs and pushes an alert, as a bank would; a wrong type lists them',
    async run(context, _args, { bank, customer, type, severity }) {
      const url = sandboxBankUrl(openSandbox(context.issuer, context.dataDir), requireOption(bank, '--bank'))
      const body = { customer: requireOption(customer, '--customer'), type: requireOption(type, '--type'), severity }
      const response = await fetch(`${url}/sandbox/alerts`, { method: 'POST', body: JSON.stringify(body) })
      if (response.ok) return response.json()
      const { allowed } = (await response.json()) as { allowed?: Record<string, string[]> }
      const faults = Object.entries(allowed ?? {}).map(
        ([name, values]) => `--${name} must be one of ${values.join(', ')}`,
      )
      throw new CommandError(faults.join('; ') || `${String(bank)} refused: ${response.status}`)
    },
  },
  'sandbox reset': {
    usage: 'sandbox reset [--customer <persona>]',
    description:
      'gives every account its whole disclosure limits again, and one persona or all a new beginning: nothing shared, no bank with a fault',
    async run(context, _args, { customer }) {
      const sandbox = openSandbox(context.issuer, context.dataDir)
      const personas = customer === undefined ? listSavedPersonas(sandbox) : [customer]
      for (const persona of personas) await resetPersona(context, sandbox, persona)
      await Promise.all(
        Object.values(sandbox.addresses.banks).map((bank) => fetch(`${bank}/sandbox/faults`, { method: 'DELETE' })),
      )
      const url = `${context.issuer}/sandbox/reset`
      const token = await requestClientToken(context, 'admin', 'clients:manage')
      const response = await fetch(url, {
        method: 'POST',
        headers: await createAuthorizationHeaders(token, 'POST', url),
      })
      if (!response.ok) throw new CommandError(`${context.issuer} is no sandbox: it refused with ${response.status}`)
      return { ...((await response.json()) as { accounts: number }), personas }
    },
  },
}

/** Ends these consents, or all of the token's customer with the client. Returns them as they are then. */
export async function withdrawConsents(
  context: CommandContext,
  token: Token,
  input: { readonly consentIds: readonly string[] } | { readonly all: true },
): Promise<unknown> {
  const query =
    'mutation ($input: WithdrawConsentsInput!) { withdrawConsents(input: $input) { consents { id status bank { id } } userErrors { code path message } } }'
  return mutate(context, token, query, { input }, 'withdrawConsents', 'consents')
}

/** Ends what the persona shares, and forgets the token; what was withdrawn before is as good. */
async function resetPersona(context: CommandContext, sandbox: Sandbox, persona: string): Promise<void> {
  const token = await loadSavedToken(sandbox, persona)
  if (token) await withdrawConsents(context, token, { all: true })
  if (token?.refreshToken !== undefined)
    await createOauthClient(sandbox.issuer, readClientFile(sandbox, 'chatterbox')).revoke(token.refreshToken)
  deleteSavedToken(sandbox, persona)
}
