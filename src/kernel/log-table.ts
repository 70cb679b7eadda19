/** Log levels, from the most to the least talkative. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const
/** One of the levels. */
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Every line that can be in the log: its event, and what it says. docs/LOG.md is made of this table. */
export const LOG_EVENTS = {
  request:
    'One for each request. At `error` where it failed on our side; at `debug` for health checks, and for what is counted instead: refused events and requests beyond a limit.',
  'stream.ended': 'A stream of events is over; its `request` line was written when it opened.',
  'request.aborted': 'A request ended without a response.',
  'resolver.failed': 'A field failed on our side and is null with an error.',
  'ledger.write_failed': 'What was read could not be recorded, so it was not sent.',
  'subscription.failed': 'A stream was ended because its events could not be sent; the client comes back for them.',
  'apollo.failed': 'The GraphQL server reported an error.',
  'oauth.failed': 'The authorization server failed on our side.',
  'consent.rejected':
    'An opt-in ended without an ACTIVE consent. `code` says why; at `error` where our side failed. Without `consentId` where the visit ended before there was one.',
  'consent.code_not_redeemed':
    'A consent was revoked because its client did not redeem the authorization code in time. Without a request.',
  'balance.read_failed': 'A balance could not be read, by our fault.',
  'snapshot.write_failed':
    'A balance was fetched and returned but could not be stored. The next request fetches it again.',
  'bank_event.write_deferred':
    'An event that a bank keeps for us could not be stored: it is tried again at the next turn.',
  'bank_event.write_failed': 'A pushed event could not be stored: the bank has to send it again.',
  'bank_events.poll_failed': 'A bank could not be asked for the events that it keeps.',
  'bank_events.rejected': 'Events of banks that were refused in the last minute, by code and connector.',
  'requests.rate_limited': 'Requests that were beyond a limit in the last minute, by route.',
  'proxy.untrusted':
    'A proxy inside is not in `GUICHET_TRUSTED_PROXIES`: everybody behind it has one address. Once for each process.',
  'bank.call': 'One response of a bank.',
  'bank.oauth': 'One response of a bank’s authorization server.',
  'bank.unreachable': 'A bank could not be reached, and why: once a minute for each connector, kind of call and cause.',
  'usage.write_failed': 'Counts of requests of clients could not be stored.',
  'bank_health.write_failed': 'Counts of calls to banks could not be stored.',
  'connector.notice': 'A kind of call broke or is well again, or how a nightly certification went: watch for it.',
  'certification.check_failed': 'One check of a certification run failed; `operation` names it.',
  'delivery.attempted': 'One attempt at a webhook; `code` is its outcome.',
  'delivery.unreachable': 'An endpoint of a client could not be reached, and why.',
  'delivery.failed': 'An attempt at a webhook failed on our side and is repeated.',
  'delivery.write_failed': 'The outcome of an attempt could not be stored at once; it is stored again.',
  'outbox.retry_scheduled': 'A message of the outbox failed and is retried later.',
  'outbox.reschedule_failed': 'A failed message of the outbox could not be put off.',
  'worker.outbox_failed': 'A round of the worker failed: messages of the outbox.',
  'worker.consent_ends_failed': 'A round of the worker failed: ends of consents and connections at banks.',
  'worker.deliveries_failed': 'A round of the worker failed: webhooks.',
  'worker.bank_events_failed': 'A round of the worker failed: events that banks keep.',
  'worker.certifications_failed': 'A round of the worker failed: certification runs.',
  'consent.end_failed': 'A consent whose time is over could not be ended; it is tried again a minute later.',
  'worker.reseal_failed': 'A round of the worker failed: values that are sealed anew with the newest key.',
  'worker.cleanup_failed': 'A round of the worker failed: what is done every minute.',
  'admin.missing': 'Nobody can administer this installation.',
  'admin.enrollment_opened': 'Somebody opened the enrolment of an admin: watch for it.',
  'admin.enrolled': 'An admin was enrolled: watch for it.',
  'admin.enrollment_rejected': 'Somebody tried to enrol as an admin and was refused: watch for it.',
  'clock.skewed':
    'The clock of this process and the database’s are more than 10 s apart: set both by NTP. Once a minute while it is so.',
  'clock.check_failed': 'The database could not be asked for its time.',
  'database.exited': 'The embedded database ended by itself and is started again.',
  'database.restarted': 'The embedded database runs again.',
  'database.restart_failed': 'The embedded database could not be started again. The process stops with code 1.',
  started: 'The process serves.',
  'shutdown.step_timed_out': 'A step of the stop took too long and was left.',
  'shutdown.step_failed': 'A step of the stop failed.',
  'process.unhandled_rejection': 'A promise failed where nobody waits for it. The process goes on.',
  'process.uncaught_exception': 'An exception that nobody catches. The process stops with code 1.',
} as const satisfies Record<string, string>

/** The event of a line. */
export type LogEvent = keyof typeof LOG_EVENTS

/** Everything that a line can hold besides its time, level and event. Each is an id of ours, a code from a table or a number. */
export const LOG_FIELDS = {
  requestId: 'the request that the line is about or that started the work; `x-request-id` of its response',
  clientId: 'a client',
  customerId: 'a customer',
  consentId: 'a consent',
  connectorId: 'a connector',
  bankId: 'a bank',
  accountId: 'an account, by our own id',
  alertId: 'an alert',
  deliveryId: 'a delivery',
  messageId: 'a message of the outbox',
  topic: 'the kind of a message of the outbox',
  code: 'why: an error code ([ERRORS](ERRORS.md)) or a word of the event’s own',
  failureCause: 'why an address could not be reached ([OPERATE](OPERATE.md))',
  operation: 'the kind of call to a bank, the check of a certification or the step of a stop',
  method: 'the HTTP method',
  route: 'the path of the route, with `{name}` for what was in its place; `unmatched` where there is none',
  status: 'the HTTP status',
  durationMs: 'milliseconds',
  bytes: 'the size of a body',
  offsetMs: 'how far the clock of this process is ahead of the database’s, in milliseconds',
  unknownKeyCount: 'how many keys of a response were ignored',
  attempt: 'the number of the attempt',
  count: 'how many',
  port: 'the port that the process listens on',
  trace: 'names of the error classes, their codes and the files where it was thrown; never a message',
} as const satisfies Record<string, string>
