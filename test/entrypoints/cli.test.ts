import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, parseChoices } from '../../src/entrypoints/cli/browser.ts'
import { COMMANDS } from '../../src/entrypoints/cli/commands.ts'
import { TEST_CUSTOMER } from '../../src/sandbox/personas.ts'
import { commandLineOf, root } from '../support/command-line.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const { shell, guichet } = commandLineOf(() => gateway)
const json = async (words: string): Promise<unknown> => {
  const { code, out, err } = await guichet(`${words} --json`)
  expect(err).toBe('')
  expect(code).toBe(0)
  return JSON.parse(out)
}

/** The keys of a value as the help of a command documents them, such as `[{ id bank { id } }]`; null matches any. */
function expectShape(value: unknown, documented: string): void {
  const tokens = documented.match(/\w+|[[\]{}]/g)!
  const parse = (): unknown => {
    const token = tokens.shift()
    if (token === '[') {
      const item = parse()
      tokens.shift()
      return [item]
    }
    const fields: Record<string, unknown> = {}
    for (let name = tokens.shift()!; name !== '}'; name = tokens.shift()!)
      fields[name] = tokens[0] === '{' || tokens[0] === '[' ? parse() : null
    return fields
  }
  const compare = (part: unknown, shape: unknown, path: string): void => {
    if (shape === null || part === null) return
    if (Array.isArray(part)) {
      const itemShape: unknown = Array.isArray(shape) ? shape[0] : shape
      return void part.forEach((item) => compare(item, itemShape, `${path}[]`))
    }
    expect([path, Object.keys(part as object).sort()]).toEqual([path, Object.keys(shape as object).sort()])
    for (const [name, inner] of Object.entries(part as object))
      compare(inner, (shape as Record<string, unknown>)[name], `${path}.${name}`)
  }
  compare(value, parse(), '')
}

const shapeOf = (words: string): string => {
  const command = COMMANDS.find(({ name }) => words.startsWith(name))!
  return 'json' in command ? command.json.split(',')[0]! : ''
}

