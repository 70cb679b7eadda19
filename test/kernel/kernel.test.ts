import type { lookup } from 'node:dns'
import { createServer } from 'node:http'
import { compactDecrypt, CompactEncrypt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { acceptableUrl } from '../../src/kernel/addresses.ts'
import { createGather } from '../../src/kernel/gather.ts'
import { asGatewayError, ERROR_CODES, GatewayError } from '../../src/kernel/errors.ts'
import { keyedDigest } from '../../src/kernel/ids.ts'
import { createLog, traceOf, type LogFields } from '../../src/kernel/log.ts'
import { fromUnits, negate, parseDecimal, toUnits, type Currency } from '../../src/kernel/money.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { parseWire } from '../../src/kernel/wire.ts'
import { bandOf } from '../../src/modules/accounts/disclosure.ts'
import { createSeal } from '../../src/storage/seal.ts'

describe('questions that are gathered', () => {
  test('in one turn are answered together, each with its own answer or error', async () => {
    const asked: number[][] = []
    const double = createGather(
      (numbers: readonly number[]) => {
        asked.push([...numbers])
        return Promise.resolve(numbers.map((one) => (one === 3 ? new Error('three') : one * 2)))
      },
      { most: 4 },
    )
    const answers = await Promise.allSettled([1, 2, 3, 4, 5].map(double))
    expect(asked).toEqual([[1, 2, 3, 4], [5]])
    expect(answers.map((one) => (one.status === 'fulfilled' ? one.value : String(one.reason)))).toEqual([
      2,
      4,
      'Error: three',
      8,
      10,
    ])
    expect(await double(7)).toBe(14)
  })

  test('all fail where the answer as a whole does, and later ones are asked anew', async () => {
    let works = false
    const ask = createGather((given: readonly number[]) =>
      works ? Promise.resolve(given) : Promise.reject(new Error('down')),
    )
    await expect(Promise.all([ask(1), ask(2)])).rejects.toThrow('down')
    works = true
    expect(await ask(3)).toBe(3)
  })
})

describe('money', () => {
  test.each([
    ['1', '1'],
    ['001.50', '1.50'],
    ['-0.00', '0.00'],
    ['-0', '0'],
    ['+2', '2'],
    ['-12.345', '-12.345'],
    ['999999999999999999.99999', '999999999999999999.99999'],
  ])('%s is read as %s', (text, read) => {
    expect(parseDecimal(text)).toBe(read)
  })
  test('units and back lose nothing, however large', () => {
    for (const text of ['0', '-0.00001', '123456789012345678.12345', '-999999999999999999', '0.1'])
      expect(fromUnits(toUnits(parseDecimal(text)!))).toBe(text)
  })
  test('zero has no sign', () => {
    expect(negate(parseDecimal('0.00')!)).toBe('0.00')
    expect(negate(negate(parseDecimal('5.10')!))).toBe('5.10')
  })
})

describe('a band', () => {
  const eur = (amount: string) => ({ amount: parseDecimal(amount)!, currency: 'EUR' as Currency })
  test('holds the amount, for every offset, above and below zero', () => {
    for (let step = 0; step < 200; step++) {
      const amount = ((step * 7_919) % 100_000) / 100 - 500
      const band = bandOf(eur(amount.toFixed(2)), step / 200, undefined)
      expect(Number(band.from)).toBeLessThanOrEqual(amount)
      expect(Number(band.to)).toBeGreaterThan(amount)
      expect(Number(band.to) - Number(band.from)).toBe(50)
      expect(band.from).toMatch(/^-?\d+$/)
    }
  })
  test('stays where it was while the amount moves by less than a quarter of its width', () => {
    const first = bandOf(eur('410.00'), 0, undefined)
    expect(first).toMatchObject({ from: '400', to: '450' })
    for (const near of ['450.00', '462.49', '387.50']) expect(bandOf(eur(near), 0, first)).toBe(first)
    for (const far of ['462.50', '387.49', '1000.00']) expect(bandOf(eur(far), 0, first)).not.toBe(first)
  })
})

describe('the log', () => {
  test('writes allowed fields and drops all others, even where the types were got round', () => {
    const lines: string[] = []
    const log = createLog(
      'trace',
      () => new Date(0),
      (line) => lines.push(line),
    )
    log.trace('event', { code: 'X', merchant: 'SECRET', toString: 'SECRET' } as unknown as LogFields)
    expect(JSON.parse(lines[0]!)).toEqual({ at: '1970-01-01T00:00:00.000Z', level: 'trace', event: 'event', code: 'X' })
  })
  test('an error in it has class names and frames, and never its message', () => {
    const inner = new Error('SECRET in the cause')
    const trace = traceOf(new TypeError('SECRET\n    at SECRET', { cause: inner }))
    expect(trace).toMatch(/^TypeError < Error/)
    expect(trace.replaceAll('at SECRET', '')).not.toContain('SECRET in')
    expect(traceOf(new SyntaxError(`Unexpected token 'S', "SECRET" is not valid JSON`))).not.toContain('SECRET')
  })
})

describe('errors', () => {
  test('what is unknown becomes INTERNAL, and the public message is the table’s', () => {
    const error = asGatewayError(new Error('secret'))
    expect(error.code).toBe('INTERNAL')
    expect(error.message).toBe(ERROR_CODES.INTERNAL.message)
    expect(asGatewayError('text').code).toBe('INTERNAL')
    const own = new GatewayError('NOT_FOUND')
    expect(asGatewayError(own)).toBe(own)
  })
})

describe('the wire', () => {
  test('a parse error says what kind and nothing of the text', () => {
    const failure = (text: string): unknown => {
      try {
        return parseWire(z.object({ a: z.string() }), text)
      } catch (error) {
        return error
      }
    }
    for (const text of ['SECRET', '{"a": SECRET}', '{"a": {"SECRET": 1}}', '{"SECRET": 1}']) {
      const error = failure(text) as GatewayError
      expect(error.code).toBe('BANK_ANSWER_INVALID')
      expect(`${error.stack} ${error.internal} ${String(error.cause)}`).not.toContain('SECRET')
    }
    expect(parseWire(z.object({ a: z.string() }), '{"a":"b","c":"d"}')).toEqual({ a: 'b' })
  })
})

describe('sealed values', () => {
  const key = (id: string, fill: number) => ({ id, bytes: new Uint8Array(32).fill(fill) })
  const head = ([first]: string[], change: object): string =>
    Buffer.from(
      JSON.stringify({ ...(JSON.parse(Buffer.from(first!, 'base64url').toString()) as object), ...change }),
    ).toString('base64url')
  test('open under their own context and key, and no other', async () => {
    const seal = createSeal([key('k1', 1)])
    const sealed = await seal.seal('connection:a', { token: 'SECRET' })
    expect(sealed).not.toContain('SECRET')
    expect(await seal.open('connection:a', sealed)).toEqual({ token: 'SECRET' })
    await expect(seal.open('connection:b', sealed)).rejects.toThrow()
    await expect(createSeal([key('k2', 2)]).open('connection:a', sealed)).rejects.toThrow()
    await expect(createSeal([key('k1', 2)]).open('connection:a', sealed)).rejects.toThrow()
    const parts = sealed.split('.')
    await expect(
      seal.open(
        'connection:a',
        [...parts.slice(0, 3), Buffer.from('changed').toString('base64url'), parts[4]].join('.'),
      ),
    ).rejects.toThrow()
  })
  test('are JWEs: the library opens ours, and we open its own', async () => {
    const { id, bytes } = key('k1', 1)
    const seal = createSeal([{ id, bytes }])
    const sealed = await seal.seal('snapshot:a', { amount: '1.20' })
    const opened = await compactDecrypt(sealed, bytes, { crit: { ctx: true } })
    expect(opened.protectedHeader).toEqual({ alg: 'dir', enc: 'A256GCM', kid: 'k1', ctx: 'snapshot:a', crit: ['ctx'] })
    expect(JSON.parse(Buffer.from(opened.plaintext).toString())).toEqual({ amount: '1.20' })
    const theirs = await new CompactEncrypt(Buffer.from('{"a":1}'))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid: 'k1', ctx: 'a:b', crit: ['ctx'] })
      .encrypt(bytes, { crit: { ctx: true } })
    expect(await seal.open('a:b', theirs)).toEqual({ a: 1 })
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
  ])('one %s does not open', async (_what, change) => {
    const seal = createSeal([key('k1', 1)])
    const parts = (await seal.seal('a:b', 1)).split('.')
    await expect(seal.open('a:b', change(parts).join('.'))).rejects.toThrow()
    await expect(seal.open('a:c', change(parts).join('.'))).rejects.toThrow()
  })
  test('of an older key still open, and digests do not change with a new key', async () => {
    const old = createSeal([key('k1', 1)])
    const both = createSeal([key('k2', 2), key('k1', 1)])
    expect(await both.open('a:b', await old.seal('a:b', 1))).toBe(1)
    expect(both.digest('x', 'y')).toBe(old.digest('x', 'y'))
  })
  test('digests of different lists differ, even where their text runs together', () => {
    const bytes = new Uint8Array(32)
    expect(keyedDigest(bytes, 'ab', 'c')).not.toBe(keyedDigest(bytes, 'a', 'bc'))
  })
})

