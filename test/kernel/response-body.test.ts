import { createServer } from 'node:http'
import { brotliCompressSync, constants, createGzip, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createOutboundHttp, type OutboundRequest } from '../../src/kernel/outbound-http.ts'

const TEXT = JSON.stringify({ amount: '10.10', word: 'Größe', filler: 'x'.repeat(5_000) })
const BODY = Buffer.from(TEXT)
const MEBIBYTE = 1_048_576

/** A gigabyte of zeros, which compresses to a megabyte. Written in pieces, so that the test needs no gigabyte either. */
async function createBomb(): Promise<Buffer> {
  const gzip = createGzip({ level: constants.Z_BEST_COMPRESSION })
  const chunks: Buffer[] = []
  gzip.on('data', (chunk: Buffer) => chunks.push(chunk))
  const zeros = Buffer.alloc(MEBIBYTE)
  for (let count = 0; count < 1_024; count++)
    if (!gzip.write(zeros)) await new Promise<void>((resolve) => gzip.once('drain', resolve))
  const ended = new Promise((resolve) => gzip.once('end', resolve))
  gzip.end()
  await ended
  return Buffer.concat(chunks)
}

describe('a response with a content encoding', () => {
  const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true })
  const bodies = new Map<string, { readonly encoding: string; readonly body: Buffer; readonly status?: number }>()
  const asked: (string | undefined)[] = []
  let origin: string
  const server = createServer((request, response) => {
    const { encoding, body, status = 200 } = bodies.get(request.url!)!
    asked.push(request.headers['accept-encoding'])
    response.writeHead(status, { 'content-encoding': encoding })
    // In small pieces, as a network delivers them.
    for (let at = 0; at < Math.min(body.length, 4_000); at += 7)
      response.write(body.subarray(at, Math.min(at + 7, 4_000)))
    response.end(body.subarray(4_000))
  })
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  })
  afterAll(async () => {
    await http.close()
    server.closeAllConnections()
    server.close()
  })
  const read = (encoding: string, body: Buffer, request: Partial<OutboundRequest> & { status?: number } = {}) => {
    const path = `/${bodies.size}`
    const { status, ...rest } = request
    bodies.set(path, { encoding, body, ...(status && { status }) })
    return http.send({ method: 'GET', url: `${origin}${path}`, timeoutMs: 20_000, maxBytes: 10_000, ...rest })
  }

  test.each([
    ['gzip', gzipSync(BODY)],
    ['GZIP', gzipSync(BODY)],
    ['x-gzip', gzipSync(BODY)],
    ['deflate', deflateSync(BODY)],
    ['deflate', deflateRawSync(BODY)],
    ['br', brotliCompressSync(BODY)],
    ['identity', BODY],
    ['identity, gzip', gzipSync(BODY)],
    ['', BODY],
  ])('a response in %s is decoded, although the request asks for none', async (encoding, body) => {
    expect((await read(encoding, body)).text).toBe(TEXT)
    expect(asked.at(-1)).toBeUndefined()
  })

  test.each([
    ['an unknown coding', 'zstd', BODY],
    ['two codings', 'gzip, gzip', gzipSync(gzipSync(BODY))],
    ['the name of an inherited property', 'constructor', BODY],
    ['data that is not compressed', 'gzip', BODY],
    ['data that is cut off', 'gzip', gzipSync(BODY).subarray(0, 60)],
    ['data that is cut off', 'br', brotliCompressSync(BODY).subarray(0, 20)],
    ['data of another coding', 'br', gzipSync(BODY)],
  ])('a response with %s (%s) fails the request', async (_what, encoding, body) => {
    await expect(read(encoding, body)).rejects.toMatchObject({
      code: 'OUTBOUND_RESPONSE_UNDECODABLE',
      failureCause: 'RESPONSE_ENCODING',
    })
  })

  test('a response without a body needs no decoding, and one whose body does not matter is not decoded', async () => {
    expect(await read('gzip', Buffer.alloc(0), { status: 401 })).toMatchObject({ status: 401, text: '' })
    expect(await read('zstd', BODY, { ignoresBody: true })).toMatchObject({ status: 200 })
  })

  test.each(['gzip', 'deflate', 'br'])(
    'the limit in bytes holds for what a response in %s decodes to',
    async (encoding) => {
      const compress = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync }[encoding]!
      expect((await read(encoding, compress(Buffer.alloc(10_000, 'y')))).text).toHaveLength(10_000)
      await expect(read(encoding, compress(Buffer.alloc(10_001, 'y')))).rejects.toMatchObject({
        code: 'OUTBOUND_RESPONSE_TOO_LARGE',
      })
    },
  )

  test('a megabyte that decodes to a gigabyte fails at the limit, and never uses memory for more', async () => {
    const bomb = await createBomb()
    expect(bomb.length).toBeLessThan(1.1 * MEBIBYTE)
    let highest = 0
    const before = process.memoryUsage()
    const sampling = setInterval(() => {
      const { arrayBuffers, heapUsed } = process.memoryUsage()
      highest = Math.max(highest, arrayBuffers - before.arrayBuffers + heapUsed - before.heapUsed)
    }, 1)
    await expect(read('gzip', bomb, { maxBytes: 2 * MEBIBYTE })).rejects.toMatchObject({
      code: 'OUTBOUND_RESPONSE_TOO_LARGE',
    })
    clearInterval(sampling)
    expect(highest).toBeLessThan(64 * MEBIBYTE)
  })
})
