import type { BankInterface, ConnectorTools, Registration, Standard } from './connector.ts'
import { createEndpointCheck } from './endpoints.ts'
import { createSetPoller } from './event-polling.ts'
import { createEventsApi, createReusedToken, type ReusedToken } from './events-api.ts'
import { createOauthClient } from './oauth-client.ts'
import { resolveOauthProfile } from './oauth-profile.ts'
import { SHARED_EVENT_TYPES } from './shared-signals.ts'
import { createStreamControl, configurationUrlOf } from './stream-control.ts'
import type { EventStreamControl } from './stream-status.ts'

/** Adds to a standard what a bank can have in addition: a queue of events, and the control of the stream of events. */
export const withEventStream = <R extends Registration>(standard: Standard<R>): Standard<R> => ({
  ...standard,
  connect: (registration, tools) => ({
    ...standard.connect(registration, tools),
    ...createEventStream(standard, registration, tools),
  }),
})

function createEventStream<R extends Registration>(
  standard: Standard<R>,
  registration: R,
  tools: ConnectorTools,
): Pick<BankInterface, 'pollEvents' | keyof EventStreamControl> {
  const { pollUrl, stream, issuer = '' } = registration.events ?? {}
  if (pollUrl === undefined && !stream) return {}
  const callEventsApi = createEventsApi(tools, createToken(standard, registration, tools))
  const configurationUrl = configurationUrlOf({ stream, issuer })
  return {
    ...(pollUrl !== undefined && { pollEvents: createSetPoller(pollUrl, callEventsApi, tools) }),
    ...(configurationUrl !== undefined &&
      createStreamControl({
        configurationUrl,
        issuer,
        pollUrl,
        eventTypes: SHARED_EVENT_TYPES,
        callEventsApi,
        fetchDocument: createEventsApi(tools, undefined),
        checkEndpoint: createEndpointCheck(registration, standard.resourceServers(registration)),
        tools,
      })),
  }
}

/** The gateway's own token at the bank. Undefined if its certificate identifies it. */
function createToken<R extends Registration>(
  standard: Standard<R>,
  registration: R,
  tools: ConnectorTools,
): ReusedToken | undefined {
  const { usesClientToken = true } = standard.describe(registration)
  if (!usesClientToken) return undefined
  const profile = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
  const checkEndpoint = createEndpointCheck(registration, standard.resourceServers(registration))
  const oauth = createOauthClient(registration, tools, profile, checkEndpoint)
  return createReusedToken(() => oauth.clientCredentialsToken(registration.events?.scope), tools.clock)
}
