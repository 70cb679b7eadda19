import type { Registration, RegistrationFault } from './connector.ts'
import { createEndpointCheck, createPathCheck, type ResourceServer } from './endpoints.ts'
import { configurationUrlOf } from './stream-control.ts'
import { oauthFaults, type OauthProfile } from './oauth-profile.ts'

/**
 * The contradictions of a registration that its schema accepts: between its members, also by
 * its standard (`ofStandard`), and of its endpoints.
 */
export function registrationFaults(
  registration: Registration,
  profile: OauthProfile,
  resourceServers: readonly ResourceServer[],
  ofStandard: readonly RegistrationFault[] = [],
): RegistrationFault[] {
  return [
    ...ofStandard,
    ...endpointFaults(registration, profile, resourceServers),
    ...eventFaults(registration),
    ...answerFaults(registration),
    ...certificateFaults(registration, profile),
    ...oauthFaults(profile).map(({ path, message }) => ({ path: ['oauth', ...path], message })),
  ]
}

function endpointFaults(
  registration: Registration,
  { metadataUrl, tokenEndpoint, endpoints }: OauthProfile,
  resourceServers: readonly ResourceServer[],
): RegistrationFault[] {
  const { authorizationServer, events, alertResponses } = registration
  const checkEndpoint = createEndpointCheck(registration, resourceServers)
  const stated: [readonly string[], string | undefined][] = [
    [['authorizationServer'], authorizationServer],
    [['oauth', 'metadataUrl'], metadataUrl],
    [['oauth', 'tokenEndpoint'], tokenEndpoint],
    [['events', 'pollUrl'], events?.pollUrl],
    [['events', 'stream', 'configurationUrl'], events && configurationUrlOf(events)],
    [['alertResponses', 'url'], alertResponses?.url],
    ...Object.entries(endpoints ?? {}).map(([name, url]): [string[], string | undefined] => [
      ['oauth', 'endpoints', name],
      url as string | undefined,
    ]),
  ]
  const checkKeysUrl = createPathCheck(resourceServers, [events?.keysUrl])
  const keysFault = events?.keysUrl === undefined ? undefined : checkKeysUrl(events.keysUrl)
  return [
    ...stated.map(([path, url]) => ({ path, message: url === undefined ? undefined : checkEndpoint(url) })),
    { path: ['events', 'keysUrl'], message: keysFault },
  ].flatMap(({ path, message }) =>
    message === undefined ? [] : [{ path, message, code: 'ADDRESS_NOT_ALLOWED' as const }],
  )
}

/** The rules between the members of `events`. */
function eventFaults({ events }: Registration): RegistrationFault[] {
  if (!events) return []
  const { keys, keysUrl, pollUrl, stream, scope, clientCertificates } = events
  const needsKeys = clientCertificates === undefined || pollUrl !== undefined || stream !== undefined
  const rules: readonly (readonly [isBroken: boolean, path: string, message: string])[] = [
    [
      keys === undefined ? keysUrl === undefined && needsKeys : keysUrl !== undefined,
      'keys',
      'must be present, or else `keysUrl`, but not both',
    ],
    [scope !== undefined && pollUrl === undefined && !stream, 'scope', 'must be absent without `pollUrl` and `stream`'],
    [
      stream !== undefined && configurationUrlOf(events) === undefined,
      'stream',
      'must state `configurationUrl`: the issuer is no URL',
    ],
  ]
  return rules.flatMap(([isBroken, name, message]) => (isBroken ? [{ path: ['events', name], message }] : []))
}

/** IT_WAS_ME is offered only after the bank has reported by a signed event that the customer has seen the detail. */
const answerFaults = ({ events, alertResponses }: Registration): RegistrationFault[] =>
  alertResponses?.accepts.includes('IT_WAS_ME') && !events?.keys && events?.keysUrl === undefined
    ? [
        {
          path: ['alertResponses', 'accepts'],
          message: `must not have IT_WAS_ME without ${events ? '`events.keys`' : '`events`'}`,
        },
      ]
    : []

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
