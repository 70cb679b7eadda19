import { CompactSign, importJWK } from 'jose'
import type { SigningKey } from '../../../connectors/index.ts'
import type { CertificationRun, Connector } from '../model.ts'

/**
 * Signs the result of a run as a JWS that a partner can verify offline. The key is the connector's own, so the bank already has
 * its public part.
 */
export async function signReport(
  { id, bankId, standard, registration }: Connector,
  { id: run, trigger, startedAt, status, checks, finishedAt }: CertificationRun,
  issuer: string,
  key: SigningKey,
): Promise<string> {
  const { apiBase, authorizationServer } = registration
  const { alg = 'ES256' } = key
  const connectorClaims = { connector: id, bank: bankId, standard, apiBase, authorizationServer }
  const report = { iss: issuer, run, trigger, startedAt, finishedAt, ...connectorClaims, status, checks }
  return new CompactSign(Buffer.from(JSON.stringify(report)))
    .setProtectedHeader({ alg, kid: key.kid, typ: 'certification+jws' })
    .sign(await importJWK({ ...key }, alg))
}
