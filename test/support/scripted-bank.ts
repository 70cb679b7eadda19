import { generateKeyPairSync } from 'node:crypto'
import { parseAllowedUrl } from '../../src/kernel/addresses.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import { GatewayError } from '../../src/kernel/errors.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { createLog } from '../../src/kernel/log.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import type { ResponseIssue } from '../../src/connectors/index.ts'
import type { ConnectorTools } from '../../src/connectors/connector.ts'

export interface ScriptedBank {
  readonly tools: ConnectorTools
  readonly sent: OutboundRequest[]
  readonly log: string[]
  /** What the connector reported as unusable. */
  readonly problems: ResponseIssue[]
}

export const ok = (body: unknown): OutboundResponse => ({
  status: 200,
  headers: { 'content-type': 'application/json' },
  text: typeof body === 'string' ? body : JSON.stringify(body),
})

/** The rules of production. */
const isAllowedUrl = (url: string): boolean =>
  parseAllowedUrl(url, { allowLoopback: false, allowPlainHttp: false }) !== undefined

/** The tools of a connector whose bank answers what the test says. */
export function scriptedBank(answer: (request: OutboundRequest) => OutboundResponse): ScriptedBank {
  const sent: OutboundRequest[] = []
  const log: string[] = []
  const problems: ResponseIssue[] = []
  return {
    sent,
    problems,
    log,
    tools: {
      http: {
        isAllowedUrl,
        certificateExpiry: () => Promise.resolve(null),
        urlFault: () => undefined,
        pool: () => {
          throw new Error('a connector has one pool')
        },
        close: () => Promise.resolve(),
        send(request) {
          if (!isAllowedUrl(request.url)) return Promise.reject(new GatewayError('ADDRESS_NOT_ALLOWED'))
          sent.push(request)
          return Promise.resolve(answer(request))
        },
      },
      clock: systemClock,
      randomness: systemRandomness,
      log: createLog(
        'trace',
        () => new Date(),
        (line) => log.push(line),
      ),
      connectorId: 'cnct_test',
      credentials: {
        signingKey: {
          ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }),
          kty: 'EC',
          kid: 'k',
        },
      },
      redirectUri: 'https://gateway.example/bank/callback',
      eventsUrl: 'https://gateway.example/bank-events/cnct_example',
      issuer: 'https://gateway.example',
      report: (problem) => void problems.push(problem),
    },
  }
}

export const ACCESS = {
  consentRef: 'consent-1',
  accessToken: 'token',
  refreshToken: null,
  expiresAt: '2099-01-01T00:00:00.000Z',
}
