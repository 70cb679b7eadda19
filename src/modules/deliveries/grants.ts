import type { Sql } from '../../storage/database.ts'
import type { Consents, Grant } from '../consents/index.ts'
import type { ClaimedDelivery, DeliverySubject } from './model.ts'

type SubjectOfKind<Kind extends DeliverySubject['kind']> = Extract<DeliverySubject, { readonly kind: Kind }>
type DeliveryAbout<Kind extends DeliverySubject['kind']> = ClaimedDelivery & { readonly subject: SubjectOfKind<Kind> }

const isAbout =
  <Kind extends DeliverySubject['kind']>(kind: Kind) =>
  (delivery: ClaimedDelivery): delivery is DeliveryAbout<Kind> =>
    delivery.subject?.kind === kind

/**
 * The grants under which these deliveries may be sent now, by the ID of the delivery. One that is about a customer and has no grant
 * may not be sent.
 */
export async function findGrantsOf(
  sql: Sql,
  consents: Consents,
  claimed: readonly ClaimedDelivery[],
): Promise<ReadonlyMap<string, Grant>> {
  const aboutAlerts = claimed.filter(isAbout('ALERT'))
  const aboutConsents = claimed.filter(isAbout('CONSENT'))
  const grantsForAlerts = await consents.findGrantsForAlerts(
    sql,
    aboutAlerts.map(({ subject }) => subject),
  )
  const grantByConsent = await consents.findGrants(
    sql,
    aboutConsents.map(({ subject }) => subject.consentId),
  )
  const found = [
    ...aboutAlerts.map((delivery, index) => [delivery.id, selectGrant(delivery, grantsForAlerts[index]!)] as const),
    ...aboutConsents.map(({ id, subject }) => [id, grantByConsent.get(subject.consentId)] as const),
  ]
  return new Map(found.flatMap(([id, grant]) => (grant ? [[id, grant]] : [])))
}

/**
 * The grant that the delivery of an alert is sent under: by the consent that it was scheduled for, or by another of the same client
 * that the customer had given by then. A consent does not cover alerts from before it was given.
 */
function selectGrant(
  { consentId, subject, endpoint: { clientId } }: DeliveryAbout<'ALERT'>,
  grants: readonly Grant[],
): Grant | undefined {
  const ofClient = grants.filter((grant) => grant.clientId === clientId)
  return (
    ofClient.find((grant) => grant.consentId === consentId) ??
    ofClient.find(({ grantedAt }) => grantedAt <= subject.createdAt)
  )
}
