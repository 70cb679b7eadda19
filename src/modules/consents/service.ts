import { createAlertAccess } from './alert-access.ts'
import { createActivation } from './activation.ts'
import { createBankAccess } from './bank-access.ts'
import { createConsentLookup } from './consent-lookup.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { createEnding } from './ending.ts'
import { createEventAccess } from './event-access.ts'
import { createExpiry } from './expiry.ts'
import { createOptIn } from './opt-in.ts'
import { createReminders } from './reminders.ts'
import { createRejection } from './rejection.ts'
import { createRevocation } from './revocation.ts'
import { createSharedAccess } from './shared-access.ts'
import { createSharedAccounts } from './shared-accounts.ts'
import { createStores } from './stores.ts'
import { createSignInCompletion } from './sign-in-completion.ts'
import { createSignInSteps } from './sign-in-steps.ts'
import { createSubjects } from './subjects.ts'
import { createSuspension } from './suspension.ts'
import { createTokens } from './tokens.ts'
import { createIdleTokenRenewal } from './idle-tokens.ts'
import { createInteractions } from './interactions.ts'

/** What customers agreed to share, from the opt-in to the end, and the access that follows from it. */
export type Consents = ReturnType<typeof createConsents>

/** Creates the service: one group of functions for each job, each in a file of its own. */
export function createConsents(dependencies: ConsentsDependencies) {
  const stores = createStores(dependencies.database)
  const tokens = createTokens(dependencies, stores.connections)
  const subjects = createSubjects(dependencies, stores)
  const accounts = createSharedAccounts(dependencies, stores)
  const rejection = createRejection(dependencies, stores)
  const ending = createEnding(dependencies, stores, tokens)
  const revocation = createRevocation(dependencies, stores, rejection, ending, tokens)
  const expiry = createExpiry(dependencies, stores, rejection, ending)
  const { addCurrencies } = accounts
  const { revoke, revokeByOauthGrant, revokeByBankConsent, withdraw } = revocation

  return {
    ...createConsentLookup(dependencies, stores),
    ...createSharedAccess(dependencies, stores),
    ...createAlertAccess(dependencies),
    ...createEventAccess(dependencies),
    ...createBankAccess(dependencies, stores, tokens),
    ...subjects,
    addCurrencies,

    revoke,
    revokeByOauthGrant,
    revokeByBankConsent,
    withdraw,
    hasStoppedSharing: ending.hasStoppedSharing,

    /** From the customer's choice of a bank to the first token of the client. */
    optIn: {
      ...createOptIn(dependencies, stores, rejection),
      ...createSignInSteps(dependencies, stores, {
        rejection,
        completion: createSignInCompletion(dependencies, stores, { accounts, subjects }),
      }),
      ...createActivation(dependencies, stores, revocation.hasEndedAtBank),
      ...createInteractions(stores, rejection),
      reject: rejection.reject,
    },

    /** What the worker runs: handlers of outbox messages, and housekeeping. */
    jobs: {
      afterChange: ending.afterChange,
      endConnection: ending.endConnection,
      checkConnection: revocation.checkConnection,
      revokeAllOfClient: revocation.revokeAllOfClient,
      endSignIn: rejection.endSignIn,
      ...createSuspension(dependencies, stores),
      ...expiry,
      enqueueReminders: createReminders(dependencies),
      renewIdleTokens: createIdleTokenRenewal(dependencies, stores, tokens),
    },
  }
}
