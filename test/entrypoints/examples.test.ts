import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { generate } from '@graphql-codegen/cli'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import codegen from '../../codegen.ts'
import { subjectOf } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'guichet-example-'))
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true })
  await gateway.close()
})

describe('the example client', () => {
  /** Runs it with the URL of the gateway as an argument, or only in the environment. */
  const run = async (access: object, environment?: Record<string, string>) => {
    const file = join(folder, 'access.json')
    writeFileSync(file, JSON.stringify(access))
    const words = [join(root, 'examples/typescript/balances.ts'), file, ...(environment ? [] : [gateway.issuer])]
    const env = { ...process.env, ...environment }
    return promisify(execFile)(process.execPath, words, { env })
  }
  const accessOf = async (customer: string, banks: readonly string[]) => {
    const token = await gateway.customer(customer, banks)
    const { key, clientId } = gateway.client('chatterbox')
    return {
      accessToken: token.accessToken,
      dpopJwk: token.dpopJwk,
      clientId,
      clientJwk: key,
      customer: subjectOf(token),
    }
  }

  test('the example client prints the balances of two banks, as its README says', async () => {
    const { stdout } = await run(await accessOf('ada', ['northbank', 'rheinbank']))
    const lines = stdout.trim().split('\n')
    expect(lines).toHaveLength(4)
    expect(
      lines.every((line) => /^(Northbank|Rheinbank), .+: -?\d+(\.\d+)? (GBP|EUR), 3 more exact reads$/.test(line)),
    ).toBe(true)
  })

  test.each(['PORT', 'ISSUER'])('the example client finds the gateway that %s names', async (setting) => {
    const { issuer } = gateway
    const environment = { PORT: '', ISSUER: '', [setting]: setting === 'PORT' ? new URL(issuer).port : issuer }
    const { stdout } = await run(await accessOf('finn', ['northbank']), environment)
    expect(stdout).toMatch(/^Northbank, /)
  })

  test('the example client fails with the error code of the gateway if the token is invalid', async () => {
    const access = { ...(await accessOf('ada', ['northbank'])), accessToken: 'x'.repeat(43) }
    await expect(run(access)).rejects.toThrow('UNAUTHENTICATED')
  })

  test('the example client has the current types of its query', async () => {
    const made = (await generate({ ...codegen, cwd: root, silent: true }, false)) as {
      filename: string
      content: string
    }[]
    const types = made.find(({ filename }) => filename.endsWith('examples/typescript/generated.ts'))!
    expect(readFileSync(join(root, 'examples/typescript/generated.ts'), 'utf8')).toBe(types.content)
  })
})
