import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'

/** Buckets of histograms, in seconds: what a request takes, and what a call to a bank or a webhook endpoint takes. */
const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const OUTBOUND_BUCKETS = [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const POOL_WAIT_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 5]

/**
 * The metrics of one gateway. Values of labels come from closed sets: constants of the gateway, and the IDs of banks and
 * connectors. A label never holds the ID of a customer, account or client, an address, or text that somebody sent.
 */
export type Metrics = ReturnType<typeof createMetrics>

/** Creates the metrics of one gateway, in a registry of their own. Names and units follow the conventions of Prometheus. */
export function createMetrics() {
  const registry = new Registry()
  return {
    registry,
    ...requestMetrics([registry]),
    ...bankMetrics([registry]),
    ...queueMetrics([registry]),
    ...processMetrics([registry]),
    /** Starts to measure Node itself: processor, memory, event loop and garbage collection. */
    measureNode: (): void => collectDefaultMetrics({ register: registry }),
  }
}

const requestMetrics = (registers: Registry[]) => ({
  info: new Gauge({
    name: 'guichet_info',
    help: 'Always 1; the label names the gateway.',
    labelNames: ['issuer'],
    registers,
  }),
  httpRequestDuration: new Histogram({
    name: 'guichet_http_request_duration_seconds',
    help: 'Time from a request to its response, or to the start of its stream, by route and class of the status.',
    labelNames: ['route', 'status'],
    buckets: REQUEST_BUCKETS,
    registers,
  }),
  graphqlRequestDuration: new Histogram({
    name: 'guichet_graphql_request_duration_seconds',
    help: 'The same of GraphQL requests, by operation type (`unknown` if it could not be read) and outcome: `success`, `partial` (a field failed or was denied), `rejected` (4xx) or `failed` (5xx).',
    labelNames: ['operation_type', 'outcome'],
    buckets: REQUEST_BUCKETS,
    registers,
  }),
  rateLimitedRequests: new Counter({
    name: 'guichet_requests_rate_limited_total',
    help: 'Requests rejected with 429 by the limits of their address or client, by entrypoint.',
    labelNames: ['entrypoint'],
    registers,
  }),
})

const bankMetrics = (registers: Registry[]) => ({
  bankCallDuration: new Histogram({
    name: 'guichet_bank_call_duration_seconds',
    help: 'Duration of calls to a bank, by operation and outcome: `success` or the code of the error.',
    labelNames: ['bank', 'operation', 'outcome'],
    buckets: OUTBOUND_BUCKETS,
    registers,
  }),
  bankCallsWaiting: new Gauge({
    name: 'guichet_bank_calls_waiting',
    help: 'Calls of this process that wait because it already makes as many to the bank at once as the bank can take, by effect: `read`, `change` or `response` (to an alert).',
    labelNames: ['bank', 'effect'],
    registers,
  }),
  bankHealth: new Gauge({
    name: 'guichet_bank_health',
    help: 'Health of each kind of bank call in the last 15 minutes: 0 healthy, 1 degraded, 2 down.',
    labelNames: ['bank', 'operation'],
    registers,
  }),
  bankCallFailures: new Gauge({
    name: 'guichet_bank_call_failures',
    help: 'Bank calls in the last 15 minutes that did not reach the bank, by cause.',
    labelNames: ['bank', 'operation', 'failure_cause'],
    registers,
  }),
  bankAcceptsNewConsents: new Gauge({
    name: 'guichet_bank_accepts_new_consents',
    help: '1 if the bank accepts new consents, 0 if its last scheduled certification run failed.',
    labelNames: ['bank'],
    registers,
  }),
  rejectedBankEvents: new Counter({
    name: 'guichet_bank_events_rejected_total',
    help: 'Bank events that were rejected, by code and, if it is known, connector.',
    labelNames: ['code', 'connector'],
    registers,
  }),
})

const queueMetrics = (registers: Registry[]) => ({
  outboxPendingMessages: new Gauge({
    name: 'guichet_outbox_pending_messages',
    help: 'Pending messages of the outbox, counted up to 10000.',
    registers,
  }),
  jobFailures: new Counter({
    name: 'guichet_job_failures_total',
    help: 'Failed attempts of background jobs of this process, by topic of the outbox message or name of the scheduled job. Each is retried.',
    labelNames: ['job'],
    registers,
  }),
  jobFailingSeconds: new Gauge({
    name: 'guichet_job_failing_seconds',
    help: 'How long a background job of any process has been failing, by topic of the outbox message or name of the scheduled job; 0 if its last run succeeded. A message counts after ten failed attempts.',
    labelNames: ['job'],
    registers,
  }),
  deliveriesDue: new Gauge({
    name: 'guichet_deliveries_due',
    help: 'Webhook deliveries whose next attempt is due, counted up to 10000.',
    registers,
  }),
  deliveryAttemptDuration: new Histogram({
    name: 'guichet_delivery_attempt_duration_seconds',
    help: 'Duration of the requests to webhook endpoints, by outcome.',
    labelNames: ['outcome'],
    buckets: OUTBOUND_BUCKETS,
    registers,
  }),
  mails: new Counter({
    name: 'guichet_mails_total',
    help: 'Attempts to send an email, by outcome: `sent`, `refused` (by its recipient) or `failed` (it is sent again).',
    labelNames: ['outcome'],
    registers,
  }),
  balanceFetchesWaiting: new Gauge({
    name: 'guichet_balance_fetches_waiting',
    help: 'Accounts whose balance this process waits for because another process is fetching it.',
    registers,
  }),
})

const processMetrics = (registers: Registry[]) => ({
  databaseConnections: new Gauge({
    name: 'guichet_database_connections',
    help: 'Open connections of each pool of this process, by state.',
    labelNames: ['pool', 'state'],
    registers,
  }),
  databaseQueriesWaiting: new Gauge({
    name: 'guichet_database_queries_waiting',
    help: 'Queries and transactions that wait for a free connection of the pool.',
    labelNames: ['pool'],
    registers,
  }),
  databaseWaitDuration: new Histogram({
    name: 'guichet_database_connection_wait_seconds',
    help: 'Time that a query or transaction waited for a connection of the pool, opening it included.',
    labelNames: ['pool'],
    buckets: POOL_WAIT_BUCKETS,
    registers,
  }),
  bankCertificateExpiry: new Gauge({
    name: 'guichet_bank_certificate_expiry_timestamp_seconds',
    help: "When the gateway's certificate for a bank expires, in seconds since 1970, by connector and use.",
    labelNames: ['connector', 'use'],
    registers,
  }),
  resealPendingColumns: new Gauge({
    name: 'guichet_reseal_pending_columns',
    help: 'Columns that may hold values sealed with an older key; at 0 the older keys can be removed.',
    registers,
  }),
  clockOffset: new Gauge({
    name: 'guichet_clock_offset_seconds',
    help: 'Offset of the clock of this process from that of the database; positive if ahead. Tokens allow 10 s.',
    registers,
  }),
})
