import { isOpaqueId, validateEventTime, type AlertSubject } from '../../connectors/index.ts'
import {
  isBankAlertType,
  type AlertAction,
  type AlertAnswer,
  type AlertSeverity,
  type AlertType,
} from '../../kernel/alert-vocabulary.ts'
import type { Clock } from '../../kernel/clock.ts'
import type { InputFault } from '../../kernel/errors.ts'
import { digest } from '../../kernel/ids.ts'
import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import type { Banks } from '../banks/index.ts'
import type { Intake } from './intake.ts'

/** An alert that a bank partner reports by a mutation. */
export interface PublishedAlert {
  readonly connectorId: string
  /** Exactly one: the bank's ID of the account, or of the person. */
  readonly accountRef?: string | null | undefined
  readonly customerRef?: string | null | undefined
  readonly type: AlertType
  readonly severity: AlertSeverity
  readonly requestedAction: AlertAction
  readonly occurredAt: Date
  /** The responses that the bank takes to it. If it does not say, all that its registration names. */
  readonly responseOptions?: readonly AlertAnswer[] | null | undefined
  /** Until when the bank takes them. */
  readonly respondBy?: Date | null | undefined
  /** The same key names the same alert. */
  readonly idempotencyKey: string
}

/** What became of it. It does not say whether anybody shares the account. */
export interface PublishResult {
  readonly eventId: string
  /** Whether an alert with the same key was reported before. Then nothing was stored. */
  readonly isDuplicate: boolean
}

/** The issuer of these events. Their digest has the ID of the connector where that of a bank's event has the ID of the bank. */
const ISSUER = 'guichet:publish-alert'

/**
 * Creates the function that stores an alert as if the bank had sent it as an event. Throws `NOT_FOUND` if events of the connector
 * are not accepted, and `INVALID_INPUT` with every fault.
 */
export function createPublishing(
  { banks, clock }: { readonly banks: Banks; readonly clock: Clock },
  intake: Intake,
): (alert: PublishedAlert) => Promise<PublishResult> {
  return async (published) => {
    const { connectorId, accountRef, customerRef, occurredAt: statedAt, idempotencyKey, type, ...alert } = published
    const { bankId, toAccountRefs, offeredResponses } = await banks.resolveAlertAccount(connectorId)
    const occurredAt = validateEventTime(statedAt, clock.now())
    const faults: InputFault[] = [
      ...refFaults('accountRef', accountRef),
      ...refFaults('customerRef', customerRef),
      ...(occurredAt ? [] : [faultAt(['occurredAt'], 'must be in the last 30 days, and not in the future')]),
    ]
    if (!isBankAlertType(type)) faults.push(faultAt(['type'], 'is reported by the gateway itself, not by banks'))
    if (faults.length > 0 || !occurredAt || !isBankAlertType(type)) throw invalidInputError(faults)
    const subject: AlertSubject = accountRef
      ? { kind: 'ACCOUNT', refs: toAccountRefs(accountRef) }
      : { kind: 'CUSTOMER', customerRefs: [customerRef!] }
    const jtiDigest = digest(JSON.stringify([connectorId, idempotencyKey]))
    const eventId = `evnt_${jtiDigest}`
    const { severity, requestedAction, responseOptions, respondBy } = alert
    const question = { options: responseOptions ?? undefined, respondBy: respondBy ?? undefined }
    const { isDuplicate, unknownSubjectCount } = await intake.store({
      bankId,
      connectorId,
      key: { issuer: ISSUER, jtiDigest },
      eventId,
      offeredResponses,
      alerts: [{ type, severity, requestedAction, subject, occurredAt, question }],
      messages: [],
    })
    banks.countEvent(connectorId, isDuplicate ? 'DUPLICATE' : unknownSubjectCount > 0 ? 'UNKNOWN_SUBJECT' : 'ALERT')
    return { eventId, isDuplicate }
  }
}

function refFaults(name: string, ref: string | null | undefined): InputFault[] {
  if (ref === null || ref === undefined || isOpaqueId(ref)) return []
  return [faultAt(['subject', name], 'must have 1 to 1,024 printable characters, and must not be `.` or `..`')]
}