describe('the command line', () => {
  test('the command line registers a client that works immediately, and suspends it immediately', async () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const file = join(gateway.dataDir, 'parley.json')
    writeFileSync(file, JSON.stringify({ keys: [{ ...pair.publicKey.export({ format: 'jwk' }), kid: 'p1' }] }))
    const redirectUri = `${gateway.sandbox.platform}/callback`
    const client = (await json(
      `clients create --organization Parley --name "Parley chat" --file ${file} --scopes "accounts:read alerts:read" --redirect-uri ${redirectUri}`,
    )) as { id: string; organization: { kind: string; name: string }; tokenBinding: string }
    expect(client).toMatchObject({ organization: { kind: 'PLATFORM', name: 'Parley' }, tokenBinding: 'DPOP' })
    writeFileSync(
      join(gateway.dataDir, 'clients', `${client.id}.json`),
      JSON.stringify({
        clientId: client.id,
        redirectUri,
        key: { ...(pair.privateKey.export({ format: 'jwk' }) as JWK), kid: 'p1' },
      }),
    )
    const token = (await json(
      `sandbox token --customer bo --client ${client.id} --scopes "accounts:read alerts:read"`,
    )) as Record<string, unknown>
    expect(Object.keys(token)).toEqual(
      expect.arrayContaining(['accessToken', 'tokenType', 'clientId', 'clientJwk', 'dpopJwk', 'consentId', 'customer']),
    )
    expect(await json(`clients suspend ${client.id}`)).toEqual({ id: client.id, status: 'SUSPENDED' })
    expect(await guichet(`sandbox token --customer bo --client ${client.id}`)).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringContaining('invalid_client') as string,
    })
    expect(await json(`clients resume ${client.id}`)).toEqual({ id: client.id, status: 'ACTIVE' })
  })

  test('the command line prints a bearer token of a sandbox client that a plain request can use', async () => {
    const { accessToken, tokenType } = (await json('sandbox token --customer cleo --bearer')) as {
      accessToken: string
      tokenType: string
    }
    expect(tokenType).toBe('Bearer')
    const response = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: { authorization: `Bearer ${accessToken}`, 'content-type': 'application/json' },
      body: '{"query":"{ customer { accounts { nodes { currencies } } } }"}',
    })
    expect(await response.json()).toMatchObject({
      data: { customer: { accounts: { nodes: [{ currencies: ['EUR'] }, { currencies: ['USD'] }] } } },
    })
  })

  test('the command line prints tokens and private keys only with --json', async () => {
    const { code, out, err } = await guichet('sandbox token --customer cleo')
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(/^CUSTOMER +\S+\nCLIENT +chatterbox\nCONSENT +\S+\nTOKEN TYPE +DPoP\n$/)
    const saved = readFileSync(join(gateway.dataDir, 'tokens/cleo.json'), 'utf8')
    const { accessToken, dpopJwk } = JSON.parse(saved) as { accessToken: string; dpopJwk: { d: string } }
    for (const secret of [accessToken, dpopJwk.d]) expect(out).not.toContain(secret)
  })

  test('the command line exits with 2 for wrong usage, and with 1 and one line for a refusal', async () => {
    for (const words of ['', 'nonsense', 'clients', 'clients nonsense', 'sandbox token', 'query --customer ada']) {
      const { code, out, err } = await guichet(words)
      expect([words, code, out]).toEqual([words, 2, ''])
      expect(err.length).toBeGreaterThan(10)
    }
    for (const words of [
      'query "{ customer { id } }" --customer nobody',
      'clients suspend clnt_nobody',
      'connectors activate cnct_nobody',
      'connectors certify cnct_nobody --as northbank-partner',
      'sandbox alert --bank nobank --customer ada --type CARD_SECURITY',
      'sandbox token --customer ada --client ../admin',
    ]) {
      const { code, out, err } = await guichet(words)
      expect([words, code, out]).toEqual([words, 1, ''])
      expect(err.trim().split('\n')).toHaveLength(1)
    }
  })

  test('the command line prints the response of a query that has errors, and exits with 1', async () => {
    const { code, out, err } = await guichet(
      `query '{ customer { id } ledger: auditLog { nodes { id } } }' --customer bo`,
    )
    expect(code).toBe(1)
    expect(JSON.parse(out)).toMatchObject({ data: { customer: { id: expect.any(String) as string } } })
    expect(err).toMatch(/^UNAUTHORIZED_FIELD_OR_TYPE at ledger: .* The token needs ledger:read.* \(request \S+\)\n$/)
  })

  test('the command line accepts as many arguments as its usage shows, and no option that it would ignore', async () => {
    const customer = (await json("query '{ customer { consents { nodes { id bank { id } } } } }' --customer ada")) as {
      data: { customer: { consents: { nodes: { id: string }[] } } }
    }
    const ids = customer.data.customer.consents.nodes.map(({ id }) => id)
    expect(ids).toHaveLength(2)
    const ended = (await json(`consents withdraw ${ids.join(' ')} --customer ada`)) as { status: string }[]
    expect(ended.map(({ status }) => status)).toEqual(['REVOKED', 'REVOKED'])
    expect(await json('sandbox reset --customer ada')).toMatchObject({ personas: ['ada'] })
    for (const [words, message] of [
      ['banks list northbank', 'too many arguments'],
      ['clients suspend one two', 'too many arguments'],
      ['consents list --customer ada --as admin', "unknown option '--as'"],
      ['sandbox reset --as admin', "unknown option '--as'"],
    ] as const) {
      const { code, out, err } = await guichet(words)
      expect([words, code, out]).toEqual([words, 2, ''])
      expect(err).toContain(message)
    }
  })

  test('the command line overwrites no file with a certificate request', async () => {
    const path = join(root, 'package.json')
    const before = readFileSync(path, 'utf8')
    const words = `connectors request-certificate cnct_1 --as eastbank-partner --use SIGNING --common-name one --out ${path}`
    const { code, err } = await guichet(words)
    expect([code, err]).toEqual([2, expect.stringContaining('exists already')])
    expect(readFileSync(path, 'utf8')).toBe(before)
  })

  test('a bank without a test interface goes live by commands and one sign-in of a person', async () => {
    const origin = gateway.sandbox.banks.eastbank
    const { standard, registration } = (await (await fetch(`${origin}/sandbox/registration`)).json()) as {
      standard: string
      registration: Record<string, unknown>
    }
    const file = join(gateway.dataDir, 'eastbank.json')
    writeFileSync(file, JSON.stringify({ standard, registration: { ...registration, testInterface: undefined } }))
    const connector = (await json(`connectors register --as eastbank-partner --file ${file}`)) as {
      id: string
      jwks: object
      redirectUri: string
      eventsUrl: string
    }
    const { id, jwks, redirectUri, eventsUrl } = connector
    const client = JSON.stringify({ ...jwks, redirectUri, eventsUrl })
    await fetch(`${origin}/sandbox/clients/guichet`, { method: 'PUT', body: client })

    const statically = await guichet(`connectors certify ${id} --as eastbank-partner --level static --json`)
    expect(statically.err).toMatch(/^(✓.*\n)+Not at this level: SIGN_IN_CANCELLED, SIGN_IN_ABANDONED, SIGN_IN, /)
    expect(JSON.parse(statically.out)).toMatchObject({ status: 'DRAFT', certificationRun: { status: 'PASSED' } })
    const env = { ...process.env, ISSUER: gateway.issuer, GUICHET_DATA_DIR: gateway.dataDir }
    const words = ['src/entrypoints/cli/main.ts', 'connectors', 'certify', id, '--as', 'eastbank-partner', '--json']
    const certifying = spawn(process.execPath, words, { cwd: root, env })
    const printed = { out: '', err: '' }
    certifying.stdout.on('data', (chunk) => (printed.out += String(chunk)))
    certifying.stderr.on('data', (chunk) => (printed.err += String(chunk)))
    const ended = new Promise<number | null>((resolve) => void certifying.once('close', resolve))
    const link = await eventually('the link', () =>
      Promise.resolve(/https?:\/\/\S+\/certification\/\S+/.exec(printed.err)?.[0]),
    )
    const browser = createBrowser()
    expect((await browser.open(link)).text).toContain('Eastbank')
    const accounts = await browser.submit(await browser.open(`${link}/bank`), [
      ['customer', TEST_CUSTOMER],
      ['password', 'sandbox'],
      ['decision', 'sign-in'],
    ])
    const shared = parseChoices(accounts, 'account').map((account) => ['account', account] as const)
    expect((await browser.submit(accounts, [...shared, ['decision', 'allow']])).text).toContain('Thank you')
    expect(await ended).toBe(0)
    expect(JSON.parse(printed.out)).toMatchObject({
      status: 'CERTIFIED',
      certificationRun: { level: 'ATTENDED', status: 'PASSED', signInUrl: null },
    })
    expect(await json(`connectors activate ${id}`)).toMatchObject({ id, status: 'ACTIVE' })
    await json(`connectors suspend ${id} --as eastbank-partner`)
    await json(`connectors retire ${id} --as eastbank-partner`)
  })

  test('the command line runs every command of the documents as it is printed, in order', async () => {
    const documents = ['README.md', 'docs/ADD-A-BANK.md'].map((file) => readFileSync(join(root, file), 'utf8'))
    const blocksOf = (text: string) =>
      [...text.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) => block!.split('\n'))
    const blocks = documents.flatMap(blocksOf)
    const lines = documents.flatMap((text) => [
      ...blocksOf(text).filter((line) => line.startsWith('npx ')),
      ...[...text.matchAll(/`(npx guichet [^`]+)`/g)].map(([, line]) => line!),
    ])
    expect(lines.length).toBeGreaterThan(20)
    let connector = ''
    const platform = (await gateway.app.services.clients.find('chatterbox'))!.organizationId
    for (const [index, line] of lines.entries()) {
      // The first shows that npx finds the command, which takes a second of processor time each time.
      const command = index === 0 ? line : line.replaceAll('npx guichet', 'node src/entrypoints/cli/main.ts')
      const { code, out, err } = await shell(command.replace('<id>', connector).replace('<organization>', platform))
      expect([line, code]).toEqual([line, 0])
      if (line.includes('connectors certify')) {
        expect(err).toMatch(/^✓ REQUIREMENTS +\d+ ms\n✓ REACHABILITY +\d+ ms\n/)
        expect(out).not.toContain('REACHABILITY')
      } else expect([line, err]).toEqual([line, ''])
      connector = line.includes('connectors register') ? /cnct_[\w-]+/.exec(out)![0] : connector
    }
    rmSync(join(root, 'ada.json'))
    expect(await json('banks list')).toHaveLength(6)
    expect(blocks.filter((line) => line.startsWith('npm ')).map((line) => line.replace(/ +#.*/, ''))).toEqual([
      'npm ci && npm start',
      'npm ci && npm test',
    ])
    // The documents registered, certified and announced, so that every list has something in it.
    for (const words of [
      'banks list',
      'consents list --customer fay',
      'alerts list --customer fay',
      'alerts deliveries',
      'organizations list',
      'clients list',
      'clients usage chatterbox',
      'ledger list --limit 100',
      'connectors list',
      `connectors show ${connector}`,
      `connectors platforms ${connector}`,
      'sandbox token --customer bo',
      'keys rotate',
    ])
      expectShape(await json(words), shapeOf(words))
  })
})
