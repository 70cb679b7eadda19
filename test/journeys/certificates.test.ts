import { afterAll, describe, expect, test } from 'vitest'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { createAuthority, readRequest } from '../support/certificate-authority.ts'
import { fingerprintOf, startCertificateBank, type CertificatePayload } from '../support/certificate-bank.ts'
import { patientTimers } from '../support/patient-time.ts'

const { authority, server, origin, gateway, token, mutate, register, show, certificatesSeenIn, close } =
  await startCertificateBank()
afterAll(close)
const stranger = await createAuthority('CN=Another CA')

describe('a trust anchor', () => {
  test('a server with a certificate of a scheme’s authority is trusted only with that authority’s anchor', async () => {
    const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true }, undefined, { timers: patientTimers })
    const { key, chain } = await authority.issueWithKey({ subject: 'CN=client' })
    const clientIdentity = { key, certificate: chain }
    const send = (trustAnchors?: string[]): Promise<unknown> =>
      http
        .pool({ clientIdentity, trustAnchors })
        .send({ method: 'GET', url: origin, timeoutMs: 30_000, maxBytes: 1_000 })
    await expect(send([authority.root])).resolves.toMatchObject({ status: 404 })
    for (const anchors of [undefined, [], [stranger.root]])
      await expect(send(anchors)).rejects.toMatchObject({
        code: 'OUTBOUND_UNREACHABLE',
        failureCause: 'CERTIFICATE_UNKNOWN_AUTHORITY',
      })
    await http.close()
  })

  test.each([
    ['no certificate', 'nonsense'],
    ['two certificates', `${authority.root}${stranger.root}`],
    ['a certificate that is no authority’s', server.leaf],
  ])('a registration with %s as a trust anchor is refused by path', async (_what, anchor) => {
    const { standard, registration } = (await (
      await fetch(`${gateway.sandbox.banks.lakebank}/sandbox/registration`)
    ).json()) as { standard: string; registration: object }
    const input = { standard, registration: { ...registration, trustAnchors: [anchor] } }
    const { userErrors } = await mutate('registerConnector', input)
    expect(userErrors.map(({ path }) => path.join('.'))).toContain('registration.trustAnchors.0')
  })
})

