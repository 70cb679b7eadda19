import { CompactSign, importJWK } from 'jose'
import type { SigningKey } from '../../../connectors/index.ts'
import type { CertificationRun, Connector } from '../model.ts'
import { checksNotAt } from './checks.ts'

/**
 * Signs the result of a run as a JWS that a partner can verify offline. The key is the connector's own, so the bank already has
 * its public part.
 */
export async function signReport(
  { id, bankId, standard, registration, profile, profileRevision }: Connector,
  { id: run, level, trigger, startedAt, status, checks, finishedAt }: CertificationRun,
  issuer: string,
  key: SigningKey,
): Promise<string> {
  const { apiBase, authorizationServer } = registration
  const version = 'version' in registration ? String(registration.version) : null
  const connectorClaims = {
    connector: id,
    bank: bankId,
    standard,
    version,
    profile,
    profileRevision,
    apiBase,
    authorizationServer,
  }
  const runClaims = { run, level, trigger, startedAt, finishedAt, status, checks, notShown: checksNotAt(level) }
  const alg = key.alg ?? 'ES256'
  return new CompactSign(Buffer.from(JSON.stringify({ iss: issuer, ...connectorClaims, ...runClaims })))
    .setProtectedHeader({ alg, kid: key.kid, typ: 'certification+jws' })
    .sign(await importJWK({ ...key }, alg))
}
