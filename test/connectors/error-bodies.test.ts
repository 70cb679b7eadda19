import { describe, expect, test } from 'vitest'
import type { StandardId } from '../../src/connectors/index.ts'
import { balancesOf, CANARY, connect } from '../support/standards.ts'

const CDR_REVOKED = 'urn:au-cds:error:cds-all:Authorisation/RevokedConsent'

/** What a bank answers, and the code that it leads to. */
const ANSWERS: [
  id: StandardId,
  what: string,
  status: number,
  body: unknown,
  code: string,
  headers?: Record<string, string>,
][] = [
  [
    'OBIE',
    'a bare error',
    400,
    { ErrorCode: 'UK.OBIE.Resource.InvalidConsentStatus', Message: CANARY },
    'RECONNECT_REQUIRED',
  ],
  ['OBIE', 'a list of errors', 400, [{ ErrorCode: 'U028', Message: CANARY }], 'RECONNECT_REQUIRED'],
  ['OBIE', 'one error in place of a list', 400, { Errors: { ErrorCode: 'U028' } }, 'RECONNECT_REQUIRED'],
  ['OBIE', 'an error in other words', 400, { errors: [{ errorCode: 'uk.obie.reauthenticate' }] }, 'RECONNECT_REQUIRED'],
  ['OBIE', 'a nested error', 500, { fault: { detail: { Errors: [{ ErrorCode: 'U028' }] } } }, 'RECONNECT_REQUIRED'],
  ['OBIE', 'an OAuth error', 400, { error: 'invalid_token', error_description: CANARY }, 'RECONNECT_REQUIRED'],
  ['OBIE', 'an OAuth error of the server', 400, { error: 'temporarily_unavailable' }, 'BANK_UNAVAILABLE'],
  ['OBIE', 'null in place of the list', 404, { Errors: null }, 'BALANCE_NOT_PROVIDED'],
  [
    'OBIE',
    'a code that is no text',
    400,
    { Errors: [{ ErrorCode: { U028: 1 } }, { ErrorCode: null }] },
    'BANK_REFUSED',
  ],
  ['OBIE', 'a code in a description only', 400, { Message: 'U028' }, 'BANK_REFUSED'],
  ['OBIE', 'the name of an inherited property', 400, { ErrorCode: 'constructor', code: '__proto__' }, 'BANK_REFUSED'],
  ['OBIE', 'HTML', 403, '<html><body>U028</body></html>', 'RECONNECT_REQUIRED'],
  ['OBIE', 'an empty body', 400, '', 'BANK_REFUSED'],
  ['OBIE', 'deep nesting', 400, `${'{"a":'.repeat(50)}{"ErrorCode":"U028"}${'}'.repeat(50)}`, 'BANK_REFUSED'],
  ['OBIE', 'a mark before the JSON', 400, '\ufeff{"Errors":[{"ErrorCode":"U028"}]}', 'RECONNECT_REQUIRED'],
  ['BERLIN_GROUP', 'a bare list', 401, [{ code: 'CONSENT_EXPIRED', text: CANARY }], 'RECONNECT_REQUIRED'],
  [
    'BERLIN_GROUP',
    'one message in place of a list',
    400,
    { tppMessages: { code: 'CONSENT_INVALID' } },
    'RECONNECT_REQUIRED',
  ],
  [
    'BERLIN_GROUP',
    'a problem of RFC 7807',
    403,
    { type: 'https://x', status: 403, code: 'RESOURCE_UNKNOWN' },
    'BALANCE_NOT_PROVIDED',
  ],
  [
    'BERLIN_GROUP',
    'a message with null members',
    429,
    { tppMessages: [{ category: null, code: 'ACCESS_EXCEEDED', text: null }] },
    'BANK_QUOTA_EXHAUSTED',
  ],
  ['BERLIN_GROUP', 'too many requests without a code', 429, 'slow down', 'BANK_RATE_LIMITED'],
  ['BERLIN_GROUP', 'a code in lower case', 400, { tppMessages: [{ code: 'consent_expired' }] }, 'RECONNECT_REQUIRED'],
  ['CDR', 'a bare error', 400, { code: CDR_REVOKED, title: CANARY }, 'RECONNECT_REQUIRED'],
  [
    'CDR',
    'a code of the bank beside that of the standard',
    422,
    { errors: [{ code: '0001', meta: { urn: CDR_REVOKED } }] },
    'RECONNECT_REQUIRED',
  ],
  [
    'CDR',
    'an unknown code before a known one',
    400,
    { errors: [{ code: 'X' }, { code: CDR_REVOKED }] },
    'RECONNECT_REQUIRED',
  ],
  ['FDX', 'a nested error', 404, { error: { code: 701, message: CANARY } }, 'BALANCE_NOT_PROVIDED'],
  ['FDX', 'a list of errors', 409, { errors: [{ code: '705' }] }, 'BALANCE_NOT_PROVIDED'],
  ['FDX', 'an OAuth error', 400, { error: 'invalid_grant' }, 'RECONNECT_REQUIRED'],
  [
    'FDX',
    'a challenge',
    400,
    '',
    'RECONNECT_REQUIRED',
    { 'www-authenticate': 'Bearer realm="x", error="invalid_token"' },
  ],
  ['FDX', 'a challenge without an error', 400, '', 'BANK_REFUSED', { 'www-authenticate': 'Bearer realm="x"' }],
]

describe('the error of a bank', () => {
  test.each(ANSWERS)('%s: %s with the status %i', async (id, _what, status, body, code, headers = {}) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const { bank, log } = connect(id, () => ({ status, headers, text }))
    const failure = await balancesOf(bank).catch((error: unknown) => error)
    expect(failure).toMatchObject({ name: 'GatewayError', code })
    const shown = `${JSON.stringify(failure)} ${(failure as Error).stack} ${log.join()}`
    expect(shown).not.toContain(CANARY)
    expect(shown).not.toContain('U028')
  })
})