describe('a certificate that an authority issues', () => {
  test('the gateway makes the key and the request, and presents the answer of the authority to the bank', async () => {
    const id = await register()
    const requested = await mutate('requestCertificate', {
      connectorId: id,
      use: 'TRANSPORT',
      commonName: 'guichet.example',
      organization: 'Guichet Ltd',
      organizationIdentifier: 'PSDGB-FCA-123456',
      country: 'GB',
      licensingAuthorityName: 'Financial Conduct Authority',
      licensingAuthorityId: 'GB-FCA',
    })
    expect(requested).toMatchObject({ userErrors: [], certificate: { status: 'REQUESTED', subject: null } })
    const { certificateRequest } = requested.certificate!
    expect(readRequest(certificateRequest)).toEqual({
      subject: 'C=GB, O=Guichet Ltd, 2.5.4.97=PSDGB-FCA-123456, CN=guichet.example',
      extensions: ['2.5.29.15', '2.5.29.37', '1.3.6.1.5.5.7.1.3'],
    })
    const { chain } = await authority.answer(certificateRequest)
    const uploaded = await mutate('uploadCertificate', { connectorId: id, use: 'TRANSPORT', certificateChain: chain })
    expect(uploaded.certificate).toMatchObject({
      id: requested.certificate!.id,
      status: 'ACTIVE',
      fingerprint: fingerprintOf(chain),
      subject: expect.stringContaining('organizationIdentifier=PSDGB-FCA-123456') as string,
    })
    expect(await certificatesSeenIn(id)).toEqual(new Set([fingerprintOf(chain)]))
    const again = await mutate('uploadCertificate', { connectorId: id, use: 'TRANSPORT', certificateChain: chain })
    expect(again.userErrors.map(({ path }) => path)).toEqual([['privateKey']])
  })

  test('private keys and secrets are in no row, log line or response in readable form', async () => {
    const id = await register({ oauth: { clientAuthentication: 'client_secret_basic' } })
    const { chain, key } = await authority.issueWithKey({ subject: 'CN=with-key' })
    const responses = [
      await mutate('uploadCertificate', {
        connectorId: id,
        use: 'TRANSPORT',
        certificateChain: chain,
        privateKey: key,
      }),
      await mutate('setClientSecret', { connectorId: id, clientSecret: 'a-secret-of-the-bank' }),
      await show(id),
    ]
    expect(responses[2]).toMatchObject({ hasClientSecret: true })
    const rows = await gateway.database.query('select * from connector_credential join ledger_entry on true')
    const keyLine = key.split('\n')[3]!
    for (const secret of ['a-secret-of-the-bank', keyLine, 'PRIVATE KEY'])
      expect(JSON.stringify([responses, rows, gateway.log]).includes(secret)).toBe(false)
  })

  test.each<[string, () => Promise<object>, string, string]>([
    [
      'that has expired',
      async () => authority.issueWithKey({ subject: 'CN=x', notBefore: new Date(0), notAfter: new Date(1e12) }),
      'certificateChain',
      'must not have expired',
    ],
    [
      'that is not valid yet',
      async () => authority.issueWithKey({ subject: 'CN=x', notBefore: new Date(Date.now() + 1e9) }),
      'certificateChain',
      'must be valid now',
    ],
    [
      'for servers only',
      async () => authority.issueWithKey({ subject: 'CN=x', isServer: true }),
      'certificateChain',
      'must allow client authentication',
    ],
    [
      'with another key',
      async () => ({
        ...(await authority.issueWithKey({ subject: 'CN=x' })),
        key: (await authority.issueWithKey({ subject: 'CN=y' })).key,
      }),
      'privateKey',
      'must belong to the first certificate',
    ],
    [
      'with a key that is none',
      async () => ({ ...(await authority.issueWithKey({ subject: 'CN=x' })), key: 'nonsense' }),
      'privateKey',
      'must be an unencrypted private key',
    ],
    [
      'after that of its authority',
      async () => {
        const { chain, ...rest } = await authority.issueWithKey({ subject: 'CN=x' })
        return { ...rest, chain: authority.root + chain }
      },
      'certificateChain',
      'each must be issued by the next',
    ],
    [
      'with the chain of another authority',
      async () => {
        const { leaf, ...rest } = await authority.issueWithKey({ subject: 'CN=x' })
        return { ...rest, chain: leaf + stranger.root }
      },
      'certificateChain',
      'each must be issued by the next',
    ],
    [
      'of an authority',
      async () => ({ ...(await authority.issueWithKey({ subject: 'CN=x' })), chain: authority.root }),
      'certificateChain',
      'not that of an authority',
    ],
    [
      'in another form',
      async () => ({ ...(await authority.issueWithKey({ subject: 'CN=x' })), chain: 'MIIB' }),
      'certificateChain',
      'must be one or more certificates in PEM',
    ],
  ])('a certificate %s is refused with the rule at its field', async (_what, create, path, rule) => {
    const { chain, key } = (await create()) as { chain: string; key: string }
    const input = { connectorId: await register(), use: 'TRANSPORT', certificateChain: chain, privateKey: key }
    const { certificate, userErrors } = await mutate('uploadCertificate', input)
    expect(certificate).toBeNull()
    expect(userErrors).toEqual([
      { code: 'INVALID_INPUT', path: [path], message: expect.stringContaining(rule) as string },
    ])
  })

  test('a signing certificate needs a key for the algorithm of the profile, whose public part is then published', async () => {
    const id = await register({
      certificates: { transport: 'ISSUED', signing: 'ISSUED' },
      oauth: { signingAlgorithm: 'PS256' },
    })
    const wrong = await authority.issueWithKey({ subject: 'CN=x' }, 'ec')
    const upload = ({ chain, key }: { chain: string; key: string }, keyId?: string): Promise<CertificatePayload> =>
      mutate('uploadCertificate', { connectorId: id, use: 'SIGNING', certificateChain: chain, privateKey: key, keyId })
    expect((await upload(wrong)).userErrors[0]!.message).toContain('must have a key for PS256')
    const { certificate } = await upload(await authority.issueWithKey({ subject: 'CN=seal' }), 'directory-key-1')
    const { jwks, jwksUrl } = await show(id)
    const response = await fetch(jwksUrl)
    expect(response.headers.get('content-type')).toBe('application/jwk-set+json')
    expect(await response.json()).toEqual(jwks)
    expect(jwks.keys.map(({ kid }) => kid)).toEqual([expect.stringMatching(/^guichet-/), 'directory-key-1'])
    expect(JSON.stringify(jwks)).not.toMatch(/"(d|p|q)":/)
    expect(certificate!.keyId).toBe('directory-key-1')
  })

  test('the client ID is the organization of the certificate if that identifies the gateway', async () => {
    const id = await register({ clientId: undefined, certificates: { transport: 'ISSUED', identifyClient: true } })
    const upload = async (subject: string): Promise<CertificatePayload> => {
      const { chain, key } = await authority.issueWithKey({ subject })
      return mutate('uploadCertificate', {
        connectorId: id,
        use: 'TRANSPORT',
        certificateChain: chain,
        privateKey: key,
      })
    }
    expect((await show(id)).clientIdAtBank).toBeNull()
    expect((await upload('CN=nobody')).userErrors[0]!.message).toContain('must name an organizationIdentifier')
    expect((await show(id)).certificates).toEqual([])
    expect((await upload('2.5.4.97=PSDGB-FCA-1, CN=x')).userErrors).toEqual([])
    expect((await show(id)).clientIdAtBank).toBe('PSDGB-FCA-1')
  })
})

