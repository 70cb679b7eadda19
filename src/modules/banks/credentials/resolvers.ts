import { X509Certificate } from 'node:crypto'
import type { Resolvers } from '../../../generated/graphql.ts'
import { createRequestLoader } from '../../../kernel/batch.ts'
import { GatewayError } from '../../../kernel/errors.ts'
import { throwInvalidInput } from '../../../kernel/input-faults.ts'
import type { Caller } from '../../../kernel/request-context.ts'
import { withUserErrors } from '../../../kernel/user-errors.ts'
import { bankEndpointsOf } from '../bank-endpoints.ts'
import type { Banks } from '../service.ts'
import { isCertificate, publishedKeysOf, type Credential } from './model.ts'

/** Dependencies of the resolvers. */
export interface CredentialResolversDependencies {
  readonly banks: Banks
  readonly issuer: string
  /** Returns the caller's client ID. Throws `NOT_FOUND` if it may not change the connector. */
  readonly requireOwnership: (caller: Caller, connectorId: string, path: string) => Promise<string>
}

/** The resolvers of the certificates and secrets of connectors. */
export function credentialResolvers({ banks, issuer, requireOwnership }: CredentialResolversDependencies) {
  const loadCredentials = createRequestLoader<Credential[]>(async (connectorIds) => {
    const credentials = await banks.credentialsOf(connectorIds)
    return connectorIds.map((id) => credentials.filter(({ connectorId }) => connectorId === id))
  })
  const certificatePayload = (mutate: () => Promise<Credential>) =>
    withUserErrors(async () => ({ certificate: await banks.findCertificate((await mutate()).id) }), {
      certificate: null,
    })

  return {
    Connector: {
      jwks: async ({ id, jwks }, _args, context) => publishedKeysOf(jwks, await loadCredentials(id, context)),
      jwksUrl: ({ id }) => bankEndpointsOf(issuer, id).jwksUrl,
      async certificates({ id }, _args, context) {
        const all = await loadCredentials(id, context)
        return all.filter(isCertificate).map((certificate) => ({ certificate, all }))
      },
      hasClientSecret: async ({ id }, _args, context) =>
        (await loadCredentials(id, context)).some(({ kind, retiredAt }) => kind === 'CLIENT_SECRET' && !retiredAt),
    },
    ConnectorCertificate: {
      id: ({ certificate }) => certificate.id,
      use: ({ certificate }) => certificate.kind,
      status: ({ certificate, all }) => banks.certificateStatus(certificate, all),
      keyId: ({ certificate }) => String(certificate.publicKey!['kid']),
      certificateRequest: ({ certificate }) => certificate.certificateRequest,
      subject: ({ certificate }) => leafOf(certificate)?.subject ?? null,
      issuer: ({ certificate }) => leafOf(certificate)?.issuer ?? null,
      fingerprint: ({ certificate }) => leafOf(certificate)?.fingerprint256 ?? null,
      expiresAt: ({ certificate }) => certificate.expiresAt?.toISOString() ?? null,
    },
    Mutation: {
      requestCertificate: (_parent, { input }, { caller }) =>
        certificatePayload(async () => {
          const { connectorId, use, licensingAuthorityName, licensingAuthorityId, ...subject } = input
          const clientId = await requireOwnership(caller, connectorId, 'connectorId')
          return banks.requestCertificate(clientId, connectorId, {
            use,
            subject: parseSubject(subject),
            authority: parseAuthority(licensingAuthorityName, licensingAuthorityId),
          })
        }),
      uploadCertificate: (_parent, { input: { connectorId, ...uploaded } }, { caller }) =>
        certificatePayload(async () =>
          banks.uploadCertificate(await requireOwnership(caller, connectorId, 'connectorId'), connectorId, uploaded),
        ),
      retireCertificate: (_parent, { input: { certificateId } }, { caller }) =>
        certificatePayload(async () => {
          const credential = await banks.findCredential(certificateId)
          if (!credential) throw new GatewayError('NOT_FOUND', { path: ['certificateId'] })
          const clientId = await requireOwnership(caller, credential.connectorId, 'certificateId')
          return banks.retireCertificate(clientId, certificateId)
        }),
      setClientSecret: (_parent, { input: { connectorId, clientSecret } }, { caller }) =>
        withUserErrors(
          async () => ({
            connector: await banks.setClientSecret(
              await requireOwnership(caller, connectorId, 'connectorId'),
              connectorId,
              clientSecret,
            ),
          }),
          { connector: null },
        ),
    },
  } satisfies Resolvers
}

const leafOf = ({ certificateChain }: Credential): X509Certificate | undefined =>
  certificateChain === null ? undefined : new X509Certificate(certificateChain)

/** X.520 limits these fields to 64 characters; no certificate authority accepts control characters. */
const NAME_FIELD = /^[^\p{C}]{1,64}$/u

function parseSubject(fields: {
  readonly commonName: string
  readonly organization?: string | null | undefined
  readonly organizationalUnit?: string | null | undefined
  readonly organizationIdentifier?: string | null | undefined
  readonly country?: string | null | undefined
}) {
  for (const [name, text] of Object.entries(fields))
    if (text != null && !NAME_FIELD.test(text)) throwInvalidInput([name], 'must have 1 to 64 printable characters')
  const { commonName, organization, organizationalUnit, organizationIdentifier, country } = fields
  return {
    commonName,
    organization: organization ?? undefined,
    organizationalUnit: organizationalUnit ?? undefined,
    organizationIdentifier: organizationIdentifier ?? undefined,
    country: country ?? undefined,
  }
}

function parseAuthority(name: string | null | undefined, id: string | null | undefined) {
  if (name == null && id == null) return undefined
  if (name == null || id == null)
    return throwInvalidInput(
      [name == null ? 'licensingAuthorityName' : 'licensingAuthorityId'],
      'is required with the other member of the licensing authority',
    )
  if (!NAME_FIELD.test(name)) throwInvalidInput(['licensingAuthorityName'], 'must have 1 to 64 printable characters')
  if (!/^[A-Z]{2}-[A-Z]{2,8}$/.test(id)) throwInvalidInput(['licensingAuthorityId'], 'must have the form GB-FCA')
  return { name, id }
}
