import { X509Certificate } from 'node:crypto'
import { afterAll, describe, expect, test } from 'vitest'
import { toGatewayError } from '../../src/kernel/errors.ts'
import { fingerprintOf, startCertificateBank } from '../support/certificate-bank.ts'
import { startSecondGateway } from '../support/second-gateway.ts'

const { authority, gateway, seen, mutate, register, show, close } = await startCertificateBank()
afterAll(close)

describe('a certificate that is made to break the gateway', () => {
  /** Replaces bytes of the encoded certificate: its signature is then wrong, which nobody checks without its authority. */
  const change = (pem: string, from: Buffer, to: Buffer): string => {
    const der = new X509Certificate(pem).raw
    const at = der.indexOf(from)
    expect(at).toBeGreaterThan(0)
    to.copy(der, at)
    const lines = der.toString('base64').match(/.{1,64}/g)!
    return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
  }
  const RSA_KEY = Buffer.from('300d06092a864886f70d0101010500', 'hex')
  const UNKNOWN_KEY = Buffer.from('300d06092a864886f70d01017f0500', 'hex')

  test.each<[string, (leaf: string) => Promise<string> | string, string]>([
    ['without an end', (leaf) => change(leaf, Buffer.from('271'), Buffer.from('zz1')), 'must state from when'],
    ['with a key of an unknown type', (leaf) => change(leaf, RSA_KEY, UNKNOWN_KEY), 'must have keys of a known type'],
    [
      'with a key that keeps a process busy',
      async () => (await authority.issueWithKey({ subject: 'CN=x' }, 'rsa-8192')).leaf,
      'an RSA key of 2048 to 4096 bits',
    ],
  ])('a certificate %s is refused with a rule', async (_what, create, rule) => {
    const notAfter = new Date(Date.UTC(2027, 9, 1))
    const { leaf, key } = await authority.issueWithKey({ subject: 'CN=x', notAfter })
    const certificateChain = await create(leaf)
    const input = { connectorId: await register(), use: 'TRANSPORT', certificateChain, privateKey: key }
    expect((await mutate('uploadCertificate', input)).userErrors).toEqual([
      { code: 'INVALID_INPUT', path: ['certificateChain'], message: expect.stringContaining(rule) as string },
    ])
  })

  test('concurrent uploads of one certificate in two processes store it once, and its key is published once', async () => {
    const second = await startSecondGateway(gateway)
    try {
      const id = await register({ certificates: { transport: 'ISSUED', signing: 'ISSUED' } })
      const { chain, key } = await authority.issueWithKey({ subject: 'CN=seal' }, 'ec')
      const upload = { use: 'SIGNING', certificateChain: chain, privateKey: key } as const
      const attempts = [gateway.app, second.app, gateway.app, second.app].map(({ services: { banks } }) =>
        banks.uploadCertificate('lakebank-partner', id, upload).then(
          () => 'STORED',
          (error: unknown) => toGatewayError(error).code,
        ),
      )
      expect((await Promise.all(attempts)).sort()).toEqual([...Array<string>(3).fill('STATE_CONFLICT'), 'STORED'])
      expect((await show(id)).jwks.keys).toHaveLength(2)
    } finally {
      await second.close()
    }
  })

  test('no two keys are published under one ID, and a renewed certificate of one key publishes it once', async () => {
    const id = await register({ certificates: { transport: 'ISSUED', signing: 'ISSUED' } })
    const upload = async (
      { chain, key }: { chain: string; key: string },
      keyId: string,
    ): Promise<readonly string[]> => {
      const input = { connectorId: id, use: 'SIGNING', certificateChain: chain, privateKey: key, keyId }
      return (await mutate('uploadCertificate', input)).userErrors.map(({ code, path }) => `${code} ${path.join()}`)
    }
    const [first, other] = [await issueSeal(), await issueSeal()]
    const own = (await show(id)).jwks.keys[0]!['kid']!
    expect(await upload(first, own)).toEqual(['STATE_CONFLICT keyId'])
    expect(await upload(first, 'k1')).toEqual([])
    expect(await upload(other, 'k1')).toEqual(['STATE_CONFLICT keyId'])
    expect(await upload({ key: first.key, chain: (await authority.renew(first.leaf)).chain }, 'k1')).toEqual([])
    expect((await show(id)).jwks.keys.map(({ kid }) => kid)).toEqual([own, 'k1'])
    for (const keyId of ['', 'k\r\nalg: none', 'ключ', 'x'.repeat(257)])
      expect(await upload(other, keyId)).toEqual(['INVALID_INPUT keyId'])
  })
  const issueSeal = () => authority.issueWithKey({ subject: 'CN=seal' }, 'ec')

  test('two processes that set secrets concurrently leave one of them', async () => {
    const second = await startSecondGateway(gateway)
    try {
      const id = await register({ oauth: { clientAuthentication: 'client_secret_basic' } })
      const apps = [gateway.app, second.app, gateway.app, second.app, gateway.app, second.app]
      await Promise.all(
        apps.map(({ services: { banks } }, index) =>
          banks.setClientSecret('lakebank-partner', id, `secret-${index}-x`),
        ),
      )
      const left = (await gateway.app.services.banks.credentialsOf([id])).filter(({ retiredAt }) => !retiredAt)
      expect(left).toHaveLength(1)
    } finally {
      await second.close()
    }
  })

  test('when the newest certificate expires, calls to the bank present the one before it that is still valid', async () => {
    const id = await register()
    const upload = async (days: number): Promise<string> => {
      const notAfter = new Date(Date.now() + days * 86_400_000)
      // Valid at the bank too, whose clock is not forwarded.
      const notBefore = new Date(Date.now() - 5 * 86_400_000)
      const { chain, key } = await authority.issueWithKey({ subject: 'CN=x', notBefore, notAfter })
      const input = { connectorId: id, use: 'TRANSPORT', certificateChain: chain, privateKey: key }
      expect((await mutate('uploadCertificate', input)).userErrors).toEqual([])
      return fingerprintOf(chain)
    }
    const lasting = await upload(365)
    const short = await upload(1)
    const presented = async (): Promise<Set<string | undefined>> => {
      seen.length = 0
      const bank = await gateway.app.services.banks.getBankInAnyState(id)
      await bank.revokeConsent({ consentRef: 'c' }).catch(() => undefined)
      return new Set(seen)
    }
    expect(await presented()).toEqual(new Set([short]))
    gateway.forward(2 * 86_400_000)
    try {
      expect(await presented()).toEqual(new Set([lasting]))
    } finally {
      gateway.forward(0)
    }
  })
})
