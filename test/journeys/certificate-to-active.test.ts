import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { JSONWebKeySet } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { createAuthority } from '../support/certificate-authority.ts'
import { root } from '../support/command-line.ts'
import { startOpenIdProvider, type ApiCall } from '../support/conformance/openid-provider.ts'
import { BERLIN_GROUP_CONSENT } from '../support/conformance/provider-settings.ts'
import { createReferenceClient } from '../support/conformance/reference-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { EXAMPLES } from '../support/standards.ts'

const PARTNER = 'eastbank-partner'
const DOCUMENT = readFileSync(join(root, 'docs/ADD-A-BANK.md'), 'utf8')

/** The commands of ADD-A-BANK in the fenced blocks of this kind, in order. */
const commandsOf = (kind: string): string[] =>
  [...DOCUMENT.matchAll(new RegExp(`\`\`\`sh ${kind}\n([^]*?)\`\`\``, 'g'))].flatMap(([, block]) =>
    block!.trim().split('\n'),
  )

let gateway: TestGateway
let authority: Awaited<ReturnType<typeof createAuthority>>
let folder: string
beforeAll(async () => {
  gateway = await startGateway()
  authority = await createAuthority('CN=Directory issuing CA')
})
afterAll(() => gateway.close())
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'guichet-operator-'))
})
const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

/** Runs a line in the operator's folder. Calls `onLink` with the link that it prints while it waits for a person. */
async function run(line: string, onLink: (link: string) => Promise<void>): Promise<string> {
  const command = line.replace('npx guichet', `node ${join(root, 'src/entrypoints/cli/main.ts')}`)
  const env = { ...process.env, ISSUER: gateway.issuer, GUICHET_DATA_DIR: gateway.dataDir }
  const child = spawn('/bin/sh', ['-c', command], { cwd: folder, env })
  const printed = { out: '', err: '' }
  child.stdout.on('data', (chunk) => (printed.out += String(chunk)))
  child.stderr.on('data', (chunk) => (printed.err += String(chunk)))
  let code: number | null | undefined
  child.once('close', (status) => (code = status))
  let link: string | undefined
  await eventually(line, async () => {
    const found = /https?:\/\/\S+\/certification\/\S+/.exec(printed.err)?.[0]
    if (found !== link) await onLink((link = found!))
    return code !== undefined
  })
  const faults = printed.err
    .split('\n')
    .filter((text) => !/^✓|^- .*NOT_SUPPORTED$|^Not at this level: |\/certification\/|^$/.test(text))
  expect([line, code, faults]).toEqual([line, 0, []])
  return printed.out
}

/** Follows the document, as an operator with these files. Returns what the last command printed. */
async function follow(kind: string, { members, onLink }: { members: object; onLink: (link: string) => Promise<void> }) {
  writeFileSync(join(folder, 'members.json'), JSON.stringify({ registration: members }))
  const commands = commandsOf(kind)
  expect(commands.length).toBeGreaterThan(6)
  let id = ''
  let printed = ''
  for (const command of commands) {
    printed = await run(command.replaceAll('<your client>', PARTNER).replace('<id>', id), onLink)
    if (command.includes('--dry-run')) expect(printed).toMatch(/ACCEPTABLE +yes\n/)
    else if (command.includes(' register ')) id = /cnct_[\w-]+/.exec(printed)![0]
    await answerRequests()
  }
  return { id, printed }
}

/** The authority issues a certificate for each request in the operator's folder. */
async function answerRequests(): Promise<void> {
  for (const use of ['transport', 'signing']) {
    const [request, certificate] = [join(folder, `${use}.csr`), join(folder, `${use}.pem`)]
    if (existsSync(request) && !existsSync(certificate))
      writeFileSync(certificate, (await authority.answer(readFileSync(request, 'utf8'))).chain)
  }
}

