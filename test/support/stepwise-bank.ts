import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { common } from './standards.ts'

/** A Berlin Group bank without pages of its own. It confirms in its app (DECOUPLED), or by a code (EMBEDDED). */
export interface StepwiseBank {
  readonly registration: object
  /** The headers and bodies of the requests, by method and path without ids. */
  readonly received: {
    readonly operation: string
    readonly headers: NodeJS.Dict<string | string[]>
    readonly body: string
  }[]
  consentStatus: string
  /** The ids of the consents that nobody has ended. */
  readonly openConsents: ReadonlySet<string>
  close(): Promise<void>
}

export const CODE = '314159'

/** Starts the bank. It knows one code, and every consent is called `c`. */
export async function startStepwiseBank(id: string, sca: 'DECOUPLED' | 'EMBEDDED'): Promise<StepwiseBank> {
  const state = { consentStatus: 'received', consents: 0 }
  const openConsents = new Set<string>()
  const received: StepwiseBank['received'] = []
  const methods = ['SMS_OTP', 'CHIP_OTP'].map((authenticationType, index) => ({
    authenticationType,
    authenticationMethodId: `m${index}`,
  }))
  const authorisation = { authorisationId: 'au', scaStatus: 'psuAuthenticated' }

  function openConsent(): string {
    const consent = `c${++state.consents}`
    openConsents.add(consent)
    return consent
  }

  function respond(operation: string, body: string): [number, object] {
    switch (operation) {
      case 'POST /v1/consents':
        return [
          201,
          {
            consentId: openConsent(),
            consentStatus: 'received',
            _links: { startAuthorisation: { href: '/' } },
          },
        ]
      case 'GET /v1/consents/status':
        return [200, { consentStatus: state.consentStatus }]
      case 'POST /v1/consents/authorisations':
        return [
          201,
          sca === 'EMBEDDED' ? { ...authorisation, scaMethods: methods } : { ...authorisation, scaStatus: 'started' },
        ]
      case 'PUT /v1/consents/authorisations':
        if (body.includes('authenticationMethodId'))
          return [
            200,
            { scaStatus: 'scaMethodSelected', chosenScaMethod: methods[0], challengeData: { otpMaxLength: 6 } },
          ]
        if (!body.includes(CODE))
          return [401, { tppMessages: [{ category: 'ERROR', code: 'PSU_CREDENTIALS_INVALID' }] }]
        state.consentStatus = 'valid'
        return [200, { scaStatus: 'finalised' }]
      case 'GET /v1/consents/authorisations':
        return [200, { scaStatus: 'started' }]
      case 'GET /v1/accounts':
        return [
          200,
          {
            accounts: [{ resourceId: 'a1', iban: 'DE89370400440532013000', currency: 'EUR', cashAccountType: 'CACC' }],
          },
        ]
      case 'GET /v1/accounts/a1/balances':
        return [
          200,
          { balances: [{ balanceType: 'closingBooked', balanceAmount: { currency: 'EUR', amount: '12.50' } }] },
        ]
      default:
        return [operation.startsWith('DELETE') ? 204 : 404, {}]
    }
  }

  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const path = request.url!.replace(/\/c\d+(?=\/|$)/, '').replace(/\/au$/, '')
      const operation = `${request.method} ${path}`
      received.push({ operation, headers: request.headers, body })
      const named = /\/(c\d+)(?=\/|$)/.exec(request.url!)?.[1]
      if (request.method === 'DELETE' && named !== undefined) openConsents.delete(named)
      const consent = request.headers['consent-id']
      const isUnknown = consent !== undefined && !openConsents.has(String(consent))
      const [status, json] = isUnknown
        ? [403, { tppMessages: [{ category: 'ERROR', code: 'CONSENT_UNKNOWN' }] }]
        : respond(operation, body)
      response.writeHead(status, { 'content-type': 'application/json' }).end(status === 204 ? '' : JSON.stringify(json))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { authorizationServer: _none, clientId: _noId, ...members } = common
  return {
    received,
    openConsents,
    get consentStatus() {
      return state.consentStatus
    },
    set consentStatus(status) {
      state.consentStatus = status
    },
    registration: {
      ...members,
      bank: { id, name: sca === 'DECOUPLED' ? 'App Bank' : 'Code Bank', country: 'DE' },
      apiBase: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      version: '1.3.11',
      cardAccounts: false,
      sca,
      clientToken: false,
      waiting: { pollAfterSeconds: 1 },
      ...(sca === 'EMBEDDED' && { customerIdentification: { label: 'USER_NAME' } }),
    },
    close: () => new Promise((resolve) => void server.close(() => resolve())),
  }
}
