import { withAlertResponses } from './alert-responses.ts'
import { berlinGroup } from './berlin-group/index.ts'
import { cdr } from './cdr/index.ts'
import type { Standard, StandardId } from './connector.ts'
import { withEventStream } from './event-stream.ts'
import { fdx } from './fdx/index.ts'
import { obie } from './obie/index.ts'

/** All supported bank standards, by id. */
export const STANDARDS: Readonly<Record<StandardId, Standard>> = {
  OBIE: withAlertResponses(withEventStream(obie)),
  BERLIN_GROUP: withAlertResponses(withEventStream(berlinGroup)),
  FDX: withAlertResponses(withEventStream(fdx)),
  CDR: withAlertResponses(withEventStream(cdr)),
}

/** Whether `id` is the id of a supported standard. */
export const isStandardId = (id: string): id is StandardId => Object.hasOwn(STANDARDS, id)

export { bankProfiles, completeProfile, parseProfiles, profileRevision, type BankProfile } from './profile-catalogue.ts'
export { fillOpenMembers, nameOpenMembers, type OpenRegistration } from './open-members.ts'
export { createEndpointCheck } from './endpoints.ts'
export { endpointsOf, metadataFaults, type ServerMetadata } from './metadata-faults.ts'
export {
  metadataUrlOf,
  openRequirements,
  planRequests,
  requestedDataOf,
  requirementsOf,
  type PlannedRequest,
  type Requirement,
} from './plan.ts'
export { describeAuthentication, describeSignIn } from './sign-in-description.ts'
export { createRequestCheck } from './request-check.ts'
export { validateEventTime } from './event-time.ts'
export { isOpaqueId } from './wire-members.ts'
export type { CustomerAnswer } from './alert-response-rules.ts'
export type {
  AlertSubject,
  BankEvent,
  EventKeys,
  EventPayload,
  IgnoredReason,
  ReceivedEvent,
  StatedQuestion,
  StreamEvent,
} from './bank-event.ts'
export type { EventStreamStatus } from './stream-status.ts'
export { createEventKeys } from './event-keys.ts'
export { resolveOauthProfile, type GatewayAlgorithm } from './oauth-profile.ts'
export { registrationFaults } from './registration-faults.ts'
export { sendToBank, withBankErrors } from './send-to-bank.ts'
export { createUrlSchema } from './url-schema.ts'
export type { SigningKey } from './credentials.ts'
export { RESPONSE_ISSUES, type ResponseIssue } from './response-issues.ts'
export type {
  Balances,
  BankAccess,
  BankAccount,
  BankBalance,
  BankInterface,
  ConsentRequest,
  EventErrorCode,
  PolledEvent,
  RejectedEvent,
  PollEvents,
  ConnectorTools,
  PresentCustomer,
  Registration,
  EventAcknowledgements,
  StandardId,
} from './connector.ts'
export {
  canPollAgain,
  isStepClaimable,
  storedStep,
  toSignInInput,
  viewOfStep,
  type SignInView,
  type StepInput,
  type StoredStep,
} from './sign-in-progress.ts'
export type {
  OpenSignInStep,
  PendingSignIn,
  SignInValues,
  SignInField,
  SignInInput,
  SignInKind,
  SignInStep,
} from './sign-in.ts'
