/** Log levels, most verbose first. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const
/** A log level. */
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Every event that can be in the log, with its meaning. docs/LOG.md is generated from this table. */
export const LOG_EVENTS = {
  request:
    'One line per request. `error` if it failed on our side; `debug` for health checks, and for refused events and rate-limited requests, which are counted instead.',
  'stream.ended': 'An event stream ended. Its `request` line was written when it opened.',
  'request.aborted': 'A request ended without a response.',
  'resolver.failed': 'A field failed on our side and is null with an error.',
  'ledger.write_failed': 'A read could not be recorded in the ledger, so its data was not sent.',
  'subscription.failed':
    'An event stream was closed because its events could not be sent. The client reconnects and receives them.',
  'apollo.failed': 'The GraphQL server reported an error.',
  'oauth.failed': 'The authorization server failed on our side.',
  'consent.rejected':
    'An opt-in ended without an ACTIVE consent. `code` says why; `error` if it failed on our side. `consentId` is absent if the interaction ended before the consent was created.',
  'consent.code_not_redeemed':
    'A consent was revoked because its client did not redeem the authorization code in time. No request belongs to it.',
  'balance.read_failed': 'A balance could not be read because of an error on our side.',
  'snapshot.write_failed':
    'A balance was fetched and returned but could not be stored. The next request fetches it again.',
  'bank_event.write_deferred':
    'A polled event could not be stored. It stays at the bank and is retried at the next poll.',
  'bank_event.write_failed': 'A pushed event could not be stored. The bank must send it again.',
  'bank_events.poll_failed': 'Polling a bank for events failed.',
  'bank_events.stream_check_failed': 'The stream in which a bank sends its events could not be checked.',
  'worker.event_streams_failed': 'The checks of the streams of events could not be started.',
  'bank_events.rejected': 'Number of bank events that were refused in the last minute, by code and connector.',
  'requests.rate_limited': 'Number of requests that exceeded a rate limit in the last minute, by route.',
  'proxy.untrusted':
    'A proxy with an internal address is not in `GUICHET_TRUSTED_PROXIES`, so everybody behind it shares its address. Once per process.',
  'bank.call': 'A response of a bank.',
  'bank.oauth': 'A response of a bank’s authorization server.',
  'bank.unreachable':
    'A bank could not be reached; `failureCause` says why. Once a minute per connector, operation and cause.',
  'metrics.read_failed': 'A value from the database could not be read for the metrics, which leave it out.',
  'usage.write_failed': 'Request counts of clients could not be stored.',
  'bank_events.count_failed': 'Counts of the events of banks could not be stored; they are stored later.',
  'bank_health.write_failed': 'Counts of bank calls could not be stored.',
  'client.notice': 'A notice to the owner of a client was recorded. `code` is its kind.',
  'connector.notice':
    'A bank operation failed or recovered, or a scheduled certification run finished. Monitor this event.',
  'certification.check_failed': 'A check of a certification run failed. `operation` names the check.',
  'certification.run_failed': 'A certification run could not be completed, so that it says nothing about the bank.',
  'delivery.attempted': 'A webhook attempt. `code` is its outcome.',
  'delivery.unreachable': 'A webhook endpoint could not be reached; `failureCause` says why.',
  'delivery.failed': 'A webhook attempt failed on our side and will be retried.',
  'delivery.write_failed': 'The outcome of a webhook attempt could not be stored yet. Storing it is retried.',
  'mail.failed':
    'An email was not accepted by the mail server. `code` is REFUSED if the server refuses the recipient; otherwise it is sent again.',
  'mail.given_up': 'An email could not be sent for three days and is given up.',
  'outbox.retry_scheduled': 'An outbox message failed and will be retried.',
  'outbox.reschedule_failed': 'The retry of a failed outbox message could not be scheduled.',
  'worker.planning_failed': 'A round of the worker failed: planning the deliveries of alerts.',
  'worker.outbox_failed': 'A round of the worker failed: outbox messages.',
  'worker.slow_outbox_failed': 'A round of the worker failed: outbox messages that call banks or end many consents.',
  'worker.urgent_outbox_failed': 'A round of the worker failed: answers of customers to their banks.',
  'worker.deliveries_failed': 'A round of the worker failed: webhook deliveries.',
  'worker.mail_failed': 'A round of the worker failed: sending email.',
  'worker.bank_events_failed': 'A round of the worker failed: polling banks for events.',
  'worker.certifications_failed': 'A round of the worker failed: certification runs.',
  'consent.idle_renewal_failed':
    'The tokens of a connection that nobody uses could not be renewed. They are tried again after a day.',
  'consent.end_failed': 'An expired consent could not be ended. It is retried a minute later.',
  'worker.reseal_failed': 'A round of the worker failed: resealing values with the newest key.',
  'worker.schedules_failed': 'A round of the worker failed: scheduled jobs.',
  'job.failed': 'A run of a scheduled job failed and will be repeated.',
  'job.outcome_not_stored': 'How a run of a scheduled job ended could not be stored. Another process repeats the run.',
  'retention.step_failed': 'Rows of a table whose retention has ended could not be deleted.',
  'admin.missing': 'No client can administer this installation.',
  'admin.enrollment_opened': 'An admin enrollment was opened. Monitor this event.',
  'admin.enrolled': 'An admin was enrolled. Monitor this event.',
  'admin.enrollment_rejected': 'An attempt to enroll as an admin was refused. Monitor this event.',
  'clock.skewed':
    'The clocks of this process and of the database are more than 10 s apart. Synchronize both by NTP. Once a minute while this lasts.',
  'clock.check_failed': 'The time of the database could not be read.',
  'database.exited': 'The embedded database exited unexpectedly and is being restarted.',
  'database.restarted': 'The embedded database was restarted.',
  'database.restart_failed': 'The embedded database could not be restarted. The process exits with code 1.',
  started: 'The process is ready to serve.',
  'shutdown.step_timed_out': 'A shutdown step timed out and was abandoned.',
  'shutdown.step_failed': 'A shutdown step failed.',
  'process.unhandled_rejection': 'A promise rejection was not handled. The process continues.',
  'process.uncaught_exception': 'An exception was not caught. The process exits with code 1.',
} as const satisfies Record<string, string>

