import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createOauthClient, type ClientFile } from '../../src/entrypoints/cli/oauth-client.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { newPlace, startProcess, type GatewayProcess } from '../support/process.ts'

/** What the process may use, in MiB; the attacks below send several times as much. */
const HEAP_MIB = 192
const FILLER = 'x'.repeat(56_000)
const agent = new Agent({ keepAlive: true, maxSockets: 8 })

let database: TestDatabase
let gateway: GatewayProcess
let dataDir: string
let token: string
beforeAll(async () => {
  database = await createTestDatabase()
  dataDir = mkdtempSync(join(tmpdir(), 'guichet-memory-'))
  gateway = await startProcess(await newPlace(dataDir), {
    DATABASE_URL: database.url,
    NODE_OPTIONS: `--max-old-space-size=${HEAP_MIB}`,
    GUICHET_TRUSTED_PROXIES: '127.0.0.1',
  })
  const client = JSON.parse(readFileSync(join(dataDir, 'clients/chatterbox-bearer.json'), 'utf8')) as ClientFile
  token = (await createOauthClient(gateway.issuer, client, true).clientCredentials('webhooks:manage')).accessToken
})
afterAll(async () => {
  agent.destroy()
  await gateway.stop('SIGINT')
  await database.drop()
  rmSync(dataDir, { recursive: true, force: true })
})

/** The status of one request; from addresses that are far apart, so that their number is not what refuses them. */
function send(index: number, body: unknown, headers: Record<string, string> = {}): Promise<number> {
  const text = JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const call = request(
      `${gateway.issuer}/graphql`,
      {
        agent,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
          'x-forwarded-for': `10.${index & 255}.0.1`,
          ...headers,
        },
      },
      (answer) => {
        answer.resume().on('end', () => {
          const status = answer.statusCode ?? 0
          // A machine that is busy with other things makes a process late, which then sheds load.
          if (status === 503) setTimeout(() => resolve(send(index, body, headers)), 100)
          else resolve(status)
        })
      },
    )
    call.on('error', (error: NodeJS.ErrnoException) => {
      if (call.reusedSocket && error.code === 'ECONNRESET') resolve(send(index, body, headers))
      else reject(error)
    })
    call.end(text)
  })
}

async function sendAll(count: number, one: (index: number) => Promise<number>): Promise<Map<number, number>> {
  const statuses = new Map<number, number>()
  let next = 0
  const sender = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      const status = await one(index)
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
  }
  await Promise.all(Array.from({ length: 8 }, sender))
  return statuses
}

async function expectAlive(): Promise<void> {
  expect(gateway.child.exitCode).toBeNull()
  expect((await fetch(`${gateway.issuer}/livez`)).status).toBe(200)
  expect(await send(0, { query: '{ banks { nodes { id } } }' })).toBe(200)
}

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex')
const persisted = (text: string, hash = hashOf(text)) => ({
  query: text,
  extensions: { persistedQuery: { version: 1, sha256Hash: hash } },
})
const bearer = () => ({ authorization: `Bearer ${token}` })

describe('the memory of a gateway stays bounded, and it continues to respond', () => {
  test.each<[string, number, (index: number) => Promise<number>]>([
    [
      'when hundreds of anonymous documents differ in a comment',
      900,
      (index) => send(index, { query: `{ __typename } #${index}${FILLER}` }),
    ],
    [
      'when hundreds of anonymous documents differ in an alias',
      150,
      (index) => {
        const fields = Array.from(
          { length: 12 },
          (_, at) => `a${at}_${index}: customer { id accounts { nodes { id currencies bank { id name country } } } }`,
        )
        return send(index, { query: `{ ${fields.join(' ')} }` })
      },
    ],
    [
      'when hundreds of operation names come with a token',
      150,
      (index) => {
        const fields = Array.from(
          { length: 12 },
          (_, at) => `a${at}: customer { id accounts { nodes { id currencies bank { id name country } } } }`,
        )
        return send(index, { query: `query Q${index} { ${fields.join(' ')} }`, operationName: `Q${index}` }, bearer())
      },
    ],
    [
      'when hundreds of invalid documents are sent with their hash',
      300,
      (index) => send(index, persisted(`{ nothing } #${index}${FILLER}`), bearer()),
    ],
    [
      'when hundreds of valid documents are sent with their hash',
      300,
      (index) => send(index, persisted(`{ __typename } #${index}${FILLER}`), bearer()),
    ],
    [
      'when hundreds of operation names name no operation',
      300,
      (index) => send(index, { query: '{ __typename }', operationName: `a${index}${FILLER}` }),
    ],
    [
      'when hundreds of tokens are guessed',
      300,
      (index) => send(index, { query: '{ __typename }' }, { authorization: `Bearer ${hashOf(String(index))}` }),
    ],
  ])('%s', async (_name, count, one) => {
    const statuses = await sendAll(count, one)
    expect([...statuses.values()].reduce((sum, many) => sum + many, 0)).toBe(count)
    expect([...statuses.keys()].filter((status) => ![200, 400, 401, 404, 429].includes(status))).toEqual([])
    await expectAlive()
  })
})
