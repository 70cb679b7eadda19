import type { EventPayload, ReceivedEvent } from '../../connectors/index.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents } from '../consents/index.ts'
import type { NewMessage } from '../outbox/index.ts'
import type { Intake, IntakeResult, ReportedAlert } from './intake.ts'
import { eventDigestOf, type Reports } from './responses/reports.ts'

/** The dependencies of `createReceiver`. */
export interface ReceiverDependencies {
  readonly banks: Banks
  readonly consents: Consents
}

/** What follows from a part of an event. */
type Effect =
  | { readonly kind: 'ALERT'; readonly alert: ReportedAlert }
  | { readonly kind: 'MESSAGE'; readonly message: NewMessage }
  | { readonly kind: 'CONSENT_ENDED' }
  | { readonly kind: 'RESPONSE_REPORT'; readonly isKnown: boolean }

/** Creates the function that receives one event of a bank, pushed or polled. Its contract is that of `Alerts.receive`. */
export function createReceiver({ banks, consents }: ReceiverDependencies, intake: Intake, reports: Reports) {
  /** The effect of a part of an event; undefined if there is none. */
  async function effectOf(connectorId: string, bankId: string, payload: EventPayload): Promise<Effect | undefined> {
    switch (payload.kind) {
      case 'IGNORED':
        return undefined
      case 'CONSENT_CHECK_REQUIRED': {
        // These events are unsigned, so anybody can send them. One about an unknown consent is not stored.
        const subjectId = await consents.findConnectionByBankConsent(connectorId, payload.consentRef)
        if (subjectId === undefined) return undefined
        // Through the outbox, so that the check is made even if the bank does not respond now or this process ends.
        return { kind: 'MESSAGE', message: { topic: 'connection.check', subjectId, groupId: bankId } }
      }
      case 'CONSENT_REVOKED':
        // First, because revoking twice is harmless: if it fails, the bank's repetition of the event must not be ignored.
        await consents.revokeByBankConsent(connectorId, payload.consentRef)
        return { kind: 'CONSENT_ENDED' }
      // Like a revocation: repeating a report is harmless.
      case 'ALERT_DETAIL_VIEWED': {
        const bank = { bankId, connectorId }
        const isKnown = await reports.recordDetailViewed(bank, payload.eventId, payload.viewer)
        return { kind: 'RESPONSE_REPORT', isKnown }
      }
      case 'ALERT_RESPONSE_PROCESSED': {
        const isKnown = await reports.recordProcessed(bankId, payload.responseId, payload.isConfirmed)
        return { kind: 'RESPONSE_REPORT', isKnown }
      }
      case 'ALERT':
        return { kind: 'ALERT', alert: payload }
    }
  }

  return async (connectorId: string, received: ReceivedEvent): Promise<void> => {
    const { bankId, event, offeredResponses } = await banks.readEvent(connectorId, received)
    const effects: Effect[] = []
    for (const payload of event.payloads) {
      const effect = await effectOf(connectorId, bankId, payload)
      if (effect) effects.push(effect)
    }
    if (effects.length === 0) return
    const result = await intake.store({
      bankId,
      connectorId,
      // Banks can have one issuer, and each states its own: no bank can use up the ids of another one's events.
      key: { issuer: event.issuer, jtiDigest: eventDigestOf(bankId, event.jti) },
      eventId: event.jti,
      offeredResponses,
      alerts: effects.flatMap((effect) => (effect.kind === 'ALERT' ? [effect.alert] : [])),
      messages: effects.flatMap((effect) => (effect.kind === 'MESSAGE' ? [effect.message] : [])),
    })
    countOutcomes(connectorId, effects, result)
  }

  function countOutcomes(connectorId: string, effects: readonly Effect[], result: IntakeResult): void {
    if (result.isDuplicate) return void banks.countEvent(connectorId, 'DUPLICATE')
    const alertCount = effects.filter(({ kind }) => kind === 'ALERT').length - result.unknownSubjectCount
    if (alertCount > 0) banks.countEvent(connectorId, 'ALERT', alertCount)
    if (result.unknownSubjectCount > 0) banks.countEvent(connectorId, 'UNKNOWN_SUBJECT', result.unknownSubjectCount)
    for (const effect of effects)
      if (effect.kind === 'RESPONSE_REPORT')
        banks.countEvent(connectorId, effect.isKnown ? 'RESPONSE_REPORT' : 'UNKNOWN_SUBJECT')
    const endedCount = effects.filter(({ kind }) => kind === 'CONSENT_ENDED').length
    if (endedCount > 0) banks.countEvent(connectorId, 'CONSENT_ENDED', endedCount)
  }
}
