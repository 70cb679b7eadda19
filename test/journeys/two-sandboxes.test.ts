import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newPlace, startProcess, type GatewayPlace, type GatewayProcess } from '../support/process.ts'

interface Sandbox extends GatewayPlace {
  readonly gateway: GatewayProcess
}
const sandboxes: Sandbox[] = []
beforeAll(async () => {
  for (let count = 0; count < 2; count++) {
    const place = await newPlace(mkdtempSync(join(tmpdir(), 'guichet-two-')))
    // As a newcomer starts them: another port, another folder, and nothing said of the banks.
    const gateway = await startProcess(place, { GUICHET_SANDBOX_PORT: '', METRICS_PORT: '' })
    sandboxes.push({ ...place, gateway })
  }
})
afterAll(async () => {
  await Promise.all(sandboxes.map(({ gateway }) => gateway.stop('SIGTERM')))
  for (const { dataDir } of sandboxes) rmSync(dataDir, { recursive: true, force: true })
})

async function guichet({ port, dataDir }: Sandbox, ...words: string[]): Promise<unknown> {
  const env = { ...process.env, PORT: String(port), ISSUER: '', GUICHET_DATA_DIR: dataDir }
  const { stdout } = await promisify(execFile)(process.execPath, ['src/entrypoints/cli/main.ts', ...words, '--json'], {
    env,
  })
  return JSON.parse(stdout)
}

/** The addresses of the banks, as the start shows them. */
const banksOf = ({ gateway }: Sandbox): string[] =>
  [...(/^ {2}Banks {2,}(.*)$/m.exec(gateway.output())?.[1] ?? '').matchAll(/http:\S+/g)].map(([address]) => address)

test('two sandboxes on one machine have separate banks, and changes at one do not affect the other', async () => {
  const [one, two] = sandboxes as [Sandbox, Sandbox]
  expect(banksOf(one)).toHaveLength(6)
  expect(banksOf(one).filter((address) => banksOf(two).includes(address))).toEqual([])
  const consentsAt = async (sandbox: Sandbox): Promise<unknown[]> => {
    const answer = await fetch(`${banksOf(sandbox)[0]!}/sandbox/consents?customer=ada`)
    return ((await answer.json()) as { consents: unknown[] }).consents
  }
  await guichet(one, 'sandbox', 'token', '--customer', 'ada', '--bank', 'northbank')
  expect([(await consentsAt(one)).length, (await consentsAt(two)).length]).toEqual([1, 0])
  await guichet(two, 'sandbox', 'token', '--customer', 'ada', '--bank', 'northbank')
  await guichet(one, 'sandbox', 'reset')
  const shared = await guichet(two, 'consents', 'list', '--customer', 'ada')
  expect(shared).toMatchObject([{ status: 'ACTIVE', bank: { id: 'northbank' } }])
})
