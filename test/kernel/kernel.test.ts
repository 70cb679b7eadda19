import { compactDecrypt, CompactEncrypt } from 'jose'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { toGatewayError, ERROR_CODES, GatewayError } from '../../src/kernel/errors.ts'
import { keyedDigest } from '../../src/kernel/ids.ts'
import { createLog, type LogFields } from '../../src/kernel/log.ts'
import { fromScaledUnits, negate, parseDecimal, toScaledUnits, type CurrencyCode } from '../../src/kernel/money.ts'
import { OutboundError } from '../../src/kernel/outbound-error.ts'
import { parseExactJson, parseBankJson } from '../../src/kernel/wire.ts'
import { bandOf } from '../../src/modules/accounts/disclosure.ts'
import { createSeal } from '../../src/storage/seal.ts'

describe('money', () => {
  test.each([
    ['1', '1'],
    ['001.50', '1.50'],
    ['-0.00', '0.00'],
    ['-0', '0'],
    ['+2', '2'],
    ['-12.345', '-12.345'],
    ['999999999999999999.99999', '999999999999999999.99999'],
  ])('the decimal %s is parsed as %s', (text, read) => {
    expect(parseDecimal(text)).toBe(read)
  })
  test('converting amounts to units and back loses nothing at any size', () => {
    for (const text of ['0', '-0.00001', '123456789012345678.12345', '-999999999999999999', '0.1'])
      expect(fromScaledUnits(toScaledUnits(parseDecimal(text)!))).toBe(text)
  })
  test('an amount of zero has no sign', () => {
    expect(negate(parseDecimal('0.00')!)).toBe('0.00')
    expect(negate(negate(parseDecimal('5.10')!))).toBe('5.10')
  })
})

describe('a band', () => {
  const eur = (amount: string) => ({ amount: parseDecimal(amount)!, currency: 'EUR' as CurrencyCode })
  test('a band contains its amount for every offset, above and below zero', () => {
    for (let step = 0; step < 200; step++) {
      const amount = ((step * 7_919) % 100_000) / 100 - 500
      const band = bandOf(eur(amount.toFixed(2)), step / 200, undefined)
      expect(Number(band.lowerBound)).toBeLessThanOrEqual(amount)
      expect(Number(band.upperBound)).toBeGreaterThan(amount)
      expect(Number(band.upperBound) - Number(band.lowerBound)).toBe(50)
      expect(band.lowerBound).toMatch(/^-?\d+$/)
    }
  })
  test('a band does not change while the amount moves by less than a quarter of its width', () => {
    const first = bandOf(eur('410.00'), 0, undefined)
    expect(first).toMatchObject({ lowerBound: '400', upperBound: '450' })
    for (const near of ['450.00', '462.49', '387.50']) expect(bandOf(eur(near), 0, first)).toBe(first)
    for (const far of ['462.50', '387.49', '1000.00']) expect(bandOf(eur(far), 0, first)).not.toBe(first)
  })
})

describe('the log', () => {
  test('the log writes allowed fields and drops all others, even if the types were bypassed', () => {
    const lines: string[] = []
    const log = createLog(
      'trace',
      () => new Date(0),
      (line) => lines.push(line),
    )
    log.trace('request', { code: 'X', merchant: 'SECRET', toString: 'SECRET' } as unknown as LogFields)
    expect(JSON.parse(lines[0]!)).toEqual({
      at: '1970-01-01T00:00:00.000Z',
      level: 'trace',
      event: 'request',
      code: 'X',
    })
  })
})

describe('errors', () => {
  test('an unknown error becomes INTERNAL with the public message of the table', () => {
    const error = toGatewayError(new Error('secret'))
    expect(error.code).toBe('INTERNAL')
    expect(error.message).toBe(ERROR_CODES.INTERNAL.message)
    expect(toGatewayError('text').code).toBe('INTERNAL')
    expect(toGatewayError(new OutboundError('OUTBOUND_TIMEOUT', 'RESPONSE_TIMEOUT')).code).toBe('INTERNAL')
    const own = new GatewayError('NOT_FOUND')
    expect(toGatewayError(own)).toBe(own)
  })
})

describe('the wire', () => {
  test('numbers are read as they were written, outside of strings only', () => {
    const text = String.raw`{"a":-0.10,"b":[1E+2,12345678901234567890.5],"c 1":"2, \"3\\","d\\":4 ,"e":true,"f":null,"g":"\\\"5"}`
    expect(parseExactJson(text)).toEqual({
      a: '-0.10',
      b: ['1E+2', '12345678901234567890.5'],
      'c 1': '2, "3\\',
      'd\\': '4',
      e: true,
      f: null,
      g: '\\"5',
    })
    expect(parseExactJson('7')).toBe('7')
    expect(parseExactJson('\ufeff{"a":10.10}')).toEqual({ a: '10.10' })
    for (const wrong of [
      '{1:2}',
      '[01]',
      '[1.]',
      '[-]',
      '[1 2]',
      '["x 1',
      '[+1]',
      '[NaN]',
      '"\\"',
      '',
      '{1:"a"}',
      '\ufeff',
      '[1\u00a0]',
    ])
      expect(parseExactJson(wrong), wrong).toBeUndefined()
  })

  test('JSON with more than twelve levels is refused, and brackets in strings do not count', () => {
    const nested = (depth: number) => '['.repeat(depth) + String.raw`"[[[[[[[[[[[[[[\"{{{{{{"` + ']'.repeat(depth)
    expect(() => parseBankJson(z.unknown(), nested(12))).not.toThrow()
    expect(() => parseBankJson(z.unknown(), nested(13))).toThrow(
      expect.objectContaining({ code: 'BANK_RESPONSE_INVALID' }),
    )
    expect(() => parseBankJson(z.unknown(), `{"a":[${'{},'.repeat(50)}{}]}`)).not.toThrow()
  })

  test('a parse error states its kind and contains no part of the text', () => {
    const failure = (text: string): unknown => {
      try {
        return parseBankJson(z.object({ a: z.string() }), text)
      } catch (error) {
        return error
      }
    }
    for (const text of ['SECRET', '{"a": SECRET}', '{"a": {"SECRET": 1}}', '{"SECRET": 1}']) {
      const error = failure(text) as GatewayError
      expect(error.code).toBe('BANK_RESPONSE_INVALID')
      expect(`${error.stack} ${error.internalMessage} ${String(error.cause)}`).not.toContain('SECRET')
    }
    expect(parseBankJson(z.object({ a: z.string() }), '{"a":"b","c":"d"}')).toEqual({ a: 'b' })
  })
})

