import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

const root = join(import.meta.dirname, '../..')
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const guichet = (words: readonly string[]): Promise<{ code: number; out: string; err: string }> =>
  new Promise((resolve) => {
    const settings = { ISSUER: gateway.issuer, GUICHET_DATA_DIR: gateway.dataDir }
    execFile(
      process.execPath,
      [join(root, 'src/entrypoints/cli/main.ts'), ...words],
      { cwd: root, env: { ...process.env, ...settings } },
      (error, out, err) => resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })

describe("the README's demo of an alert", () => {
  /** The commands of the section, as they are printed. */
  const commands = readFileSync(join(root, 'README.md'), 'utf8')
    .split('## An alert, and the answer')[1]!
    .split('```')[1]!
    .split('\n')
    .flatMap((line) => (line.startsWith('npx guichet ') ? [line.slice('npx guichet '.length).split(' ')] : []))

  test('an alert reaches the receiver, the answer reaches the bank, and the account is frozen there', async () => {
    await gateway.customer('ada', ['northbank'], {
      scopes: ['accounts:read', 'balances:band', 'balances:exact', 'alerts:read', 'alerts:respond'],
    })
    const [alert, received, respond, responses, ...others] = commands
    expect(others).toEqual([])
    const run = async (words: readonly string[] | undefined): Promise<unknown> => {
      const { code, out, err } = await guichet([...words!, '--json'])
      expect([code, err]).toEqual([0, ''])
      return JSON.parse(out)
    }
    expect(await run(alert)).toMatchObject({ pushed: [{ status: 202 }] })
    await eventually('the webhook', async () => (await gateway.received()).length > 0)
    expect(await run(received)).toMatchObject([
      {
        verified: true,
        body: { type: 'alert.received', data: { type: 'UNUSUAL_ACTIVITY_REVIEW', bankId: 'northbank' } },
      },
    ])
    expect(await run(respond)).toMatchObject({
      response: { answer: 'FREEZE_REQUESTED', status: 'CONFIRMED' },
    })
    expect(await run(responses)).toEqual([
      { answer: 'FREEZE_REQUESTED', account: 'nb-10001', isConfirmed: true, isFrozen: true },
    ])
  })
})
