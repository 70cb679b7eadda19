import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually } from '../support/gateway.ts'
import { processesOf, startProcess, usedPlace, type GatewayProcess } from '../support/process.ts'

const MARKER = 'COFFEE-HOUSE 4.50 EUR'

/** Fails inside the gateway where nobody waits, with V8 quoting what it read: at the first signal in a promise, then outside. */
const PRELOAD = `data:text/javascript,${encodeURIComponent(`
  let signals = 0
  const parse = () => JSON.parse(${JSON.stringify(MARKER)})
  if (process.argv[1]?.endsWith('src/main.ts'))
    process.on('SIGUSR2', () => (signals++ === 0 ? void Promise.reject(fail()) : setTimeout(parse)))
  function fail() { try { return parse() } catch (error) { return new Error('outer ' + error.message, { cause: error }) } }
`)}`

describe('an error that nobody expects', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-errors-'))
  let gateway: GatewayProcess
  const lines = (event: string) =>
    gateway
      .output()
      .split('\n')
      .filter((line) => line.includes(`"event":"${event}"`))

  beforeAll(async () => {
    gateway = await startProcess(await usedPlace(dataDir), { NODE_OPTIONS: `--import ${PRELOAD}` })
  })
  afterAll(async () => {
    if (gateway.child.exitCode === null) await gateway.stop('SIGTERM')
    rmSync(dataDir, { recursive: true, force: true })
  })

  test('an unhandled rejection is logged in one line without its message, and the gateway continues', async () => {
    gateway.child.kill('SIGUSR2')
    await eventually('the line', () => Promise.resolve(lines('process.unhandled_rejection').length > 0))
    expect(lines('process.unhandled_rejection')).toHaveLength(1)
    expect(lines('process.unhandled_rejection')[0]).toContain('Error < SyntaxError')
    expect(gateway.output()).not.toContain('COFFEE')
    expect((await fetch(`${gateway.issuer}/readyz`)).status).toBe(200)
  })

  test('an uncaught exception is logged in one line without its message, and the gateway stops with code 1', async () => {
    expect(await gateway.stop('SIGUSR2')).toBe(1)
    expect(lines('process.uncaught_exception')).toHaveLength(1)
    expect(lines('process.uncaught_exception')[0]).toContain('SyntaxError')
    expect(gateway.output()).not.toContain('COFFEE')
    expect(processesOf(dataDir)).toEqual([])
  })
})
