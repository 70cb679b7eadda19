import { createOauthStore } from '../../src/entrypoints/oauth/index.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Transaction } from '../../src/kernel/transaction.ts'
import { disclosureStore } from '../../src/modules/accounts/disclosure-store.ts'
import { snapshotStore } from '../../src/modules/accounts/store.ts'
import { readStateStore } from '../../src/modules/alerts/read-state-store.ts'
import { deletePhrase, phraseStore } from '../../src/modules/alerts/phrase-store.ts'
import { responseStore } from '../../src/modules/alerts/responses/store.ts'
import { alertStore } from '../../src/modules/alerts/store.ts'
import { eventCountStore } from '../../src/modules/banks/event-count-store.ts'
import { eventStreamStore } from '../../src/modules/banks/event-stream-store.ts'
import { healthStore } from '../../src/modules/banks/health-store.ts'
import { certificationAccessStore } from '../../src/modules/banks/certification/access-store.ts'
import { attendedSignInStore } from '../../src/modules/banks/certification/sign-in-store.ts'
import { certificationStore } from '../../src/modules/banks/certification/store.ts'
import { credentialStore } from '../../src/modules/banks/credentials/store.ts'
import { noticeStore } from '../../src/modules/banks/notice-store.ts'
import { outageStore } from '../../src/modules/banks/outage-store.ts'
import { platformAccessStore } from '../../src/modules/banks/platform-access-store.ts'
import { bankStore } from '../../src/modules/banks/store.ts'
import { enrollmentStore } from '../../src/modules/clients/enrollment-store.ts'
import { organizationStore } from '../../src/modules/clients/organization-store.ts'
import { noticeStore as clientNoticeStore } from '../../src/modules/clients/notice-store.ts'
import { clientStore, quotaStore, usageStore } from '../../src/modules/clients/store.ts'
import { findActiveConsents } from '../../src/modules/consents/event-access-store.ts'
import { reminderStore } from '../../src/modules/consents/reminder-store.ts'
import { createStores } from '../../src/modules/consents/stores.ts'
import { claimStore } from '../../src/modules/deliveries/claim-store.ts'
import { settlementStore } from '../../src/modules/deliveries/settlement-store.ts'
import { attemptStore } from '../../src/modules/deliveries/attempt-store.ts'
import { requeueDeliveries } from '../../src/modules/deliveries/replay-store.ts'
import { deliveryStore } from '../../src/modules/deliveries/store.ts'
import { auditLogStore } from '../../src/modules/ledger/audit-log-store.ts'
import { scheduledJobStore } from '../../src/modules/jobs/store.ts'
import { ledgerStore } from '../../src/modules/ledger/store.ts'
import { mailStore } from '../../src/modules/mail/store.ts'
import { outboxStore } from '../../src/modules/outbox/store.ts'
import type { Slice } from '../../src/kernel/pagination.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { createResealer } from '../../src/storage/reseal.ts'
import { createSeal } from '../../src/storage/seal.ts'
import { callLineStore } from './balance-lines.ts'
import type { TestGateway } from './gateway.ts'
import { runWebhookStores } from './webhook-store-calls.ts'

/** Ends a transaction without a trace. */
class Undone extends Error {}

/**
 * Calls the functions of the stores that no journey of test/storage/plans.test.ts reaches, so that their statements are
 * sent. What they return does not matter there.
 */
