import { X509Certificate } from 'node:crypto'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { expect } from 'vitest'
import type { UserError } from '../../src/kernel/user-errors.ts'
import { createAuthority } from './certificate-authority.ts'
import { eventually, startGateway } from './gateway.ts'

export interface CertificatePayload {
  readonly userErrors: readonly UserError[]
  readonly certificate: Record<
    'id' | 'status' | 'keyId' | 'certificateRequest' | 'subject' | 'fingerprint',
    string
  > | null
  readonly connector: { readonly id: string; readonly clientIdAtBank: string | null } | null
}
interface ConnectorView {
  readonly certificates: readonly { id: string; status: string }[]
  readonly jwks: { readonly keys: readonly Record<string, string>[] }
  readonly jwksUrl: string
  readonly clientIdAtBank: string | null
  readonly hasClientSecret: boolean
}

const ISSUED = { mutualTls: true, certificates: { transport: 'ISSUED' } }
export const fingerprintOf = (pem: string): string => new X509Certificate(pem).fingerprint256

/** A gateway whose partner registers connectors of a bank that accepts only certificates of a scheme's authority. */
export async function startCertificateBank() {
  const authority = await createAuthority()
  const server = await authority.issueWithKey({ subject: 'CN=localhost', isServer: true })
  /** The certificates that the bank's front has seen. */
  const seen: (string | undefined)[] = []
  const front = createServer(
    { cert: server.chain, key: server.key, ca: authority.root, requestCert: true, rejectUnauthorized: true },
    (request, response) => {
      const socket: unknown = request.socket
      const { fingerprint256 } = (socket as TLSSocket).getPeerCertificate() as { fingerprint256?: string }
      seen.push(fingerprint256)
      response.writeHead(404, { 'content-type': 'application/json' }).end('{}')
    },
  )
  await new Promise<void>((resolve) => front.listen(0, 'localhost', resolve))
  const origin = `https://localhost:${(front.address() as AddressInfo).port}`
  const gateway = await startGateway({})
  const token = await gateway.own('lakebank-partner', 'connectors:manage connectors:read')

  async function mutate(name: string, input: object, as = token): Promise<CertificatePayload> {
    const type = `${name[0]!.toUpperCase()}${name.slice(1)}Input`
    const selection = name.endsWith('Certificate')
      ? 'certificate { id status keyId certificateRequest subject fingerprint }'
      : 'connector { id clientIdAtBank }'
    const { data } = await gateway.ask(
      as,
      `mutation ($input: ${type}!) { ${name}(input: $input) { ${selection} userErrors { code path message } } }`,
      { input },
    )
    return data![name] as CertificatePayload
  }

  async function register(members: object = {}): Promise<string> {
    const given = (await (await fetch(`${gateway.sandbox.banks.lakebank}/sandbox/registration`)).json()) as {
      standard: string
      registration: object
    }
    const registration = {
      ...given.registration,
      authorizationServer: origin,
      trustAnchors: [authority.root],
      ...ISSUED,
      ...members,
    }
    const { connector, userErrors } = await mutate('registerConnector', { standard: given.standard, registration })
    expect(userErrors).toEqual([])
    return connector!.id
  }

  async function show(id: string): Promise<ConnectorView> {
    const query = `query ($id: ID!) { connector(id: $id) { certificates { id status } jwks jwksUrl clientIdAtBank hasClientSecret } }`
    return (await gateway.ask(token, query, { id })).data!['connector'] as ConnectorView
  }

  /** The certificates that the bank's front sees in a certification run. */
  async function certificatesSeenIn(id: string): Promise<Set<string | undefined>> {
    seen.length = 0
    await gateway.ask(
      token,
      'mutation ($input: StartCertificationInput!) { startCertification(input: $input) { userErrors { code } } }',
      { input: { connectorId: id } },
    )
    await eventually('the run to end', async () => {
      const query = 'query ($id: ID!) { connector(id: $id) { status } }'
      const { status } = (await gateway.ask(token, query, { id })).data!['connector'] as { status: string }
      return status !== 'CERTIFYING'
    })
    return new Set(seen)
  }

  return {
    authority,
    server,
    origin,
    seen,
    gateway,
    token,
    mutate,
    register,
    show,
    certificatesSeenIn,
    async close(): Promise<void> {
      await gateway.close()
      front.closeAllConnections()
      front.close()
    },
  }
}