const closed = { allowLoopback: false, allowPlainHttp: false }
/** Addresses that somebody might register to make us knock inside. */
const ATTACKS = [
  'http://bank.example/',
  'https://localhost/',
  'https://LOCALHOST/',
  'https://localhost./',
  'https://a.localhost/',
  'https://127.0.0.1/',
  'https://127.1/',
  'https://127.0.1/',
  'https://0/',
  'https://0.0.0.0/',
  'https://2130706433/',
  'https://0x7f000001/',
  'https://0x7f.0.0.1/',
  'https://0177.0.0.1/',
  'https://017700000001/',
  'https://127.0.0.1.:443/',
  'https://10.0.0.1/',
  'https://10.255.255.255/',
  'https://172.16.0.1/',
  'https://172.31.255.255/',
  'https://192.168.0.1/',
  'https://169.254.169.254/',
  'https://169.254.169.254/latest/meta-data',
  'https://100.64.0.1/',
  'https://192.0.2.1/',
  'https://198.18.0.1/',
  'https://198.51.100.1/',
  'https://203.0.113.1/',
  'https://224.0.0.1/',
  'https://240.0.0.1/',
  'https://255.255.255.255/',
  'https://192.0.0.1/',
  'https://192.88.99.1/',
  'https://[::1]/',
  'https://[::]/',
  'https://[::ffff:127.0.0.1]/',
  'https://[::ffff:7f00:1]/',
  'https://[::ffff:10.0.0.1]/',
  'https://[::ffff:169.254.169.254]/',
  'https://[::127.0.0.1]/',
  'https://[fc00::1]/',
  'https://[fd00::1]/',
  'https://[fe80::1]/',
  'https://[ff02::1]/',
  'https://[64:ff9b::7f00:1]/',
  'https://[2002:7f00:1::]/',
  'https://[2001:db8::1]/',
  'https://[2001::1]/',
  'https://[fec0::1]/',
  'ftp://bank.example/',
  'file:///etc/passwd',
  'gopher://bank.example/',
  'javascript:alert(1)',
  'data:text/html,x',
  'https://user:pass@bank.example/',
  'https://user@bank.example/',
  'https://bank.example/#fragment',
  'https://bank.example:22/',
  'https://bank.example:25/',
  'https://bank.example:80/',
  'https://bank/',
  'https://intranet/',
  'https://bank_example.com/',
  'https://-bank.example/',
  'https://bank..example/',
  'https://.example/',
  'https://',
  'https:///',
  'not a url',
  '',
  '//bank.example/',
  'https://bank.example\\@127.0.0.1/',
  `https://${'a'.repeat(64)}.example/`,
  `https://bank.example/${'a'.repeat(2_100)}`,
  'https://①②⑦.⓪.⓪.①/',
  'https://127。0。0。1/',
  'https://0x7f.1/',
  'https://0300.0250.0.1/',
  'https://3232235521/',
  'https://[::ffff:a00:1]/',
]