export async function runStores(gateway: TestGateway): Promise<void> {
  const database = openDatabase(gateway.database.url, 4)
  const now = new Date()
  const keys = [1, 2].map((byte) => ({ id: `key-${byte}`, bytes: new Uint8Array(32).fill(byte) }))
  const seal = createSeal([keys[0]!, keys[1]!])
  const [consent] = await gateway.database.query<Record<'id' | 'client' | 'customer' | 'bank' | 'connection', string>>(
    `select id, client_id as client, customer_id as customer, bank_id as bank, connection_id as connection
     from consent where connection_id is not null limit 1`,
  )
  const [row] = await gateway.database.query<Record<'delivery' | 'alert' | 'account' | 'endpoint' | 'signIn', string>>(
    `select d.id as delivery, d.alert_id as alert, a.account_id as account, d.webhook_endpoint_id as endpoint,
       (select state_digest from bank_sign_in limit 1) as "signIn" from delivery d join alert a on a.id = d.alert_id limit 1`,
  )
  const [connector] = await gateway.database.query<{ id: string }>('select id from connector limit 1')
  const { id, client, customer, bank, connection } = consent!
  const connectorId = connector!.id
  const undone = (work: (tx: Transaction) => Promise<unknown>): Promise<void> =>
    database
      .transaction(async (tx) => {
        await work(tx)
        throw new Undone()
      })
      .catch((error: unknown) => {
        if (!(error instanceof Undone)) throw error
      })

  const clients = clientStore(database)
  const slice = { after: undefined, before: undefined, isBackward: false, limit: 100 }
  const place = { id, name: 'name', createdAt: now }
  const clientFilter = { statuses: ['ACTIVE'], organizationId: 'org', search: 'a' } as const
  await clients.listClients({}, { field: 'CREATED_AT', direction: 'DESC' }, { ...slice, after: place })
  await clients.listClients(clientFilter, { field: 'NAME', direction: 'ASC' }, { ...slice, before: place })
  await clients.clientPlace(client)
  await clients.clients()
  const phrases = phraseStore(database)
  await phrases.find({ clientId: client, customerId: customer })
  await phrases.replace({ clientId: client, customerId: customer }, { id: 'phrs_1', sealed: 'sealed' })
  await undone((tx) => deletePhrase(tx, id, now))
  await phrases.remove({ clientId: client, customerId: customer })
  const responses = responseStore(database)
  await responses.responsesTo([row!.alert])
  await responses.alertsOf('digest', bank)
  await responses.findPending('answ_none')
  await responses.addDetailViews(database, 'digest', [customer], now)
  await responses.findViewed('digest')
  await responses.deleteDetailViewsBefore(new Date(0))
  await undone(async (tx) => {
    await responses.lockQuestion(tx, row!.alert)
    await responses.givenResponses(tx, row!.alert)
    await responses.add(tx, {
      id: 'answ_1',
      alertId: row!.alert,
      clientId: client,
      consentId: id,
      answer: 'CALL_ME',
      sealedMessage: 'sealed',
      createdAt: now,
    })
    await responses.abandonPending(tx, row!.alert, 'IT_WAS_ME', now)
    await responses.endSending(tx, 'answ_1', 'SENT', now)
    await responses.settle(tx, 'answ_1', bank, 'CONFIRMED', now)
    await responses.markDetailViewed(tx, [row!.alert], now)
  })
  const organizations = organizationStore(database)
  const organization = (await organizations.findByName('Chatterbox'))!
  await organizations.find(organization.id)
  await organizations.list({ kinds: ['PLATFORM'], search: 'a' }, { ...slice, after: organization })
  await undone((tx) => organizations.lock(tx, organization.id))
  await undone((tx) => organizations.rename(tx, organization))
  await undone((tx) => organizations.findByName('name', tx))
  await undone((tx) => clients.lockWithAdmins(tx, client))
  await undone((tx) => clients.updateClient(tx, client, { pointsPerMinute: 1 }))
  await undone((tx) => clients.addOperations(tx, client, [{ hash: 'h', document: '{ customer { id } }' }]))
  await clients.registeredOperations(client, { ...slice, after: { hash: 'h', registeredAt: now } })
  await clients.findOperations(client, ['h'])
  await clients.document(client, 'h')
  await undone((tx) => clients.addAuthenticatedKey(tx, client, 'kid'))
  await quotaStore(database).spent(client, now)
  await usageStore(database).of(client, now, now, 'DAY')
  await usageStore(database).lastUsedAt([client])
  const enrollments = enrollmentStore(database)
  const enrollment = {
    salt: 's',
    secretDigest: 'd',
    reason: 'RECOVERY',
    openedAt: now,
    expiresAt: now,
    usedAt: null,
  } as const
  await undone(async (tx) => {
    await enrollments.clientsWithRootScope(tx)
    await enrollments.openFirst(tx, enrollment, now)
    await enrollments.replace(tx, enrollment)
    await enrollments.consume(tx, enrollment, now)
  })
  await enrollments.hasNoClients()
  await enrollments.current()

  await callMailAndNotices(database, client, slice, now)

  const disclosures = disclosureStore(database)
  await disclosures.reserveThreshold('key', now)
  await disclosures.releaseExact([{ disclosureKey: 'key', at: now }])
  await disclosures.releaseThreshold('key', now)
  await disclosures.findHistories(['key'])
  await disclosures.reset()
  await callLineStore(database, seal, { clientId: client, accountId: row!.account }, now)
  await snapshotStore(database, seal).releaseClaims([{ bankAccountKey: 'bank/account', claimedUntil: now }])
  await alertStore(database).find(database, [row!.alert])
  await undone((tx) => readStateStore(database).add(tx, client, [row!.alert], now))

  const banks = bankStore(database)
  const outages = outageStore(database)
  const notices = noticeStore(database)
  const runs = certificationStore(database)
  const timeSlice = { after: { at: now, id }, before: { at: now, id }, isBackward: false, limit: 100 }
  const outage = { id: 'w', bankId: bank, kind: 'INCIDENT', startsAt: now, endsAt: now } as const
  const notice = { id: 'ntce_test', connectorId, occurredAt: now, kind: 'DEGRADED', operation: null } as never
  const credentials = credentialStore(database)
  await credentials.ofConnectors([connectorId])
  await credentials.find('cred_none')
  await credentials.sealed('cred_none').catch(() => undefined)
  await noticeStore(database).exists(connectorId, 'CERTIFICATE_EXPIRED', now)
  await undone((tx) => banks.setIdentifiedClientId(tx, connectorId, 'PSDGB-FCA-1'))
  await undone((tx) =>
    credentials.add(tx, {
      id: 'cred_test',
      connectorId,
      kind: 'CLIENT_SECRET',
      sealed: '',
      publicKey: null,
      certificateRequest: null,
      certificateChain: null,
      expiresAt: null,
      createdAt: now,
      activatedAt: now,
      retiredAt: null,
    }),
  )
  await undone((tx) => credentials.retire(tx, 'cred_none', now))
  await undone((tx) => credentials.lockConnector(tx, connectorId))
  await undone((tx) =>
    credentials.activate(tx, 'cred_none', {
      certificateChain: '',
      expiresAt: now,
      activatedAt: now,
      publicKey: {},
      sealed: '',
    }),
  )
  await banks.banks([bank])
  await banks.findBankConflict({ id: bank, name: 'name', country: 'GB' }, client)
  const streams = eventStreamStore(database)
  await streams.claimChecks(['ACTIVE'], [], 1)
  await streams.find(connectorId)
  await streams.recordCheck(connectorId, { status: 'ENABLED', checkedAt: now, isPausedByGateway: false })
  await streams.recordUpdate(connectorId, 'PAUSED', now)
  await streams.startVerification(connectorId, 'digest', now)
  await streams.confirmVerification(connectorId, 'digest', now)
  await streams.cancelVerification(connectorId, 'digest')
  await undone((tx) => streams.checkNow(tx, connectorId))
  await eventCountStore(database).add([{ connectorId, day: now, outcome: 'ALERT', eventType: null, count: 1 }])
  await eventCountStore(database).find(connectorId, now, 1)
  await healthStore(database).addFailures([])
  await banks.activeBank(bank)
  await banks.partnerOf(bank)
  await banks.connectableConnectorIds([bank])
  await banks.connectorPosition(client, connectorId)
  await banks.connectorSlice(client, { statuses: ['ACTIVE'], standards: ['FDX'], bankIds: [bank] }, timeSlice)
  await healthStore(database).calls([connectorId], now)
  await outages.notOver([bank], now)
  await outages.find('w')
  await notices.add(notice)
  await notices.lastKind(connectorId, 'BALANCES')
  await notices.position(connectorId, 'ntce_test')
  await notices.slice(connectorId, timeSlice)
  await healthStore(database).addResponseIssues([{ connectorId, code: 'ENTRY_INVALID' as never, count: 1 }], now)
  await runs.addScheduledIfDue({ connectorId, id: 'cert_test', level: 'STATIC' }, now, { passed: 0, failed: 0 })
  await runs.certifyingRuns([connectorId])
  const attendedSignIns = attendedSignInStore(database)
  await attendedSignIns.find('cert_test')
  await attendedSignIns.findByLink('digest')
  await attendedSignIns.findByState('digest')
  await attendedSignIns.countAttempt('cert_test', 10, now)
  await undone(async (tx) => {
    await attendedSignIns.storeAttempt(tx, 'cert_test', { stateDigest: 'digest', sealed: '' }, now)
  })
  const accesses = certificationAccessStore(database)
  await accesses.save({ id: 'digest', runId: 'cert_none', sealed: '', createdAt: now }).catch(() => undefined)
  await accesses.find('digest')
  await accesses.ofRun('cert_test')
  await undone((tx) => accesses.idsOfRun(tx, 'cert_test').then(() => undefined))
  await accesses.delete('digest')
  await attendedSignIns.storeStep({ stateDigest: 'digest', stepClaimedAt: now }, '', now)
  await attendedSignIns.storeResult({ stateDigest: 'digest', stepClaimedAt: now }, '', now)
  await attendedSignIns.resume('cert_test', now)
  await undone(async (tx) => {
    const run = { id: 'cert_new', connectorId, level: 'ATTENDED', trigger: 'PARTNER', createdAt: now } as const
    await runs.add(tx, { ...run, wasCertified: false })
    const openSignIn = { runId: run.id, sealed: '', stepClaimedAt: null }
    await attendedSignIns.claimStep(openSignIn as never, now)
    await attendedSignIns.add(tx, { runId: run.id, linkDigest: 'digest', sealed: '', expiresAt: now })
    await runs.release(tx, run.id)
    await attendedSignIns.delete(tx, run.id)
  })
  await banks.activeConnectorIds([bank])
  await undone((tx) => runs.wasCertified(tx, 'cert_test').then(() => undefined))
  await runs.find('cert_test')
  await runs.position(connectorId, 'cert_test')
  await runs.slice(connectorId, timeSlice)
  await undone((tx) => outages.add(tx, outage))
  await undone((tx) => outages.end(tx, 'w', now))
  await undone((tx) => banks.setClientIdAtBank(tx, connectorId, 'name'))
  await undone((tx) => banks.setAcceptsNewConsents(tx, connectorId, false))
  const platformAccess = platformAccessStore(database)
  await platformAccess.platformAccess(bank)
  await platformAccess.bankIdsNotServing(organization.id)
  await platformAccess.findNotServed([{ bankId: bank, clientId: client }])
  await undone(async (tx) => {
    await platformAccess.lockPlatformAccess(tx, bank, 'EXCLUSIVE')
    await platformAccess.setPlatformAccess(tx, bank, { mode: 'ONLY', organizationIds: [organization.id] })
    await platformAccess.lockPlatformAccess(tx, bank, 'SHARED')
    await platformAccess.findNotServed([{ bankId: bank, clientId: client }], tx)
  })

  const stores = createStores(database)
  const position = { id, createdAt: now }
  const search = { owner: { clientId: client }, notServingBankIds: ['bank'], isBackward: false, limit: 100 }
  const page = { ...search, filter: {}, after: null, before: null }
  for (const filter of [
    { statuses: ['ACTIVE'], bankIds: [bank], expiringBefore: now },
    { statuses: ['SUSPENDED', 'REVOKED'] },
    { customerIds: ['sub'] },
    { grantIds: ['grant'] },
  ] as const)
    await stores.consents.findPage({ ...page, filter })
  await stores.consents.findPage({ ...page, after: position, before: position })
  await stores.consents.findPage({
    ...page,
    owner: { clientId: client, customerId: customer },
    before: position,
    isBackward: true,
  })
  await stores.consents.findByConnection(connection)
  await undone((tx) => stores.accounts.addCurrencies(tx, bank, 'digest', ['EUR']))
  await stores.consents.findActiveByClient(client, 100)
  await findActiveConsents(database.delivery, [id], now)
  await reminderStore.takeDueReminders(database.delivery, now, 500, [30, 7, 1])
  await undone(async (tx) => {
    await stores.consents.findActiveClients(tx, bank)
    await stores.consents.recordSuspended(tx, bank, [client], now, 100)
    await stores.consents.recordResumed(tx, bank, [client], now, 100)
    await stores.consents.isUnrecorded(tx, bank, { notServedIds: [client], servedIds: [client] })
  })
  await stores.receipts.findByConsent(id)
  await stores.receipts.completeOfBank([id], now)
  await stores.connections.discardAccess(connection, now)
  await stores.connections.releaseRenewal(connection, now)
  await stores.connections.end(connection, now)
  await undone((tx) => stores.consents.lockPending(tx, id))
  await undone((tx) => stores.consents.reject(tx, id, now, 'SYSTEM'))
  await undone((tx) => stores.accounts.unshare(tx, id))
  await undone((tx) => stores.connections.clearCustomerDigest(tx, connection))
  await undone((tx) => stores.customers.deleteUnusedSubject(tx, client, customer))
  await undone((tx) => stores.connections.findOtherCustomers(tx, connectorId, 'digest', [customer]))
  await undone((tx) => stores.connections.findOverlapping(tx, id, connection))
  await undone((tx) => stores.consents.moveToConnection(tx, customer, [connection], connection))
  await gateway.database.query("update bank_sign_in set sealed_data = 'x', used_at = null where state_digest = $1", [
    row!.signIn,
  ])
  const signIn = (await stores.signIns.find(row!.signIn))!
  await stores.signIns.isClaimedAt(row!.signIn, now)
  await undone((tx) => stores.signIns.replace(tx, { ...signIn, stateDigest: 'other', choiceDigest: 'other' }, now))
  await undone((tx) => stores.signIns.close(tx, id, now))
  await undone((tx) => stores.signIns.advance(tx, row!.signIn, 'y', true).catch(() => undefined))

  const deliveries = deliveryStore(database)
  await attemptStore(database).deleteBefore(new Date(0))
  await deliveries.deleteCreatedBefore(new Date(0))
  await alertStore(database).deleteCreatedBefore(new Date(0))
  await deliveries.findPending(id)
  const subject = { bankId: bank, customerId: customer, accountId: row!.account, clientId: null }
  await deliveries.moveToConsent(id, subject, { consentId: id, grantedAt: now })
  await deliveries.dropForConsent(id, now)
  await deliveries.find(client, row!.delivery)
  const deliveryFilter = { webhookEndpointId: row!.endpoint, since: now, until: now }
  await deliveries.listForClient(client, deliveryFilter, slice)
  await deliveries.listForClient(client, {}, { ...slice, isBackward: true })
  await deliveries.findMany(client, [row!.delivery])
  await deliveries.countFailed(client, now, 1)
  const test = { id: 'dlvr_test', eventType: 'endpoint.test', webhookEndpointId: row!.endpoint, body: '{}' } as const
  await undone(async (tx) => {
    await deliveries.countTests(tx, row!.endpoint, now)
    await deliveries.addTest(tx, { ...test, format: 'STANDARD_WEBHOOKS' }, now)
  })
  const ofEndpoint = { clientId: client, webhookEndpointId: row!.endpoint, createdSince: now }
  await undone((tx) => requeueDeliveries(tx, now, ofEndpoint, { ids: [row!.delivery] }))
  await undone((tx) => requeueDeliveries(tx, now, ofEndpoint, { since: now, until: now, limit: 1_001 }))
  await claimStore(database).release([{ id: row!.delivery, claimedUntil: now }])
  await settlementStore.drop(database.delivery, [{ id: row!.delivery, claimedUntil: now }], now)
  await deliveries.dropForEndpoint(row!.endpoint, now)
  const waiting = { webhookEndpointId: row!.endpoint, customerId: customer, sequence: 1, nextAttemptAt: new Date(0) }
  await settlementStore.postponeFollowing(database.delivery, [waiting])
  await runWebhookStores(database, undone, { clientId: client, endpointId: row!.endpoint })
  await ledgerStore(database).ofCustomer(customer, 100)
  await ledgerStore(database).deleteBefore(new Date(0))
  const auditLog = auditLogStore(database)
  await auditLog.clientIdsOfSameOrganization(client)
  for (const by of [{}, { clientIds: [client] }, { subjectIds: [client] }])
    await auditLog.search({ direction: 'desc', limit: 100, ...by } as never)
  const scheduledJobs = scheduledJobStore(database)
  await scheduledJobs.add(['retention'], now)
  await scheduledJobs.claim([{ name: 'retention', maxWaitMs: 1_000 }], 1, now, 1)
  await scheduledJobs.list()
  await scheduledJobs.extend('retention', now, 1)
  await scheduledJobs.finish('retention', now, now, now)
  await scheduledJobs.fail('retention', now, now, now, 'INTERNAL')
  await scheduledJobs.release('retention', now)
  await outboxStore(database).findFailing()
  await outboxStore(database).postpone(await messageOf(gateway), now, 'INTERNAL')
  await outboxStore(database).reschedule({ id: await messageOf(gateway), attemptCount: 0 } as never, now, 'INTERNAL')

  const store = createOauthStore({
    database,
    clock: systemClock,
    signals: { publish: () => Promise.resolve() } as never,
    consents: { revokeByOauthGrant: () => Promise.resolve(false) } as never,
    findClientMetadata: () => Promise.resolve(undefined),
  })
  await store.adapter('Session').findByUid('uid')
  await store.adapter('Device').findByUserCode('code')
  await store.adapter('AccessToken').revokeByGrantId('grant')
  await store
    .adapter('AuthorizationCode')
    .consume('code')
    .catch(() => undefined)
  await store.exists('AccessToken', 'digest')
  await store.deleteGrant('grant')
  await store.decideInteraction('visit', {})
  await store.detachInteractionSession('visit')
  await store.adapter('Session').destroy('session')
  await store.endSessions('customer')
  await store.signOut('session')
  await store.isSessionActive('uid')

  const reseal = createResealer(database, createSeal([keys[1]!, keys[0]!]))
  await reseal.start()
  await reseal.countRemainingColumns()
  // What the gateway sealed has a key that is not here; the statements are sent nevertheless.
  await reseal.resealBatch(100).catch(() => undefined)
  await gateway.database.query('update snapshot set sealed = null')
  await database.close()
}

async function messageOf({ database }: TestGateway): Promise<string> {
  const [message] = await database.query<{ id: string }>('select id from outbox_message limit 1')
  return message!.id
}

async function callMailAndNotices(database: Database, clientId: string, slice: Slice<never>, now: Date): Promise<void> {
  const notices = clientNoticeStore(database)
  await notices.add(
    database.delivery,
    [{ id: 'ntce_test', clientId, kind: 'WEBHOOK_ENDPOINT_GONE', subjectId: 'x' }],
    now,
  )
  await notices.slice(clientId, slice)
  await notices.position(clientId, 'ntce_test')
  await notices.deleteBefore(now)
  const mails = mailStore(database)
  const mail = {
    id: 'mail_test',
    template: 'WEBHOOK_ENDPOINT_GONE',
    recipient: { kind: 'CLIENT', id: clientId },
  } as const
  await mails.add(database.delivery, [{ ...mail, subjectId: 'x' }], { now, since: now, maxCount: 1 })
  const [claimed] = await mails.claim(now, new Date(0), 1, 1)
  await mails.reschedule(claimed!, now)
  await mails.end(claimed!, 'SENT')
  await mails.deleteQueuedBefore(now)
}
