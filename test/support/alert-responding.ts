import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import type { UserError } from '../../src/kernel/user-errors.ts'
import { push, signEvent } from './bank-keys.ts'
import { removeAlerts } from './delivery-tools.ts'
import { ALL_SCOPES, eventually, type TestGateway } from './gateway.ts'

/** The scopes of a customer who can respond to alerts. */
export const RESPONDING_SCOPES = [...ALL_SCOPES, 'alerts:respond']
/** Northbank's ID of the card of its customer `bo`. */
export const BOS_CARD = 'nb-10003'

/** An alert as a client reads it. */
export interface ShownAlert {
  readonly id: string
  readonly responseOptions: readonly string[]
  readonly respondBy: string | null
  readonly response: { readonly answer: string; readonly status: string } | null
}
const FIELDS = 'id responseOptions respondBy response { answer status respondedAt }'

/** The operation of `respond`. */
export const RESPOND_TO_ALERT = `mutation ($input: RespondToAlertInput!) {
  respondToAlert(input: $input) { alert { ${FIELDS} } userErrors { code path message } } }`

/** The result of `RESPOND_TO_ALERT`. */
export interface RespondPayload {
  readonly alert: ShownAlert | null
  readonly userErrors: readonly UserError[]
}

/** What the fraud desk of a sandbox bank has received and done. */
export interface FraudDeskState {
  readonly responses: readonly {
    readonly jti: string
    readonly answer: string
    readonly account: string | null
    readonly isConfirmed: boolean
  }[]
  readonly frozenAccounts: readonly string[]
}

type RespondingBank = 'northbank' | 'southbank'

/** Alerts, the answers that customers give to them, and what sandbox banks report about both. */
export function createRespondingTools(gateway: TestGateway) {
  const deskUrl = (bank: RespondingBank): string => `${gateway.sandbox.banks[bank]}/sandbox/alert-responses`

  /** The alerts that the token's customer sees, newest first. */
  async function alertsOf(token: Token): Promise<readonly ShownAlert[]> {
    const { data, errors } = await gateway.ask(token, `{ customer { alerts { nodes { ${FIELDS} } } } }`)
    if (errors) throw new Error(JSON.stringify(errors))
    return (data as { customer: { alerts: { nodes: ShownAlert[] } } }).customer.alerts.nodes
  }

  /** The status of the answer to an alert. */
  const statusOf = async (token: Token, id: string): Promise<string | undefined> =>
    (await alertsOf(token)).find((alert) => alert.id === id)?.response?.status

  return {
    alertsOf,
    statusOf,
    /** Resolves once the answer to an alert has this status. */
    untilStatus: (token: Token, id: string, status: string) =>
      eventually(`status ${status}`, async () => (await statusOf(token, id)) === status),

    /** Northbank reports an alert about `BOS_CARD`. Returns it once the token's customer sees it. */
    async raiseAlert(token: Token): Promise<ShownAlert> {
      const before = (await alertsOf(token)).map(({ id }) => id)
      expect(await gateway.alert('northbank', { account: BOS_CARD, type: 'UNUSUAL_ACTIVITY_REVIEW' })).toEqual([202])
      return eventually('the alert', async () => (await alertsOf(token)).find(({ id }) => !before.includes(id)))
    },

    /** Responds to an alert. Null if the token may not use the mutation. */
    async respond(
      token: Token,
      alertId: string,
      answer: string,
      idempotencyKey?: string,
    ): Promise<RespondPayload | null | undefined> {
      const { data } = await gateway.ask(token, RESPOND_TO_ALERT, { input: { alertId, answer, idempotencyKey } })
      return data?.['respondToAlert'] as RespondPayload | null | undefined
    },

    /** What the fraud desk of a bank shows. */
    fraudDesk: async (bank: RespondingBank = 'northbank'): Promise<FraudDeskState> =>
      (await (await fetch(deskUrl(bank))).json()) as FraudDeskState,

    /** The `jti` of the event with which Northbank reported its newest alert. */
    newestEventId(): string {
      const state = JSON.parse(readFileSync(`${gateway.dataDir}/sandbox/northbank.json`, 'utf8')) as {
        fraudDesk: { alerts: Record<string, string> }
      }
      return Object.keys(state.fraudDesk.alerts).at(-1)!
    },

    /** A bank pushes an event about a subject: a person, `BOS_CARD` if it is null, or as stated. Returns the status of the response. */
    async report(
      type: string,
      event: Record<string, string>,
      about: string | object | null = 'bo',
      bank: RespondingBank = 'northbank',
    ): Promise<number> {
      const iss = gateway.sandbox.banks[bank]
      const named = typeof about === 'string' ? { format: 'iss_sub', iss, sub: about } : about
      const subject = named ?? { format: 'opaque', id: BOS_CARD }
      const { token, url } = await signEvent(gateway, bank, {
        claims: { jti: randomUUID(), sub_id: subject, events: { [type]: event } },
      })
      return (await push(url, token)).status
    },

    /** Removes all alerts, and the answers that Northbank received. */
    async clear(): Promise<void> {
      await removeAlerts(gateway)
      await fetch(deskUrl('northbank'), { method: 'DELETE' })
    },
  }
}

/** The tools of one gateway. */
export type RespondingTools = ReturnType<typeof createRespondingTools>
