import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { CodegenConfig } from '@graphql-codegen/cli'

/** Types of the example's own query, to be copied with it; an image is built without examples. */
const EXAMPLE = {
  documents: 'examples/typescript/*.graphql',
  plugins: ['typescript-operations'],
  config: {
    enumsAsTypes: true,
    immutableTypes: true,
    useTypeImports: true,
    scalars: { ID: 'string', DateTime: 'string', Decimal: 'string', CurrencyCode: 'string', CountryCode: 'string' },
  },
}

/** Resolver types from the contract: a resolver that strays from schema.graphql does not compile. */
const config: CodegenConfig = {
  schema: 'schema.graphql',
  generates: {
    ...(existsSync(join(import.meta.dirname, 'examples')) && { 'examples/typescript/generated.ts': EXAMPLE }),
    'src/generated/graphql.ts': {
      plugins: ['typescript', 'typescript-resolvers'],
      config: {
        contextType: '../kernel/request-context.ts#RequestContext',
        useTypeImports: true,
        enumsAsTypes: true,
        immutableTypes: true,
        skipTypename: true,
        makeResolverTypeCallable: true,
        optionalResolveType: true,
        scalars: {
          ID: 'string',
          DateTime: 'string',
          Date: 'string',
          Decimal: 'string',
          CurrencyCode: 'string',
          CountryCode: 'string',
          URL: 'string',
          Cursor: 'string',
          IdempotencyKey: 'string',
          JsonWebKeySet: 'unknown',
          ConnectorRegistration: 'unknown',
        },
        mappers: {
          Customer: '../kernel/request-context.ts#CustomerOfClient',
          Account: '../modules/accounts/model.ts#AuthorizedAccount',
          ExactBalance: '../modules/accounts/model.ts#ExactBalance as ExactBalanceRow',
          BalanceBand: '../modules/accounts/model.ts#BalanceBand as BalanceBandRow',
          BalanceAtLeast: '../modules/accounts/model.ts#BalanceAtLeast as BalanceAtLeastRow',
          BalanceUnavailable: '../modules/accounts/model.ts#BalanceUnavailable as BalanceUnavailableRow',
          Alert: '../modules/alerts/model.ts#AlertView',
          AlertResponse: '../modules/alerts/responses/model.ts#CustomerResponse',
          Consent: '../modules/consents/model.ts#Consent as ConsentRow',
          Bank: '../modules/banks/model.ts#Bank as BankRow',
          Outage: '../modules/banks/model.ts#Outage as OutageRow',
          PlatformAccess: '../modules/banks/model.ts#PlatformAccess as PlatformAccessRow',
          Connector: '../modules/banks/model.ts#Connector as ConnectorRow',
          ConnectorCertificate:
            '../modules/banks/credentials/model.ts#CertificateOfConnector as ConnectorCertificateRow',
          ClientNotice: '../modules/clients/model.ts#ClientNotice as ClientNoticeRow',
          EventStream: '../modules/banks/model.ts#EventStream as EventStreamRow',
          ConnectorNotice: '../modules/banks/model.ts#Notice as NoticeRow',
          BankCertification: '../modules/banks/model.ts#BankCertification as BankCertificationRow',
          CertificationRun: '../modules/banks/model.ts#CertificationRun as CertificationRunRow',
          Organization: '../modules/clients/model.ts#Organization as OrganizationRow',
          Client: '../modules/clients/model.ts#Client as ClientRow',
          AuditLogEntry: '../modules/ledger/audit-log.ts#AuditLogEntry as AuditLogRow',
          BackgroundJob: '../modules/jobs/model.ts#BackgroundJob as BackgroundJobRow',
          WebhookEndpoint: '../modules/deliveries/model.ts#WebhookEndpoint as WebhookEndpointRow',
          RegisteredOperation: '../modules/clients/model.ts#RegisteredOperation as RegisteredOperationRow',
          Delivery: '../modules/deliveries/model.ts#Delivery as DeliveryRow',
          DeliveryAttempt: '../modules/deliveries/model.ts#DeliveryAttempt as DeliveryAttemptRow',
        },
      },
    },
  },
}
export default config
