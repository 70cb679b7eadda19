import type { LookupAddress } from 'node:dns'
import { createSocket, type Socket } from 'node:dgram'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAddressLookup, type AddressLookup } from '../../src/kernel/address-lookup.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { eventually } from '../support/gateway.ts'

const [A, AAAA] = [1, 28]
const folder = mkdtempSync(join(tmpdir(), 'guichet-hosts-'))
const hostsFile = join(folder, 'hosts')
/** What the name server was asked, as `type name`, in order. */
const asked: string[] = []
let server: Socket
let lookup: AddressLookup

/** A real name server: `bank.example` has an address, `half.example` no answer for IPv6, what hangs none at all. */
beforeAll(async () => {
  server = createSocket('udp4')
  server.on('message', (message, { port, address }) => {
    let end = 12
    const labels: string[] = []
    for (let length = message[end]!; length > 0; length = message[end]!) {
      labels.push(message.toString('latin1', end + 1, end + 1 + length))
      end += 1 + length
    }
    const name = labels.join('.')
    const type = message.readUInt16BE(end + 1)
    asked.push(`${type} ${name}`)
    if (name.endsWith('hangs.example') || (name === 'half.example' && type === AAAA)) return
    const question = message.subarray(12, end + 5)
    const hasAddress = /^(bank|half|inside)\.example$/.test(name)
    const records = hasAddress && type === A ? 1 : 0
    const head = Buffer.alloc(12)
    message.copy(head, 0, 0, 2)
    head.writeUInt16BE(hasAddress ? 0x8180 : 0x8183, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(records, 6)
    const host = name === 'inside.example' ? [10, 0, 0, 7] : [127, 0, 0, 1]
    const record = Buffer.from([0xc0, 0x0c, 0, A, 0, 1, 0, 0, 0, 60, 0, 4, ...host])
    server.send(Buffer.concat([head, question, ...(records ? [record] : [])]), port, address)
  })
  await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve))
  writeFileSync(
    hostsFile,
    '127.0.0.1 localhost\n# 192.0.2.9 commented.example\n192.0.2.7\tBank.In.File.example  alias # note\n2001:db8::7 bank.in.file.example\nbroken\n',
  )
  lookup = createAddressLookup({ servers: [`127.0.0.1:${server.address().port}`], hostsFile })
})
afterAll(() => {
  server.close()
  rmSync(folder, { recursive: true })
})

const find = (name: string, family?: number): Promise<LookupAddress[]> =>
  new Promise((resolve, reject) =>
    lookup(name, { all: true, family }, (error, addresses) => (error ? reject(error) : resolve(addresses))),
  )

describe('looking up the address of a host', () => {
  test('hundreds of lookups whose servers hang do not delay the lookup of another name', async () => {
    let ended = 0
    const hanging = Array.from({ length: 300 }, (_, index) =>
      find(`n${index}.hangs.example`).then(
        () => ended++,
        () => ended++,
      ),
    )
    await eventually('the queries', () => Promise.resolve(asked.length >= 300))
    expect(await find('bank.example')).toEqual([{ address: '127.0.0.1', family: 4 }])
    expect(ended).toBe(0)
    await Promise.all(hanging)
  })

  test('a lookup ends with an error if no server responds', async () => {
    await expect(find('alone.hangs.example')).rejects.toMatchObject({ code: expect.stringMatching(/^E/) as string })
  })

  test('concurrent lookups of one name share one query', async () => {
    asked.length = 0
    await Promise.all(Array.from({ length: 100 }, () => find('bank.example')))
    expect(asked.sort()).toEqual([`${A} bank.example`, `${AAAA} bank.example`])
  })

  test('a lookup returns the addresses of one family if the query for the other gets no response', async () => {
    expect(await find('half.example')).toEqual([{ address: '127.0.0.1', family: 4 }])
  })

  test('a lookup fails immediately for an unknown name, and for a family that the name does not have', async () => {
    await expect(find('nobody.example')).rejects.toMatchObject({ code: 'ENOTFOUND' })
    await expect(find('bank.example', 6)).rejects.toMatchObject({ code: 'ENOTFOUND' })
  })

  test('a lookup honours the hosts file before any server, in any spelling of a name', async () => {
    asked.length = 0
    const addresses = [
      { address: '192.0.2.7', family: 4 },
      { address: '2001:db8::7', family: 6 },
    ]
    expect(await find('bank.in.file.example')).toEqual(addresses)
    expect(await find('BANK.in.file.example.')).toEqual(addresses)
    expect(await find('alias')).toEqual([addresses[0]])
    expect(await find('bank.in.file.example', 6)).toEqual([addresses[1]])
    expect(await find('localhost')).toEqual([{ address: '127.0.0.1', family: 4 }])
    expect((await find('a.localhost')).map(({ address }) => address)).toEqual(['127.0.0.1', '::1'])
    expect(await find('192.0.2.1')).toEqual([{ address: '192.0.2.1', family: 4 }])
    expect(asked).toEqual([])
    await expect(find('commented.example')).rejects.toMatchObject({ code: 'ENOTFOUND' })
  })
})

describe('an outbound request', () => {
  test('an outbound request is not delayed by other lookups, and never reaches an internal address', async () => {
    const bank = createServer((_request, response) => response.end('balance'))
    await new Promise<void>((resolve) => bank.listen(0, '127.0.0.1', resolve))
    const { port } = bank.address() as AddressInfo
    const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true }, lookup)
    const send = (host: string) =>
      http.send({ method: 'GET', url: `http://${host}:${port}/`, timeoutMs: 4_000, maxBytes: 100 })
    asked.length = 0
    let ended = 0
    const hanging = Array.from({ length: 100 }, (_, index) => send(`w${index}.hangs.example`).catch(() => ended++))
    await eventually('the queries', () => Promise.resolve(asked.length >= 100))
    expect((await send('bank.example')).text).toBe('balance')
    expect(ended).toBe(0)
    await expect(send('inside.example')).rejects.toMatchObject({ code: 'OUTBOUND_UNREACHABLE' })
    await Promise.all(hanging)
    expect(ended).toBe(100)
    await http.close()
    bank.close()
  })

  test('an outbound request is never resolved by the shared thread pool', () => {
    const src = join(import.meta.dirname, '../../src')
    const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) =>
      /^(?!generated).*\.ts$/.test(file),
    )
    const blocking = /import\s*\{[^}]*\blookup\b[^}]*\}\s*from 'node:dns(\/promises)?'/
    expect(files.filter((file) => blocking.test(readFileSync(join(src, file), 'utf8')))).toEqual([])
  })
})