/** A bank of independent code, where a person signs in by the certification link. Its client is known by a subject. */
async function startBank(
  kind: 'UK' | 'BERLIN_GROUP',
  clientId: string,
  subject: string,
  { respond, clientKeys }: { respond: (call: ApiCall) => unknown; clientKeys?: () => Promise<JSONWebKeySet> },
) {
  const redirectUri = `${gateway.issuer}/bank/callback`
  const calls: string[] = []
  const provider = await startOpenIdProvider(
    kind,
    {
      client_id: clientId,
      // The only kind of client that may have plain HTTP on loopback as its redirect URI.
      application_type: 'native',
      redirect_uris: [redirectUri],
      tls_client_auth_subject_dn: subject,
    },
    {
      clientAuthority: authority.root,
      ...(clientKeys && { clientKeys }),
      api: async (call) => {
        calls.push(`${call.method} ${call.path}`)
        if (call.method === 'DELETE') await provider.endGrants()
        const body = respond(call)
        return body ? { status: call.method === 'POST' ? 201 : 200, body } : { status: NO_BODY[call.method] ?? 404 }
      },
    },
  )
  const person = createReferenceClient({ authority: provider.authority.root })
  closers.push(
    () => person.close(),
    () => provider.close(),
  )
  const browser = createBrowser()
  const isAtBank = (url: URL) => url.origin === provider.issuer
  return {
    provider,
    calls,
    /** Opens the link, signs in at the bank and returns. A browser posts what the bank returns in the fragment. */
    async signIn(link: string): Promise<void> {
      await browser.open(link)
      const { url } = await browser.open(`${link}/bank`, isAtBank)
      const callback = await person.signIn(url, redirectUri)
      const fragment = [...new URLSearchParams(callback.hash.slice(1))]
      callback.hash = ''
      const page = await browser.open(callback.href)
      const { text } = fragment.length > 0 ? await browser.submit(page, fragment) : page
      expect(text).toContain('Thank you')
    },
  }
}
/** The statuses of responses without a body. */
const NO_BODY: Readonly<Record<string, number>> = { DELETE: 204 }

describe('the way from a certificate to ACTIVE, by the commands of ADD-A-BANK', () => {
  test('an operator with certificates of a directory connects a UK bank at the level ATTENDED', async () => {
    let connectorId = ''
    const { provider, signIn, calls } = await startBank('UK', CLIENT_ID, `CN=${CLIENT_ID},C=GB`, {
      clientKeys: async () => {
        const [row] = await gateway.database.query<{ id: string }>(
          "select id from connector where bank_id = 'nationwide'",
        )
        connectorId = row!.id
        return (await fetch(`${gateway.issuer}/bank-keys/${connectorId}/jwks.json`)).json() as Promise<JSONWebKeySet>
      },
      respond: ({ method, path }) => {
        if (method === 'POST') return { Data: { ConsentId: 'intent-1', Status: 'AWAU' }, Risk: {} }
        if (path === '/accounts') return EXAMPLES.OBIE.accounts()
        return path === '/accounts/a1/balances' || path === '/balances' ? EXAMPLES.OBIE.balances() : undefined
      },
    })
    const members = {
      clientId: CLIENT_ID,
      authorizationServer: provider.issuer,
      authorizationOrigins: [],
      apiBase: `${provider.issuer}/api`,
      trustAnchors: [provider.authority.root],
    }
    const { id, printed } = await follow('directory', { members, onLink: signIn })
    expect(printed).toMatch(/STATUS +ACTIVE/)
    expect(connectorId).toBe(id)
    expect(calls).toContain('DELETE /account-access-consents/intent-1')
    expect(await levelOf(id)).toEqual({ level: 'ATTENDED', status: 'PASSED' })
  })

  test('an operator with a qualified certificate connects a Berlin Group bank at the level ATTENDED', async () => {
    const subject = `organizationIdentifier=${IDENTIFIER},CN=guichet.example,C=DE`
    const { provider, signIn } = await startBank('BERLIN_GROUP', IDENTIFIER, subject, {
      respond: ({ method, path }) => {
        if (method === 'POST')
          return {
            consentStatus: 'received',
            consentId: BERLIN_GROUP_CONSENT,
            _links: { scaOAuth: { href: `${provider.issuer}/.well-known/openid-configuration` } },
          }
        if (path.endsWith('/status')) return { consentStatus: 'valid' }
        if (path.endsWith('/accounts')) return EXAMPLES.BERLIN_GROUP.accounts()
        return path.endsWith('/accounts/a1/balances') ? EXAMPLES.BERLIN_GROUP.balances() : undefined
      },
    })
    const { chain, key } = await authority.issueWithKey({ subject: `C=DE, CN=guichet.example, 2.5.4.97=${IDENTIFIER}` })
    writeFileSync(join(folder, 'qwac.pem'), chain)
    writeFileSync(join(folder, 'qwac.key'), key)
    const members = {
      authorizationServer: provider.issuer,
      authorizationOrigins: [],
      apiBase: `${provider.issuer}/api`,
      trustAnchors: [provider.authority.root],
      oauth: { clientAuthentication: 'tls_client_auth', tokenEndpoint: `${provider.issuer}/token` },
    }
    const { id, printed } = await follow('qualified', { members, onLink: signIn })
    expect(printed).toMatch(/STATUS +ACTIVE/)
    expect(await levelOf(id)).toEqual({ level: 'ATTENDED', status: 'PASSED' })
  })
})

const CLIENT_ID = '0015800001041RHAAY'
const IDENTIFIER = 'PSDDE-BAFIN-123456'

/** The level and the status of the newest run. */
async function levelOf(connectorId: string): Promise<unknown> {
  const [row] = await gateway.database.query(
    'select level, status from certification_run where connector_id = $1 order by started_at desc limit 1',
    [connectorId],
  )
  return row
}
