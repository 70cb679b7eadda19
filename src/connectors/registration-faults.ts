import type { Registration } from './connector.ts'
import type { EndpointCheck } from './endpoints.ts'
import { oauthFaults, type OauthProfile } from './oauth-profile.ts'

/** A contradiction between members of a registration. */
export interface RegistrationFault {
  readonly path: readonly string[]
  /** Continues the name of the member. */
  readonly message: string
  readonly code?: 'ADDRESS_NOT_ALLOWED'
}

/** The contradictions of a registration that its schema accepts: between its members, and of its endpoints. */
export function registrationFaults(
  registration: Registration,
  profile: OauthProfile,
  checkEndpoint: EndpointCheck,
): RegistrationFault[] {
  return [
    ...endpointFaults(registration, profile, checkEndpoint),
    ...certificateFaults(registration, profile),
    ...oauthFaults(profile).map(({ path, message }) => ({ path: ['oauth', ...path], message })),
  ]
}

function endpointFaults(
  { authorizationServer }: Registration,
  { metadataUrl, endpoints }: OauthProfile,
  checkEndpoint: EndpointCheck,
): RegistrationFault[] {
  const stated: [readonly string[], string | undefined][] = [
    [['authorizationServer'], authorizationServer],
    [['oauth', 'metadataUrl'], metadataUrl],
    ...Object.entries(endpoints ?? {}).map(([name, url]): [string[], string | undefined] => [
      ['oauth', 'endpoints', name],
      url as string | undefined,
    ]),
  ]
  return stated.flatMap(([path, url]) => {
    const message = url === undefined ? undefined : checkEndpoint(url)
    return message === undefined ? [] : [{ path, message, code: 'ADDRESS_NOT_ALLOWED' as const }]
  })
}

/** The rules between certificates, mutual TLS, client authentication and the client ID. */
function certificateFaults(
  { mutualTls = false, certificates = {}, clientId }: Registration,
  { clientAuthentication: method }: OauthProfile,
): RegistrationFault[] {
  const { transport = 'SELF_SIGNED', identifyClient = false } = certificates
  const rules: readonly (readonly [isBroken: boolean, path: readonly string[], message: string])[] = [
    [transport === 'ISSUED' && !mutualTls, ['mutualTls'], 'must be true if `certificates.transport` is ISSUED'],
    [
      identifyClient && transport !== 'ISSUED',
      ['certificates', 'transport'],
      'must be ISSUED if `certificates.identifyClient` is true',
    ],
    [
      identifyClient && clientId !== undefined,
      ['clientId'],
      'must be absent if `certificates.identifyClient` is true: it is in the certificate',
    ],
    [method.includes('tls_client_auth') && !mutualTls, ['mutualTls'], `must be true with \`${method}\``],
    [
      method === 'tls_client_auth' && transport !== 'ISSUED',
      ['certificates', 'transport'],
      'must be ISSUED with `tls_client_auth`',
    ],
    [
      method === 'self_signed_tls_client_auth' && transport !== 'SELF_SIGNED',
      ['certificates', 'transport'],
      'must be SELF_SIGNED with `self_signed_tls_client_auth`',
    ],
  ]
  return rules.flatMap(([isBroken, path, message]) => (isBroken ? [{ path, message }] : []))
}