/** Addresses of the inside, each in every way of writing it that some parser takes. */
const INSIDE = [
  '127.0.0.1',
  '10.0.0.1',
  '172.16.0.1',
  '192.168.1.1',
  '169.254.169.254',
  '100.64.0.1',
  '0.0.0.0',
  '224.0.0.1',
]
const SPELLINGS: readonly ((bytes: readonly number[]) => string)[] = [
  (bytes) => bytes.join('.'),
  (bytes) => `${bytes.join('.')}.`,
  (bytes) => String(bytes.reduce((sum, byte) => sum * 256 + byte, 0)),
  (bytes) => `0x${hexOf(bytes)}`,
  (bytes) => bytes.map((byte) => `0${byte.toString(8)}`).join('.'),
  (bytes) => bytes.map((byte) => `0x${byte.toString(16)}`).join('.'),
  ([a, b, c = 0, d = 0]) => `${a}.${b}.${c * 256 + d}`,
  (bytes) => `[::ffff:${bytes.join('.')}]`,
  (bytes) => `[::${bytes.join('.')}]`,
  (bytes) => `[64:ff9b::${bytes.join('.')}]`,
  (bytes) => `[2002:${hexOf(bytes).slice(0, 4)}:${hexOf(bytes).slice(4)}::1]`,
]
const hexOf = (bytes: readonly number[]): string => bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('')
const SPELLED = INSIDE.flatMap((address) =>
  SPELLINGS.map((spell) => `https://${spell(address.split('.').map(Number))}/`),
)

