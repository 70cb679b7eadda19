/** The status of the stream in which a bank sends its events. UNKNOWN: the bank does not say. NOT_FOUND: there is no stream. */
export type EventStreamStatus = 'ENABLED' | 'PAUSED' | 'DISABLED' | 'UNKNOWN' | 'NOT_FOUND'

/** Controls the stream in which a bank sends its events (Shared Signals Framework 1.0, 8). */
export interface EventStreamControl {
  /** Reads the status of the stream that delivers to the gateway. If there is none, creates it if `createsIfMissing`. */
  readEventStream(createsIfMissing: boolean): Promise<EventStreamStatus>
  /** Pauses or resumes the stream. Returns its new status; UNKNOWN if the bank has not decided yet, or has no endpoint for that. */
  setEventStreamStatus(status: 'ENABLED' | 'PAUSED'): Promise<EventStreamStatus>
  /** Requests a verification event with this state. Returns false if the bank has no endpoint for that. */
  requestStreamVerification(state: string): Promise<boolean>
}
