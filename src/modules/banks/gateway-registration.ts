import { STANDARDS } from '../../connectors/index.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Connectors } from './connectors.ts'
import type { CredentialChanges } from './credentials/changes.ts'
import type { Connector } from './model.ts'
import type { Reach } from './reach.ts'
import type { BankStore } from './store.ts'

/** The dependencies of registering the gateway at banks. */
export interface GatewayRegistrationDependencies {
  readonly store: BankStore
  readonly database: Database
  readonly world: World
  readonly ledger: Ledger
  readonly signals: Signals
  readonly connectors: Connectors
  readonly reach: Reach
  readonly prepareClientSecret: CredentialChanges['prepareClientSecret']
}

/** Registers the gateway as an OAuth client of banks (RFC 7591). */
export function createGatewayRegistration(dependencies: GatewayRegistrationDependencies) {
  const { store, database, world, ledger, signals, connectors, reach, prepareClientSecret } = dependencies
  return {
    /**
     * Registers the gateway at the bank of a draft, with a software statement, and stores the client ID that the bank assigns, and its
     * secret sealed. Throws `STATE_CONFLICT` if the connector is no draft or its standard has no dynamic registration, and the bank's error.
     */
    async registerGatewayAtBank(actorClientId: string, id: string, softwareStatement: string): Promise<Connector> {
      const connector = await connectors.requireConnector(id)
      const { registerDynamically } = STANDARDS[connector.standard]
      if (connector.status !== 'DRAFT' || !registerDynamically) throw new GatewayError('STATE_CONFLICT')
      const { registration, tools } = await reach.loadContext(connector)
      const connectorTools = tools({ log: world.log, report: () => undefined })
      const issued = await registerDynamically(registration, connectorTools, softwareStatement)
      const { clientId: clientIdAtBank, clientSecret } = issued
      const replaceSecret = clientSecret === undefined ? undefined : await prepareClientSecret(id, clientSecret)
      const before = connector.registration.clientId
      await database.transaction(async (tx) => {
        if (!(await store.setClientIdAtBank(tx, id, clientIdAtBank))) throw new GatewayError('STATE_CONFLICT')
        await ledger.record(tx, {
          action: 'GATEWAY_REGISTERED_AT_BANK',
          clientId: actorClientId,
          subjectId: id,
          changes: [{ field: 'clientIdAtBank', before: before === undefined ? [] : [before], after: [clientIdAtBank] }],
        })
        if (!replaceSecret) return
        await replaceSecret(tx)
        await ledger.record(tx, {
          action: 'CLIENT_SECRET_CHANGED',
          clientId: actorClientId,
          subjectId: id,
          changes: [],
        })
        await signals.publish(tx, { kind: 'CREDENTIALS', id })
      })
      reach.evict(id)
      return connectors.requireConnector(id)
    },
  }
}