describe('an address that somebody else chose', () => {
  test('is tried in at least a hundred and fifty ways', () => {
    expect(new Set([...ATTACKS, ...SPELLED]).size).toBeGreaterThanOrEqual(150)
  })
  test.each([...new Set([...ATTACKS, ...SPELLED])])('%s is refused', (url) => {
    expect(acceptableUrl(url, closed)).toBeUndefined()
  })
  test.each([
    'https://bank.example/',
    'https://api.bank.example:8443/psd2',
    'https://93.184.216.34/',
    'https://[2606:4700::1111]/x',
    'https://xn--bcher-kva.example/',
  ])('%s is accepted', (url) => {
    expect(acceptableUrl(url, closed)?.href).toBeDefined()
  })

  test.each([
    ['to the inside', ['127.0.0.1']],
    ['to both sides', ['93.184.216.34', '10.0.0.1']],
    ['to nowhere', []],
  ])(
    'that resolves %s is never connected to, and the error is the one of a bank that does not answer',
    async (_where, addresses) => {
      const knocked: string[] = []
      const inside = createServer((request, response) => {
        knocked.push(request.url ?? '')
        response.end()
      })
      const port = await new Promise<number>((resolve) => {
        inside.listen(0, '127.0.0.1', () => resolve((inside.address() as { port: number }).port))
      })
      const resolve = ((_host: string, _options: object, callback: (error: null, found: object[]) => void) =>
        callback(
          null,
          addresses.map((address) => ({ address, family: 4 })),
        )) as unknown as typeof lookup
      const http = createOutboundHttp({ allowLoopback: false, allowPlainHttp: true }, resolve)
      const request = { method: 'GET', timeoutMs: 2_000, maxBytes: 100 } as const
      await expect(http.send({ ...request, url: `http://bank.example:${port}/` })).rejects.toMatchObject({
        code: 'BANK_UNAVAILABLE',
      })
      await expect(http.send({ ...request, url: `http://127.0.0.1:${port}/` })).rejects.toMatchObject({
        code: 'ADDRESS_NOT_ALLOWED',
      })
      expect(knocked).toEqual([])
      await http.close()
      inside.close()
    },
  )
})

