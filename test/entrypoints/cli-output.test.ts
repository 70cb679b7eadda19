import { execFile, spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COMMANDS, NOUNS } from '../../src/entrypoints/cli/commands.ts'
import { parseCommandLine } from '../../src/entrypoints/cli/program.ts'
import { freePort } from '../support/ports.ts'

const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'guichet-cli-'))
const isInstalled = (program: string): boolean => spawnSync('which', [program]).status === 0

/** What the scripted gateway returns for the next GraphQL requests, by a word of the operation. */
const responses = new Map<string, unknown>()
let scripted: { status: number; body: string } | undefined
let server: Server
let issuer = ''

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => (body += text))
    request.on('end', () => {
      const word = [...responses.keys()].find((candidate) => body.includes(candidate))
      const token = { access_token: 'token', token_type: 'DPoP', expires_in: 300 }
      const value = request.url === '/oauth/token' ? token : responses.get(word ?? '')
      response.writeHead(scripted?.status ?? 200, { 'content-type': 'application/json' })
      response.end(scripted?.body ?? JSON.stringify(value))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const key = { ...privateKey.export({ format: 'jwk' }), kid: 'k1' }
  mkdirSync(join(folder, 'clients'))
  for (const clientId of ['admin', 'partner'])
    writeFileSync(join(folder, 'clients', `${clientId}.json`), JSON.stringify({ clientId, key }))
})
afterAll(async () => {
  await new Promise((resolve) => server.close(resolve))
  rmSync(folder, { recursive: true, force: true })
})

interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Runs a shell line in which `guichet` is the command line of this project. */
const shell = (line: string, env: Record<string, string> = {}, program = 'bash'): Promise<Ended> =>
  new Promise((resolve) => {
    const script = `guichet() { ${process.execPath} ${root}/src/entrypoints/cli/main.ts "$@"; }\n${line}`
    const settings = { ISSUER: issuer, GUICHET_DATA_DIR: folder, NO_COLOR: '', FORCE_COLOR: '', TERM: 'xterm', ...env }
    for (const name of ['NO_COLOR', 'FORCE_COLOR'] as const)
      if (settings[name] === '') Reflect.deleteProperty(settings, name)
    const { NO_COLOR: _no, FORCE_COLOR: _force, ...inherited } = process.env
    execFile(program, ['-c', script], { cwd: folder, env: { ...inherited, ...settings } }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
const guichet = (words: string, env?: Record<string, string>): Promise<Ended> => shell(`guichet ${words}`, env)
/** The same on a terminal of this width, which shows stdout and stderr. */
const onTerminal = (words: string, columns: number, env?: Record<string, string>): Promise<Ended> => {
  const command = `${process.execPath} ${root}/src/entrypoints/cli/main.ts ${words}`
  // Node takes the colours of a terminal from these, and gives none to CI.
  const colours = 'env -u CI -u FORCE_COLOR TERM=xterm-256color COLORTERM='
  return shell(`script -qec 'stty cols ${columns}; ${colours} ${command}' /dev/null </dev/null`, env)
}

const respondWithBanks = (banks: readonly object[]): void => {
  responses.clear()
  responses.set('banks(', { data: { banks: { nodes: banks, pageInfo: { hasNextPage: false, endCursor: null } } } })
}
const NORTHBANK = { id: 'northbank', name: 'Northbank', country: 'GB', availability: 'AVAILABLE' }
const LAKEBANK = { id: 'lakebank', name: 'Lakebank', country: 'US', availability: 'OUTAGE' }

describe('help', () => {
  test.each([
    ['--help', 0],
    ['help', 0],
    ['clients --help', 0],
    ['clients create --help', 0],
    ['help clients create', 0],
  ])('guichet %s prints help on stdout and exits with %i', async (words, code) => {
    const ended = await guichet(words)
    expect([ended.code, ended.err]).toEqual([code, ''])
    expect(ended.out).toMatch(/^Usage: guichet/)
  })

  test('the help of a command has its options, an example, the shape of its JSON and the exit codes', async () => {
    const { out } = await guichet('clients create --help')
    for (const part of [
      '--kind <kind>',
      '"PLATFORM", "BANK", "OPERATOR"',
      '--json',
      'Examples:\n  guichet clients create --organization',
      'JSON:\n  { id name status',
      'Exit codes:\n  0  done\n  1  refused',
    ])
      expect(out.replaceAll(/\n {20,}/g, ' ')).toContain(part)
  })

  test('the help of the program lists every command in one sentence', async () => {
    const { out } = await guichet('--help')
    for (const { name, description } of COMMANDS) {
      expect(out).toMatch(new RegExp(`^  ${name} `, 'm'))
      expect(description).toMatch(/^[A-Z].*\.$/)
    }
  })

  test('every example is a command line that its command accepts', () => {
    for (const { name, examples } of COMMANDS) {
      expect(examples.length, name).toBeGreaterThan(0)
      for (const example of examples) {
        const line = /guichet (.*?)( > .*|\)|)$/.exec(example)![1]!
        const words = line.match(/'[^']*'|"[^"]*"|<[^>]*>|\S+/g)!.map((word) => word.replaceAll(/['"]/g, ''))
        const invocation = parseCommandLine(words, { commands: COMMANDS, nouns: NOUNS, version: '1' })
        expect([example, typeof invocation === 'object' && invocation.command.name]).toEqual([example, name])
      }
    }
  })

  test('the option --version prints the version of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
    expect(await guichet('--version')).toEqual({ code: 0, out: `${version}\n`, err: '' })
  })
})

describe('wrong usage', () => {
  test.each([
    ['bank list', "unknown command 'bank'\n(Did you mean banks?)"],
    ['banks lst', "unknown command 'lst'\n(Did you mean list?)"],
    ['banks list --jsn', "unknown option '--jsn'\n(Did you mean --json?)"],
    ['consents list', "required option '--customer <persona>' not specified"],
    ['clients suspend', "missing required argument 'client-id'"],
    ['organizations update x --name --as admin', 'A value is missing before it.'],
    ['ledger list --limit 101', 'It must be a whole number from 1 to 100.'],
    ['banks list --gateway gateway.example', 'The gateway must be an http or https URL'],
    ['connectors register --as partner', 'name --file, --profile or --bank'],
  ])('guichet %s exits with 2 and prints the fault on stderr', async (words, message) => {
    const { code, out, err } = await guichet(words)
    expect([code, out]).toEqual([2, ''])
    expect(err).toContain(message)
  })

  test('a gateway URL with a password is refused and not repeated', async () => {
    const { code, err } = await guichet('banks list --gateway https://ann:geheim@gateway.example')
    expect(code).toBe(2)
    expect(err).not.toContain('geheim')
  })
})

describe('completion', () => {
  /** What bash offers for a line whose last word is begun. */
  const completeInBash = async (line: string): Promise<string[]> => {
    const words = line.split(' ')
    const array = words.map((word) => `'${word}'`).join(' ')
    const { out, err } = await shell(
      `source <(guichet completion bash); COMP_WORDS=(${array}); COMP_CWORD=${words.length - 1}; _guichet; printf '%s\\n' "\${COMPREPLY[@]}"; complete -p guichet >/dev/null`,
    )
    expect(err).toBe('')
    return out.trim().split('\n')
  }

  test('bash completes nouns, verbs, options and their values', async () => {
    expect(await completeInBash('guichet c')).toEqual(['consents', 'connectors', 'clients', 'completion'])
    expect(await completeInBash('guichet consents ')).toEqual(['list', 'withdraw'])
    expect(await completeInBash('guichet clients create --red')).toEqual(['--redirect-uri'])
    expect(await completeInBash('guichet clients create --kind ')).toEqual(['PLATFORM', 'BANK', 'OPERATOR'])
    expect(await completeInBash('guichet completion ')).toEqual(expect.arrayContaining(['bash', 'zsh', 'fish']))
    expect(await completeInBash('guichet query --c')).toEqual(['--customer'])
  })

  test('bash completes names of files, with spaces in them', async () => {
    writeFileSync(join(folder, 'my keys.json'), '{}')
    expect(await completeInBash('guichet clients create --file my')).toEqual(['my keys.json'])
  })

  test.runIf(isInstalled('fish'))('fish completes nouns, verbs, options and their values', async () => {
    const { out } = await guichet('completion fish')
    const script = join(folder, 'guichet.fish')
    writeFileSync(script, out)
    const complete = (line: string): string[] =>
      spawnSync('fish', ['--no-config', '-c', `source ${script}; complete -C "${line}"`], { encoding: 'utf8' })
        .stdout.trim()
        .split('\n')
        .map((candidate) => candidate.split('\t')[0]!)
    expect(complete('guichet cl')).toEqual(['clients'])
    expect(complete('guichet consents ')).toEqual(['list', 'withdraw'])
    expect(complete('guichet clients create --kind ')).toEqual(['BANK', 'OPERATOR', 'PLATFORM'])
  })

  test.runIf(isInstalled('zsh'))('zsh accepts the script for its completion', async () => {
    const script = join(folder, '_guichet')
    writeFileSync(script, (await guichet('completion zsh')).out)
    expect(spawnSync('zsh', ['-n', script], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' })
  })
})

describe('a result', () => {
  test('a result is a table for a list, without colours in a pipe', async () => {
    respondWithBanks([NORTHBANK, LAKEBANK])
    expect(await guichet('banks list')).toEqual({
      code: 0,
      out: 'ID         NAME       COUNTRY  AVAILABILITY\nnorthbank  Northbank  GB       AVAILABLE\nlakebank   Lakebank   US       OUTAGE\n',
      err: '',
    })
  })

  test('a result is "(none)" for an empty list, and an empty list in JSON', async () => {
    respondWithBanks([])
    expect((await guichet('banks list')).out).toBe('(none)\n')
    expect((await guichet('banks list --json')).out).toBe('[]\n')
  })

  test('a result is one JSON document with --json at any position', async () => {
    respondWithBanks([NORTHBANK])
    for (const words of ['banks list --json', '--json banks list', 'banks --json list']) {
      const { code, out, err } = await guichet(words)
      expect([code, err, out.trim().split('\n').length]).toEqual([0, '', 1])
      expect(JSON.parse(out)).toEqual([NORTHBANK])
    }
  })

  test('a result shows times in UTC and without fractions of a second', async () => {
    responses.clear()
    const entry = { occurredAt: '2026-11-27T13:36:44.123+01:00', action: 'CLIENT_CHANGED', clientId: 'admin' }
    const changes = [{ field: 'name', before: ['Parley'], after: ['Parley chat'] }]
    responses.set('auditLog', { data: { auditLog: { nodes: [{ ...entry, changes }], pageInfo: {} } } })
    const { out } = await guichet('ledger list')
    expect(out).toContain('2026-11-27T12:36:44Z  CLIENT_CHANGED  admin')
    expect(out).toContain('name: Parley → Parley chat')
  })

  test('a result of a long export is one JSON array with --json, and a line for each entry without', async () => {
    responses.clear()
    const nodes = [{ id: 'a' }, { id: 'b' }]
    responses.set('auditLog', { data: { auditLog: { nodes, pageInfo: { hasNextPage: false, endCursor: null } } } })
    expect((await guichet('ledger export')).out).toBe('{"id":"a"}\n{"id":"b"}\n')
    expect((await guichet('ledger export --json')).out).toBe('[{"id":"a"},{"id":"b"}]\n')
  })

  test('a result does not fail if its reader closes the pipe early', async () => {
    respondWithBanks(Array.from({ length: 20_000 }, (_each, index) => ({ ...NORTHBANK, id: `bank-${index}` })))
    const { code, out, err } = await shell('set -o pipefail; guichet banks list | head -1')
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(/^ID /)
  })

  test.runIf(isInstalled('script'))('a result has bold titles on a terminal, unless NO_COLOR is set', async () => {
    respondWithBanks([NORTHBANK])
    expect((await onTerminal('banks list', 80)).out).toContain('\u001b[1mID')
    expect((await onTerminal('banks list', 80, { NO_COLOR: '1' })).out).not.toContain('\u001b')
  })

  test.runIf(isInstalled('script'))(
    'a result is a record for each item if the terminal is too narrow for a table',
    async () => {
      respondWithBanks([NORTHBANK, LAKEBANK])
      const { out } = await onTerminal('banks list', 40, { NO_COLOR: '1' })
      const lines = out.replaceAll('\r', '').trimEnd().split('\n')
      expect(lines.slice(0, 6)).toEqual([
        'ID            northbank',
        'NAME          Northbank',
        'COUNTRY       GB',
        'AVAILABILITY  AVAILABLE',
        '',
        'ID            lakebank',
      ])
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(40)
    },
  )
})

describe('text from outside', () => {
  const ATTACK = '\u001b]0;owned\u0007\u001b[31mEvil\u009b2J\u202eknab\u2028\u200b\u{e0041}\u007f\nFORGED  row\r'

  const UNSAFE = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\ufeff]|\u{e0041}/u

  test('text from outside cannot control the terminal from a table or from JSON, and JSON keeps it', async () => {
    respondWithBanks([{ ...NORTHBANK, name: ATTACK }])
    const people = await guichet('banks list')
    expect(people.out).not.toMatch(UNSAFE)
    expect(people.out.trimEnd().split('\n')).toHaveLength(2)
    expect(people.out).toContain(String.raw`\u001b]0;owned\u0007\u001b[31mEvil`)
    const machine = await guichet('banks list --json')
    expect(machine.out).not.toMatch(UNSAFE)
    expect(JSON.parse(machine.out)).toEqual([{ ...NORTHBANK, name: ATTACK }])
  })

  test('text from outside cannot control the terminal from the error of a gateway', async () => {
    responses.clear()
    responses.set('banks(', { errors: [{ message: ATTACK, extensions: { code: `X${ATTACK}` } }] })
    const { code, out, err } = await guichet('banks list')
    expect([code, out]).toEqual([1, ''])
    expect(err).not.toMatch(UNSAFE)
    expect(err.trimEnd().split('\n')).toHaveLength(1)
    scripted = { status: 400, body: JSON.stringify({ error: ATTACK, error_description: ATTACK }) }
    const refused = await guichet('clients list')
    scripted = undefined
    expect(refused.code).toBe(1)
    expect(refused.err).not.toMatch(UNSAFE)
  })

  test('a response without a GraphQL result is reported with its status, and with its code and message if it has them', async () => {
    const answers = [
      [
        { error: { code: 'UNAVAILABLE', message: 'Please try again.', requestId: 'req_1' } },
        'UNAVAILABLE: Please try again.',
      ],
      [{ error: 'temporarily_unavailable' }, 'without a GraphQL result'],
      [null, 'without a GraphQL result'],
      [{ data: null }, 'without a GraphQL result'],
      [{ errors: [] }, 'without a GraphQL result'],
    ] as const
    for (const [body, reason] of answers) {
      scripted = { status: 503, body: JSON.stringify(body) }
      const { code, out, err } = await guichet('banks list')
      scripted = undefined
      expect([code, out]).toEqual([1, ''])
      expect(err).toContain('HTTP status 503')
      expect(err).toContain(reason)
    }
  })

  test('a response without the requested field is reported as one', async () => {
    responses.clear()
    for (const body of [{ errors: null, data: {} }, { data: { banks: null } }]) {
      responses.set('banks(', body)
      const { code, out, err } = await guichet('banks list')
      expect([code, out, err]).toEqual([1, '', `${issuer} responded without banks\n`])
    }
  })

  test('text from outside cannot control the terminal from an argument that is repeated in a message', async () => {
    const { code, err } = await guichet(`banks $'\\e]0;owned\\a'`)
    expect(code).toBe(2)
    expect(err).not.toMatch(UNSAFE)
  })
})

describe('an error', () => {
  test('an error message has the code, the field, the missing scopes, the time to retry and the request ID', async () => {
    responses.clear()
    const extensions = { requestId: 'req-1', missingScopes: [['a:read', 'b:read'], ['c:manage']] }
    responses.set('banks(', {
      errors: [
        {
          message: 'Too many.',
          extensions: { code: 'RATE_LIMITED', retryAt: '2026-11-27T12:00:00Z', requestId: 'req-1' },
        },
        { message: 'Not you.', path: ['banks', 0], extensions: { ...extensions, code: 'UNAUTHORIZED_FIELD_OR_TYPE' } },
        { message: 'Too long.', path: ['banks'], extensions: { code: 'INVALID_INPUT', argument: 'filter.search' } },
      ],
    })
    expect(await guichet('banks list')).toEqual({
      code: 1,
      out: '',
      err: [
        'RATE_LIMITED: Too many. Try again at 2026-11-27T12:00:00Z. (request req-1)',
        'UNAUTHORIZED_FIELD_OR_TYPE at banks.0: Not you. The token needs a:read b:read, or c:manage. (request req-1)',
        'INVALID_INPUT at filter.search: Too long.',
        '',
      ].join('\n'),
    })
  })

  test('an error about an unreachable or foreign gateway names its URL and the remedy', async () => {
    const absent = await guichet('banks list --gateway http://127.0.0.1:9')
    expect(absent).toMatchObject({ code: 1, out: '' })
    expect(absent.err).toMatch(/^no gateway responds at http:\/\/127\.0\.0\.1:9: start one with npm start.*\n$/)
    scripted = { status: 502, body: '<h1>Bad gateway</h1>' }
    const proxy = await guichet('banks list')
    scripted = undefined
    expect(proxy).toEqual({
      code: 1,
      out: '',
      err: `${issuer} does not respond as a gateway does: HTTP status 502 without JSON\n`,
    })
  })

  test('an error of the authorization server has its code and a remedy', async () => {
    scripted = { status: 401, body: '{"error":"invalid_client","error_description":"client authentication failed"}' }
    const { code, out, err } = await guichet('clients list')
    scripted = undefined
    expect([code, out]).toEqual([1, ''])
    expect(err).toMatch(/^invalid_client: client authentication failed\. .*: see guichet clients list\.\n$/)
  })

  test('an error of a sandbox bank that does not run names the bank and not the gateway', async () => {
    const file = join(folder, 'sandbox.json')
    const address = `127.0.0.1:${await freePort()}`
    writeFileSync(file, JSON.stringify({ gateway: issuer, banks: { northbank: `http://${address}` }, platform: '' }))
    const { code, err } = await guichet('sandbox fault --bank northbank --kind NONE')
    rmSync(file)
    expect([code, err]).toEqual([1, `no sandbox bank responds at ${address}: start the sandbox with npm start\n`])
  })

  test('an error about a key file that is no JSON names the file and nothing in it', async () => {
    const keyFile = join(folder, 'broken.json')
    writeFileSync(keyFile, '{"d":"geheim"')
    const { code, err } = await guichet(`clients list --as ${keyFile}`)
    expect([code, err]).toEqual([1, `${keyFile} is not JSON\n`])
  })
})

describe('a certification run', () => {
  const check = { failureCause: null, durationMs: 12 }
  const respondWithRun = (status: string, checks: readonly object[], failureCode: string | null = null): void => {
    responses.clear()
    const times = { startedAt: '2026-11-27T12:00:00Z', finishedAt: null }
    const run = { id: 'crun_1', trigger: 'MANUAL', status, ...times, checks, failureCode }
    responses.set('startCertification', {
      data: { startCertification: { certificationRun: { id: 'crun_1' }, userErrors: [] } },
    })
    responses.set('CertificationRun', { data: { node: run } })
    responses.set('connector(id', { data: { connector: { id: 'cnct_1', status: 'DRAFT', bank: { id: 'northbank' } } } })
  }

  test('a certification run shows its progress on stderr only', async () => {
    respondWithRun('PASSED', [{ ...check, name: 'REACHABILITY', status: 'PASSED', code: null }])
    const people = await guichet('connectors certify cnct_1 --as partner')
    expect([people.code, people.err]).toEqual([0, '✓ REACHABILITY         12 ms\n'])
    expect(people.out).toContain('RUN STATUS  PASSED')
    const machine = await guichet('connectors certify cnct_1 --as partner --json')
    expect(machine.err).toBe(people.err)
    expect(JSON.parse(machine.out)).toMatchObject({ id: 'cnct_1', certificationRun: { status: 'PASSED' } })
  })

  test('a certification run that fails exits with 1, and prints the run and the reasons', async () => {
    respondWithRun('FAILED', [{ ...check, name: 'CONSENT', status: 'FAILED', code: 'BANK_UNAVAILABLE' }])
    const { code, out, err } = await guichet('connectors certify cnct_1 --as partner --json')
    expect(code).toBe(1)
    expect(JSON.parse(out)).toMatchObject({ certificationRun: { status: 'FAILED' } })
    expect(err.trimEnd().split('\n').at(-1)).toBe('the run failed: CONSENT BANK_UNAVAILABLE')
    respondWithRun('FAILED', [], 'INTERNAL')
    const { err: reason } = await guichet('connectors certify cnct_1 --as partner --json')
    expect(reason).toBe('the run could not be completed: INTERNAL\n')
    const piped = await shell('set -o pipefail; guichet connectors certify cnct_1 --as partner 2>/dev/null | true')
    expect(piped).toMatchObject({ code: 1 })
  })
})
