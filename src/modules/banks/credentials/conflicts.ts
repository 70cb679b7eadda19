import { X509Certificate } from 'node:crypto'
import type { CertificateUse } from '../../../kernel/certificate-request.ts'
import { faultAt, invalidInputError } from '../../../kernel/input-faults.ts'
import { jwkThumbprint } from '../../../kernel/public-keys.ts'
import type { Credential } from './model.ts'

/** Throws `STATE_CONFLICT` if the certificate is stored already, as after a repeated or concurrent upload. */
export function requireNewCertificate(
  leaf: X509Certificate,
  use: CertificateUse,
  present: readonly Credential[],
): void {
  const isStored = present.some(
    ({ kind, certificateChain }) =>
      kind === use && certificateChain !== null && new X509Certificate(certificateChain).raw.equals(leaf.raw),
  )
  if (isStored) throw invalidInputError([faultAt(['certificateChain'], 'is stored already', 'STATE_CONFLICT')])
}

/**
 * Throws `STATE_CONFLICT` if the key ID is that of another key of the connector: a bank that looks it up would find two keys. One key
 * can have several certificates.
 */
export function requireUnambiguousKeyId(
  key: Readonly<Record<string, unknown>>,
  ownKeys: unknown,
  present: readonly Credential[],
): void {
  const { keys } = ownKeys as { keys: Readonly<Record<string, unknown>>[] }
  const published = [
    ...keys,
    ...present.flatMap(({ kind, publicKey }) => (kind === 'SIGNING' && publicKey ? [publicKey] : [])),
  ]
  const isTaken = published.some((other) => other['kid'] === key['kid'] && jwkThumbprint(other) !== jwkThumbprint(key))
  if (isTaken)
    throw invalidInputError([faultAt(['keyId'], 'must not be that of another key of the connector', 'STATE_CONFLICT')])
}
