import { KeyObject } from 'node:crypto'
import { generateKeyPair } from 'jose'
import { selfSignedCertificate } from '../../kernel/certificate.ts'
import { DAY_MS, later } from '../../kernel/clock.ts'
import type { World } from '../../kernel/world.ts'

/** The certificate is pinned by the bank and not renewed by itself: the connector is registered again before it ends. */
const CERTIFICATE_MS = 1_095 * DAY_MS

/** A key of the connector's own for mutual TLS, and the certificate that its bank pins; both in PEM. */
export async function newTlsIdentity(
  connectorId: string,
  { clock, randomness }: Pick<World, 'clock' | 'randomness'>,
): Promise<{ certificate: string; key: string }> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const key = KeyObject.from(privateKey)
  const from = clock.now()
  const to = later(from, CERTIFICATE_MS)
  const facts = { name: `guichet ${connectorId}`, serial: randomness.bytes(8), from, to }
  return { certificate: selfSignedCertificate(key, facts), key: String(key.export({ type: 'pkcs8', format: 'pem' })) }
}
