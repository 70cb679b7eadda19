import { KeyObject } from 'node:crypto'
import { generateKeyPair } from 'jose'
import { createSelfSignedCertificate } from '../../kernel/certificate.ts'
import { DAY_MS, addMs } from '../../kernel/clock.ts'
import type { World } from '../../kernel/world.ts'

/** The bank pins the certificate, so it is not renewed automatically: the connector must be registered again before it expires. */
const CERTIFICATE_LIFETIME_MS = 1_095 * DAY_MS

/** The connector's own key for mutual TLS and the certificate that its bank pins, both in PEM. */
export async function createTlsIdentity(
  connectorId: string,
  { clock, randomness }: Pick<World, 'clock' | 'randomness'>,
): Promise<{ certificate: string; key: string }> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const key = KeyObject.from(privateKey)
  const notBefore = clock.now()
  const notAfter = addMs(notBefore, CERTIFICATE_LIFETIME_MS)
  const certificateOptions = { commonName: `guichet ${connectorId}`, serial: randomness.bytes(8), notBefore, notAfter }
  return {
    certificate: createSelfSignedCertificate(key, certificateOptions),
    key: String(key.export({ type: 'pkcs8', format: 'pem' })),
  }
}