describe('sealed values', () => {
  const key = (id: string, fill: number) => ({ id, bytes: new Uint8Array(32).fill(fill) })
  const head = ([first]: string[], change: object): string =>
    Buffer.from(
      JSON.stringify({ ...(JSON.parse(Buffer.from(first!, 'base64url').toString()) as object), ...change }),
    ).toString('base64url')
  test('sealed values can be opened only with their own context and key', async () => {
    const seal = createSeal([key('k1', 1)])
    const sealed = await seal.seal('connection:a', { token: 'SECRET' })
    expect(sealed).not.toContain('SECRET')
    expect(await seal.unseal('connection:a', sealed)).toEqual({ token: 'SECRET' })
    await expect(seal.unseal('connection:b', sealed)).rejects.toThrow()
    await expect(createSeal([key('k2', 2)]).unseal('connection:a', sealed)).rejects.toThrow()
    await expect(createSeal([key('k1', 2)]).unseal('connection:a', sealed)).rejects.toThrow()
    const parts = sealed.split('.')
    await expect(
      seal.unseal(
        'connection:a',
        [...parts.slice(0, 3), Buffer.from('changed').toString('base64url'), parts[4]].join('.'),
      ),
    ).rejects.toThrow()
  })
  test('sealed values are JWEs that are interoperable with the library', async () => {
    const { id, bytes } = key('k1', 1)
    const seal = createSeal([{ id, bytes }])
    const sealed = await seal.seal('snapshot:a', { amount: '1.20' })
    const opened = await compactDecrypt(sealed, bytes, { crit: { ctx: true } })
    expect(opened.protectedHeader).toEqual({ alg: 'dir', enc: 'A256GCM', kid: 'k1', ctx: 'snapshot:a', crit: ['ctx'] })
    expect(JSON.parse(Buffer.from(opened.plaintext).toString())).toEqual({ amount: '1.20' })
    const theirs = await new CompactEncrypt(Buffer.from('{"a":1}'))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid: 'k1', ctx: 'a:b', crit: ['ctx'] })
      .encrypt(bytes, { crit: { ctx: true } })
    expect(await seal.unseal('a:b', theirs)).toEqual({ a: 1 })
    expect(sealed).not.toBe(await seal.seal('snapshot:a', { amount: '1.20' }))
  })
  test.each([
    ['without encryption', (p: string[]) => [Buffer.from('{"alg":"none"}').toString('base64url'), ...p.slice(1)]],
    ['with another kid', (p: string[]) => [head(p, { kid: 'k9' }), ...p.slice(1)]],
    ['with another context in its header', (p: string[]) => [head(p, { ctx: 'a:c' }), ...p.slice(1)]],
    ['with another algorithm', (p: string[]) => [head(p, { enc: 'A128GCM' }), ...p.slice(1)]],
    ['without its context being critical', (p: string[]) => [head(p, { crit: [] }), ...p.slice(1)]],
    ['with a short tag', (p: string[]) => [...p.slice(0, 4), p[4]!.slice(0, 6)]],
    ['with an empty tag', (p: string[]) => [...p.slice(0, 4), '']],
    ['with another nonce', (p: string[]) => [p[0]!, p[1]!, Buffer.alloc(12).toString('base64url'), ...p.slice(3)]],
    ['with a sixth part', (p: string[]) => [...p, '']],
    ['with a wrapped key', (p: string[]) => [p[0]!, 'AAAA', ...p.slice(2)]],
    ['of nothing', () => ['']],
  ])('a sealed value %s cannot be opened', async (_what, change) => {
    const seal = createSeal([key('k1', 1)])
    const parts = (await seal.seal('a:b', 1)).split('.')
    await expect(seal.unseal('a:b', change(parts).join('.'))).rejects.toThrow()
    await expect(seal.unseal('a:c', change(parts).join('.'))).rejects.toThrow()
  })
  test('sealed values of an older key still open, and digests do not change with a new key', async () => {
    const old = createSeal([key('k1', 1)])
    const both = createSeal([key('k2', 2), key('k1', 1)])
    expect(await both.unseal('a:b', await old.seal('a:b', 1))).toBe(1)
    expect(both.digest('x', 'y')).toBe(old.digest('x', 'y'))
  })
  test('digests of different lists differ, even where their text runs together', () => {
    const bytes = new Uint8Array(32)
    expect(keyedDigest(bytes, 'ab', 'c')).not.toBe(keyedDigest(bytes, 'a', 'bc'))
  })
})
