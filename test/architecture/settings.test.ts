import { mkdtempSync, statSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readConfig, removeDriverVariables } from '../../src/config.ts'
import { createDirectory } from '../../src/storage/directories.ts'

const GUICHET_DATA_DIR = mkdtempSync(join(tmpdir(), 'guichet-settings-'))

describe('the settings', () => {
  test.each([
    ['127.0.0.1', 'http://127.0.0.1:4000'],
    ['0.0.0.0', 'http://127.0.0.1:4000'],
    ['::', 'http://127.0.0.1:4000'],
    ['::1', 'http://[::1]:4000'],
    ['[::1]', 'http://[::1]:4000'],
    ['localhost', 'http://localhost:4000'],
    ['192.168.1.5', 'http://192.168.1.5:4000'],
  ])('a gateway that listens on %s has the reachable issuer %s', (HOST, issuer) => {
    expect(readConfig({ HOST, GUICHET_DATA_DIR })).toMatchObject({ issuer, host: HOST.replace(/[[\]]/g, '') })
  })

  test('a database URL without a user or a database name is refused', () => {
    for (const name of ['DATABASE_URL', 'DATABASE_DIRECT_URL'])
      for (const address of ['postgresql://db.example/guichet', 'postgresql://guichet@db.example'])
        expect(() => readConfig({ [name]: address, GUICHET_DATA_DIR })).toThrow(
          `${name}: must name a user and a database`,
        )
  })

  test('a direct database URL without the other URL is refused', () => {
    expect(() => readConfig({ DATABASE_DIRECT_URL: 'postgresql://a@db.example/b', GUICHET_DATA_DIR })).toThrow(
      'DATABASE_DIRECT_URL: requires DATABASE_URL as well',
    )
  })

  test.each(['10.0.0.7', '10.1.0.0/16', '10.0.0.0/8', '2001:db8::7', 'fd00::/16', '10.0.0.7, 2001:db8::/48'])(
    '%s is accepted as trusted proxies',
    (GUICHET_TRUSTED_PROXIES) => {
      expect(() => readConfig({ GUICHET_TRUSTED_PROXIES, GUICHET_DATA_DIR })).not.toThrow()
    },
  )

  test.each([
    '0.0.0.0/0',
    '::/0',
    '0.0.0.0/7',
    '::/15',
    '10.0.0.0/33',
    '10.0.0',
    'proxy.example',
    '10.0.0.0/8,',
    '10.0.0.0/8/8',
  ])('%s is refused as trusted proxies, because it is no address or range, or too wide', (GUICHET_TRUSTED_PROXIES) => {
    expect(() => readConfig({ GUICHET_TRUSTED_PROXIES, GUICHET_DATA_DIR })).toThrow(
      /GUICHET_TRUSTED_PROXIES: must be an address or a range/,
    )
  })

  test('no header states the certificate of a client unless the operator names one of the two', () => {
    const read = (header?: string) =>
      readConfig({ GUICHET_CLIENT_CERTIFICATE_HEADER: header, GUICHET_DATA_DIR }).clientCertificateHeader
    expect(read()).toBe('none')
    for (const header of ['none', 'client-cert', 'x-client-cert']) expect(read(header)).toBe(header)
    for (const header of ['Client-Cert', 'x-ssl-cert', 'on', 'client-cert, x-client-cert'])
      expect(() => read(header)).toThrow('GUICHET_CLIENT_CERTIFICATE_HEADER')
  })

  test('production refuses environment variables that disable checks of certificates or requests', () => {
    const production = {
      GUICHET_PROFILE: 'production',
      ISSUER: 'https://gateway.example',
      DATABASE_URL: 'postgresql://guichet@db.example/guichet',
      GUICHET_SEALING_KEY: 'rTq0bCk3fW9xYvZ1nUoPa7sDgHjKlMeNiQwErTyUi4E',
      GUICHET_DATA_DIR,
    }
    expect(() => readConfig({ ...production, NODE_OPTIONS: '--max-old-space-size=300' })).not.toThrow()
    expect(() => readConfig({ ...production, NODE_TLS_REJECT_UNAUTHORIZED: '0' })).toThrow(
      'NODE_TLS_REJECT_UNAUTHORIZED',
    )
    for (const option of ['--insecure-http-parser', '--tls-min-v1.0', '--tls-cipher-list=NULL'])
      expect(() => readConfig({ ...production, NODE_OPTIONS: option }), option).toThrow('NODE_OPTIONS')
  })

  test('the variables that the database driver would read are removed, and no others', () => {
    const env = {
      PGTZ: 'America/New_York',
      PGOPTIONS: '-c x=y',
      PGSSLMODE: 'disable',
      PATH: '/bin',
      PG: 'x',
      NGPGX: 'y',
    }
    expect(removeDriverVariables(env)).toEqual(['PGTZ', 'PGOPTIONS', 'PGSSLMODE'])
    expect(env).toEqual({ PATH: '/bin', PG: 'x', NGPGX: 'y' })
  })

  test('folders are created with the given mode under any umask', () => {
    const before = process.umask(0o077)
    try {
      createDirectory(join(GUICHET_DATA_DIR, 'a/b'), 0o711)
    } finally {
      process.umask(before)
    }
    for (const path of ['a', 'a/b']) expect(statSync(join(GUICHET_DATA_DIR, path)).mode & 0o777).toBe(0o711)
    rmSync(GUICHET_DATA_DIR, { recursive: true })
  })
})