describe('rotation', () => {
  test('a newer certificate is used immediately, and the earlier one stays until it is retired', async () => {
    const id = await register()
    const upload = async (): Promise<{ fingerprint: string; id: string }> => {
      const { chain, key } = await authority.issueWithKey({ subject: 'CN=x' })
      const input = { connectorId: id, use: 'TRANSPORT', certificateChain: chain, privateKey: key }
      return { id: (await mutate('uploadCertificate', input)).certificate!.id, fingerprint: fingerprintOf(chain) }
    }
    const first = await upload()
    expect(await certificatesSeenIn(id)).toEqual(new Set([first.fingerprint]))
    const second = await upload()
    expect(await certificatesSeenIn(id)).toEqual(new Set([second.fingerprint]))
    const statuses = async () => (await show(id)).certificates.map(({ status }) => status)
    expect(await statuses()).toEqual(['SUPERSEDED', 'ACTIVE'])
    expect((await mutate('retireCertificate', { certificateId: first.id })).userErrors).toEqual([])
    expect(await statuses()).toEqual(['RETIRED', 'ACTIVE'])
    const repeated = await mutate('retireCertificate', { certificateId: first.id })
    expect(repeated.userErrors.map(({ code }) => code)).toEqual(['STATE_CONFLICT'])
  })

  test('keys of superseded signing certificates stay published until they are retired', async () => {
    const id = await register({ certificates: { transport: 'ISSUED', signing: 'ISSUED' } })
    const upload = async (keyId: string): Promise<string> => {
      const { chain, key } = await authority.issueWithKey({ subject: 'CN=seal' }, 'ec')
      const input = { connectorId: id, use: 'SIGNING', certificateChain: chain, privateKey: key, keyId }
      return (await mutate('uploadCertificate', input)).certificate!.id
    }
    const first = await upload('k1')
    await upload('k2')
    const published = async () => (await show(id)).jwks.keys.slice(1).map(({ kid }) => kid)
    expect(await published()).toEqual(['k1', 'k2'])
    await mutate('retireCertificate', { certificateId: first })
    expect(await published()).toEqual(['k2'])
  })
})