describe('outbound requests', () => {
  const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true })
  let origin = ''
  const server = createServer((request, response) => {
    if (request.url === '/hang') return
    if (request.url === '/trickle') {
      response.writeHead(200)
      const timer = setInterval(() => response.write('x'), 30)
      response.on('close', () => clearInterval(timer))
      return
    }
    if (request.url === '/redirect') return void response.writeHead(302, { location: `${origin}/secret` }).end()
    if (request.url === '/secret') return void response.end('SECRET')
    if (request.url === '/reset') return void request.socket.destroy()
    response.end('y'.repeat(5_000))
  })
  beforeAll(
    () =>
      new Promise<void>((resolve) => {
        server.listen(0, '127.0.0.1', () => {
          origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`
          resolve()
        })
      }),
  )
  afterAll(async () => {
    await http.close()
    server.closeAllConnections()
    server.close()
  })
  const get = (path: string, timeoutMs = 300, maxBytes = 10_000) =>
    http.send({ method: 'GET', url: `${origin}${path}`, timeoutMs, maxBytes })

  test('the first byte has a deadline of its own, and the connection that missed it is not used again', async () => {
    const began = performance.now()
    const request = { method: 'GET', timeoutMs: 5_000, firstByteMs: 100, maxBytes: 10_000 } as const
    await expect(http.send({ ...request, url: `${origin}/hang` })).rejects.toMatchObject({ code: 'BANK_TIMEOUT' })
    expect(performance.now() - began).toBeLessThan(2_000)
    // What has begun in time may go on until the other.
    const slow = http.send({ ...request, url: `${origin}/trickle`, timeoutMs: 400 })
    await expect(slow).rejects.toMatchObject({ code: 'BANK_TIMEOUT' })
    expect(performance.now() - began).toBeGreaterThan(450)
    expect((await http.send({ ...request, url: `${origin}/` })).text).toHaveLength(5_000)
  })

  test('a request that waits for a connection until its deadline is never sent', async () => {
    const asked: string[] = []
    const one = createServer((request, response) => {
      asked.push(request.url ?? '')
      setTimeout(() => response.end('late'), 200)
    })
    await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve))
    const narrow = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true }, undefined, { connections: 1 })
    const to = `http://127.0.0.1:${(one.address() as { port: number }).port}`
    const first = narrow.send({ method: 'GET', url: `${to}/first`, timeoutMs: 2_000, maxBytes: 100 })
    const second = narrow.send({ method: 'POST', url: `${to}/second`, timeoutMs: 50, maxBytes: 100 })
    await expect(second).rejects.toMatchObject({ code: 'BANK_TIMEOUT' })
    expect((await first).text).toBe('late')
    expect((await narrow.send({ method: 'GET', url: `${to}/third`, timeoutMs: 2_000, maxBytes: 100 })).text).toBe(
      'late',
    )
    expect(asked).toEqual(['/first', '/third'])
    await narrow.close()
    one.close()
  })

  test.each(['/hang', '/trickle'])('%s is cut at the deadline', async (path) => {
    const began = performance.now()
    await expect(get(path)).rejects.toMatchObject({ code: 'BANK_TIMEOUT' })
    expect(performance.now() - began).toBeLessThan(2_000)
  })
  test('more bytes than allowed are not read', async () => {
    await expect(get('/', 1_000, 4_999)).rejects.toMatchObject({ code: 'BANK_ANSWER_INVALID' })
    expect((await get('/', 1_000, 5_000)).text).toHaveLength(5_000)
  })
  test('a redirect is not followed', async () => {
    const answer = await get('/redirect')
    expect(answer.status).toBe(302)
    expect(answer.text).not.toContain('SECRET')
  })
  test('a connection that breaks is BANK_UNAVAILABLE', async () => {
    await expect(get('/reset')).rejects.toMatchObject({ code: 'BANK_UNAVAILABLE' })
  })
})
