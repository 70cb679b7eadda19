import { X509Certificate } from 'node:crypto'
import { DAY_MS, subtractMs, type Clock } from '../../../kernel/clock.ts'
import type { CertificateUse } from '../../../kernel/certificate-request.ts'
import type { Database } from '../../../storage/database.ts'
import type { Connectors } from '../connectors.ts'
import type { Notices } from '../notices.ts'
import { credentialInUse } from './model.ts'
import type { CredentialStore } from './store.ts'

/** A notice is due when a certificate in use has these numbers of days left. */
const NOTICE_DAYS = [30, 14, 7, 1]

/** A certificate in use and when it expires. */
export interface CertificateExpiry {
  readonly connectorId: string
  readonly use: CertificateUse
  readonly expiresAt: Date
}

/** The dependencies of the watch. */
export interface ExpiryWatchDependencies {
  readonly store: CredentialStore
  readonly notices: Notices
  readonly connectors: Pick<Connectors, 'connectorsWithCertificates'>
  readonly database: Database
  readonly clock: Clock
}

/** Watches the expiry of the gateway's certificates at banks: of those that others issued, and of its own. */
export function createExpiryWatch({ store, notices, connectors, database, clock }: ExpiryWatchDependencies) {
  async function certificateExpiries(): Promise<CertificateExpiry[]> {
    const inUse = await connectors.connectorsWithCertificates()
    const credentials = await store.ofConnectors(inUse.map(({ id }) => id))
    return inUse.flatMap(({ id, clientCertificate }) => {
      const own = credentials.filter(({ connectorId }) => connectorId === id)
      return (['TRANSPORT', 'SIGNING'] as const).flatMap((use): CertificateExpiry[] => {
        // An expired certificate is in use no more, but missed all the same until there is a newer one.
        const issued = credentialInUse(own, use, clock.now()) ?? newest(own.filter(({ kind }) => kind === use))
        const selfSigned = use === 'TRANSPORT' ? clientCertificate : null
        const expiresAt =
          issued?.expiresAt ?? (selfSigned === null ? null : new Date(new X509Certificate(selfSigned).validTo))
        return expiresAt ? [{ connectorId: id, use, expiresAt }] : []
      })
    })
  }

  return {
    /** When the gateway's certificates for connectors that are not RETIRED expire. */
    certificateExpiries,

    /** Records a notice for each certificate in use that has 30, 14, 7 or 1 days left, and one when it has expired. */
    recordExpiryNotices: (): Promise<number | undefined> =>
      // One process at a time, so that no notice is recorded twice.
      database.withAdvisoryLock('certificate-notices', async () => {
        let recordedCount = 0
        for (const { connectorId, expiresAt } of await certificateExpiries()) {
          const due = dueNotice(expiresAt, clock.now())
          if (!due || (await notices.exists(connectorId, due.kind, due.since))) continue
          await notices.record(connectorId, due.kind)
          recordedCount++
        }
        return recordedCount
      }),
  }
}

/** The notice that should exist by now, and the time since which one counts; undefined if none is due. */
function dueNotice(
  expiresAt: Date,
  now: Date,
): { readonly kind: 'CERTIFICATE_EXPIRING' | 'CERTIFICATE_EXPIRED'; readonly since: Date } | undefined {
  if (expiresAt <= now) return { kind: 'CERTIFICATE_EXPIRED', since: expiresAt }
  const since = NOTICE_DAYS.map((days) => subtractMs(expiresAt, days * DAY_MS)).findLast((from) => from <= now)
  return since && { kind: 'CERTIFICATE_EXPIRING', since }
}

const newest = <T extends { readonly activatedAt: Date | null; readonly retiredAt: Date | null }>(
  certificates: readonly T[],
): T | undefined =>
  certificates
    .filter(({ activatedAt, retiredAt }) => activatedAt !== null && retiredAt === null)
    .sort((one, other) => other.activatedAt!.getTime() - one.activatedAt!.getTime())[0]
