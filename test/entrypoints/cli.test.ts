import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type TestGateway } from '../support/gateway.ts'

const root = join(import.meta.dirname, '../..')
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Runs a shell line in the project's folder, as the documents print it. */
const shell = (line: string): Promise<Ended> =>
  new Promise((resolve) => {
    const env = {
      ...process.env,
      ISSUER: gateway.issuer,
      GUICHET_DATA_DIR: gateway.dataDir,
      PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`,
    }
    execFile('/bin/sh', ['-c', line], { cwd: root, env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
const guichet = (words: string): Promise<Ended> => shell(`node src/entrypoints/cli/main.ts ${words}`)
const json = async (words: string): Promise<unknown> => {
  const { code, out, err } = await guichet(`${words} --json`)
  expect(err).toBe('')
  expect(code).toBe(0)
  return JSON.parse(out)
}

describe('the command line', () => {
  test('registers a client that works at once, and stops working at once when it is suspended', async () => {
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

  test('gives a bearer token that a plain request can use, to sandbox clients for that only', async () => {
    const { accessToken, tokenType } = (await json('sandbox token --customer cleo --bearer')) as {
      accessToken: string
      tokenType: string
    }
    expect(tokenType).toBe('Bearer')
    const answer = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: { authorization: `Bearer ${accessToken}`, 'content-type': 'application/json' },
      body: '{"query":"{ customer { accounts { nodes { currencies } } } }"}',
    })
    expect(await answer.json()).toMatchObject({
      data: { customer: { accounts: { nodes: [{ currencies: ['EUR'] }, { currencies: ['USD'] }] } } },
    })
  })

  test('ends with 2 and the usage where it is not understood, with 1 and one line where it is refused', async () => {
    for (const words of [
      '',
      'nonsense',
      'clients',
      'clients nonsense',
      'banks list --nonsense',
      'sandbox token',
      'query --customer ada',
    ]) {
      const { code, out, err } = await guichet(words)
      expect([words, code, out]).toEqual([words, 2, ''])
      expect(err.length).toBeGreaterThan(10)
    }
    for (const words of [
      'query "{ customer { id } }" --customer nobody',
      'clients suspend clnt_nobody',
      'connectors live cnct_nobody',
      'connectors certify cnct_nobody --as northbank-partner',
      'sandbox alert --bank nobank --customer ada --type CARD_SECURITY',
      'sandbox token --customer ada --client ../admin',
    ]) {
      const { code, out, err } = await guichet(words)
      expect([words, code, out]).toEqual([words, 1, ''])
      expect(err.trim().split('\n')).toHaveLength(1)
    }
    expect((await guichet('--help')).code).toBe(0)
    const away = await shell('ISSUER=http://127.0.0.1:9 node src/entrypoints/cli/main.ts banks list')
    expect(away).toMatchObject({ code: 1, err: 'no gateway responds at http://127.0.0.1:9: start one with npm start, or name another with --gateway\n' })
  })

  test('takes as many words as its usage shows, and no option that it would ignore', async () => {
    const customer = (await json("query '{ customer { consents { nodes { id bank { id } } } } }' --customer ada")) as {
      data: { customer: { consents: { nodes: { id: string }[] } } }
    }
    const ids = customer.data.customer.consents.nodes.map(({ id }) => id)
    expect(ids).toHaveLength(2)
    const ended = (await json(`consents withdraw ${ids.join(' ')} --customer ada`)) as { status: string }[]
    expect(ended.map(({ status }) => status)).toEqual(['REVOKED', 'REVOKED'])
    expect(await json('sandbox reset --customer ada')).toMatchObject({ personas: ['ada'] })
    for (const [words, said] of [
      ['banks list northbank', 'too many arguments'],
      ['clients suspend one two', 'too many arguments'],
      ['consents list --customer ada --as admin', "unknown option '--as'"],
      ['sandbox reset --as admin', "unknown option '--as'"],
    ] as const) {
      const { code, out, err } = await guichet(words)
      expect([words, code, out]).toEqual([words, 2, ''])
      expect(err).toContain(said)
    }
  })

  test('every command of the documents works as it is printed, in order', async () => {
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
    for (const line of lines) {
      const { code, out, err } = await shell(line.replace('<id>', connector))
      expect([line, code]).toEqual([line, 0])
      if (!line.includes('connectors certify')) expect([line, err]).toEqual([line, ''])
      connector = line.includes('connectors register') ? /cnct_[\w-]+/.exec(out)![0] : connector
    }
    rmSync(join(root, 'ada.json'))
    expect(await json('banks list')).toHaveLength(6)
    expect(blocks.filter((line) => line.startsWith('npm ')).map((line) => line.replace(/ +#.*/, ''))).toEqual([
      'npm ci && npm start',
      'npm ci && npm test',
    ])
  })
})
