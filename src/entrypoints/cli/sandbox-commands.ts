import { bankOf, change, needed, own, type Command, type Terminal } from './command.ts'
import { authorization, graphql, oauthClient, type Token } from './oauth-client.ts'
import { Refusal } from './refusal.ts'
import {
  clientFile,
  DEFAULT_SCOPES,
  dropToken,
  keepToken,
  keptToken,
  knownPersonas,
  liveBanksOf,
  openSandbox,
  optInEverywhere,
  type Sandbox,
} from './sandbox.ts'

/** The commands that only a sandbox has: its personas and its banks do what they are told. */
export const SANDBOX_COMMANDS: Readonly<Record<string, Command>> = {
  'sandbox token': {
    usage: 'sandbox token --customer <persona> [--scopes "<scopes>"] [--bank <id>] [--client <id>] [--bearer]',
    does: 'the real opt-in without a browser, at every bank of the persona, and its token',
    async run(terminal, _words, { customer, scopes, bank, client, bearer = false }) {
      const sandbox = openSandbox(terminal.issuer, terminal.dataDir)
      const persona = needed(customer, '--customer')
      const clientId = client ?? (bearer ? 'chatterbox-bearer' : 'chatterbox')
      const token = await optInEverywhere(sandbox, persona, {
        clientId,
        bearer,
        scopes: scopes?.split(/\s+/) ?? DEFAULT_SCOPES,
        banks: bank === undefined ? await liveBanksOf(sandbox, persona) : [bank],
      })
      if (clientId === 'chatterbox') keepToken(sandbox, persona, token)
      const { accessToken, tokenType, refreshToken, idToken, dpopJwk } = token
      const { data } = await graphql(terminal.issuer, token, '{ customer { id consents { id status } } }')
      const sharing = data?.['customer'] as { id: string; consents: { id: string }[] } | null
      return {
        accessToken,
        tokenType,
        clientId,
        clientJwk: clientFile(sandbox, clientId).key,
        dpopJwk,
        consentId: sharing?.consents[0]?.id,
        customer: sharing?.id,
        refreshToken,
        idToken,
      }
    },
  },
  'sandbox fault': {
    usage: 'sandbox fault --bank <id> [--account <bank account id>] --kind <fault>',
    does: 'from now on something goes wrong at the sandbox bank; NONE ends it, and a wrong kind lists them',
    async run(terminal, _words, { bank, account, kind }) {
      const url = bankOf(openSandbox(terminal.issuer, terminal.dataDir), needed(bank, '--bank'))
      const body = JSON.stringify({ account, kind: needed(kind, '--kind') })
      const answer = await fetch(`${url}/sandbox/faults`, { method: 'PUT', body })
      if (!answer.ok) throw new Refusal(`faults: ${((await answer.json()) as { faults: string[] }).faults.join(', ')}`)
      return { bank, account: account ?? 'all', kind }
    },
  },
  'sandbox alert': {
    usage: 'sandbox alert --bank <id> --customer <persona> --type <AlertType> [--severity <severity>]',
    does: 'the sandbox bank signs and pushes an alert, as a bank would; a wrong type lists them',
    async run(terminal, _words, { bank, customer, type, severity }) {
      const url = bankOf(openSandbox(terminal.issuer, terminal.dataDir), needed(bank, '--bank'))
      const body = { customer: needed(customer, '--customer'), type: needed(type, '--type'), severity }
      const answer = await fetch(`${url}/sandbox/alerts`, { method: 'POST', body: JSON.stringify(body) })
      if (answer.ok) return answer.json()
      const { allowed } = (await answer.json()) as { allowed?: Record<string, string[]> }
      const faults = Object.entries(allowed ?? {}).map(
        ([name, values]) => `--${name} must be one of ${values.join(', ')}`,
      )
      throw new Refusal(faults.join('; ') || `${String(bank)} refused: ${answer.status}`)
    },
  },
  'sandbox reset': {
    usage: 'sandbox reset [--customer <persona>]',
    does: 'gives every account its whole disclosure limits again, and one persona or all a new beginning: nothing shared, no bank with a fault',
    async run(terminal, _words, { customer }) {
      const sandbox = openSandbox(terminal.issuer, terminal.dataDir)
      const personas = customer === undefined ? knownPersonas(sandbox) : [customer]
      for (const persona of personas) await beginAnew(terminal, sandbox, persona)
      await Promise.all(
        Object.values(sandbox.addresses.banks).map((bank) => fetch(`${bank}/sandbox/faults`, { method: 'DELETE' })),
      )
      const url = `${terminal.issuer}/sandbox/reset`
      const token = await own(terminal, 'admin', 'clients:manage')
      const answer = await fetch(url, { method: 'POST', headers: await authorization(token, 'POST', url) })
      if (!answer.ok) throw new Refusal(`${terminal.issuer} is no sandbox: it refused with ${answer.status}`)
      return { ...((await answer.json()) as { accounts: number }), personas }
    },
  },
}

/** Ends these consents, or all of the token's customer with the client. Returns them as they are then. */
export async function withdraw(
  terminal: Terminal,
  token: Token,
  input: { readonly consentIds: readonly string[] } | { readonly all: true },
): Promise<unknown> {
  const query =
    'mutation ($input: WithdrawConsentsInput!) { withdrawConsents(input: $input) { consents { id status bank { id } } userErrors { code path message } } }'
  return change(terminal, token, query, { input }, 'withdrawConsents', 'consents')
}

/** Ends what the persona shares, and forgets the token; what was withdrawn before is as good. */
async function beginAnew(terminal: Terminal, sandbox: Sandbox, persona: string): Promise<void> {
  const token = await keptToken(sandbox, persona)
  if (token) await withdraw(terminal, token, { all: true })
  if (token?.refreshToken !== undefined)
    await oauthClient(sandbox.issuer, clientFile(sandbox, 'chatterbox')).revoke(token.refreshToken)
  dropToken(sandbox, persona)
}