describe('who may see and change certificates', () => {
  test('another partner cannot request, upload or retire a certificate, or set a secret', async () => {
    const id = await register()
    const { chain, key } = await authority.issueWithKey({ subject: 'CN=x' })
    const input = { connectorId: id, use: 'TRANSPORT', certificateChain: chain, privateKey: key }
    const { certificate } = await mutate('uploadCertificate', input)
    const other = await gateway.own('eastbank-partner', 'connectors:manage connectors:read')
    const attempts = [
      mutate('requestCertificate', { connectorId: id, use: 'TRANSPORT', commonName: 'x' }, other),
      mutate('uploadCertificate', input, other),
      mutate('retireCertificate', { certificateId: certificate!.id }, other),
      mutate('setClientSecret', { connectorId: id, clientSecret: 'x'.repeat(20) }, other),
    ]
    for (const { userErrors } of await Promise.all(attempts))
      expect(userErrors.map(({ code }) => code)).toEqual(['NOT_FOUND'])
  })

  test('the keys of an unknown or retired connector are not found', async () => {
    const id = await register()
    const { jwksUrl } = await show(id)
    expect((await fetch(jwksUrl)).status).toBe(200)
    await mutate('retireConnector', { connectorId: id })
    expect((await fetch(jwksUrl)).status).toBe(404)
    expect((await fetch(jwksUrl.replace(id, 'cnct_none'))).status).toBe(404)
  })
})

describe('the expiry of a certificate', () => {
  const noticesOf = async (id: string): Promise<string[]> => {
    const query = 'query ($id: ID!) { connector(id: $id) { notices { nodes { kind } } } }'
    const { notices } = (await gateway.ask(token, query, { id })).data!['connector'] as {
      notices: { nodes: { kind: string }[] }
    }
    return notices.nodes.map(({ kind }) => kind)
  }
  const uploadValidFor = async (id: string, days: number): Promise<void> => {
    const notAfter = new Date(Date.now() + days * 86_400_000 - 60_000)
    const { chain, key } = await authority.issueWithKey({ subject: 'CN=x', notAfter })
    const input = { connectorId: id, use: 'TRANSPORT', certificateChain: chain, privateKey: key }
    expect((await mutate('uploadCertificate', input)).userErrors).toEqual([])
  }
  const watch = () => gateway.app.services.banks.recordExpiryNotices()

  test('a notice says once per threshold that a certificate in use expires, until a newer one is uploaded', async () => {
    const id = await register()
    await uploadValidFor(id, 40)
    await watch()
    expect(await noticesOf(id)).toEqual([])
    await uploadValidFor(id, 14)
    await watch()
    await watch()
    expect(await noticesOf(id)).toEqual(['CERTIFICATE_EXPIRING'])
    await uploadValidFor(id, 365)
    await watch()
    expect(await noticesOf(id)).toEqual(['CERTIFICATE_EXPIRING'])
  })

  test('two concurrent rounds record one notice, and its metric says when the certificate expires', async () => {
    const id = await register()
    await uploadValidFor(id, 7)
    await Promise.all([watch(), watch(), watch()])
    expect(await noticesOf(id)).toEqual(['CERTIFICATE_EXPIRING'])
    const [expiry] = (await gateway.app.services.banks.certificateExpiries()).filter(
      ({ connectorId }) => connectorId === id,
    )
    expect(expiry).toMatchObject({ use: 'TRANSPORT' })
    expect(Math.abs(expiry!.expiresAt.getTime() - Date.now() - 7 * 86_400_000)).toBeLessThan(120_000)
  })

  test('an expired certificate is in use no more and reported once', async () => {
    const id = await register()
    await uploadValidFor(id, 1)
    // The gateway's clock; tokens of this test end meanwhile.
    gateway.forward(2 * 86_400_000)
    try {
      await watch()
      await watch()
      const rows = await gateway.database.query(`select kind from connector_notice where connector_id = '${id}'`)
      expect(rows).toEqual([{ kind: 'CERTIFICATE_EXPIRED' }])
      const { banks } = gateway.app.services
      const all = await banks.credentialsOf([id])
      expect(banks.certificateStatus(all[0]!, all)).toBe('EXPIRED')
    } finally {
      gateway.forward(0)
    }
  })
})