/** The event of a log line. */
export type LogEvent = keyof typeof LOG_EVENTS

/** Every field of a line besides time, level and event. Each is one of our ids, a code from a table or a number. */
export const LOG_FIELDS = {
  requestId: 'the request that the line belongs to; `x-request-id` of its response',
  clientId: 'a client',
  customerId: 'a customer',
  consentId: 'a consent',
  connectionId: "ID of a customer's connection to a bank",
  connectorId: 'a connector',
  bankId: 'a bank',
  accountId: 'an account (our own id)',
  alertId: 'an alert',
  deliveryId: 'a delivery',
  messageId: 'an outbox message or an email',
  topic: 'the topic of an outbox message',
  job: 'the name of a scheduled job',
  code: 'the reason: an error code ([ERRORS](ERRORS.md)) or a code specific to the event',
  failureCause: 'why an address could not be reached ([OPERATE](OPERATE.md))',
  operation: 'the bank operation, the certification check or the shutdown step',
  method: 'the HTTP method',
  route: 'the route’s path with its `{name}` placeholders; `unmatched` if no route matches',
  status: 'the HTTP status',
  durationMs: 'duration in milliseconds',
  bytes: 'the size of a body in bytes',
  offsetMs: 'how far the clock of this process is ahead of the database’s, in milliseconds',
  unknownKeyCount: 'the number of response keys that were ignored',
  attempt: 'the number of the attempt',
  count: 'the number of events',
  port: 'the port that the process listens on',
  trace: 'error class names, error codes and source locations; never a message',
} as const satisfies Record<string, string>
