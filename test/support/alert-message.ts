/** The members of `data` in a webhook about an alert of a bank, sorted. No other may appear, whatever the bank sent. */
export const ALERT_MEMBERS: readonly string[] = [
  'accountId',
  'bankId',
  'customerId',
  'id',
  'occurredAt',
  'requestedAction',
  'respondBy',
  'responseOptions',
  'severity',
  'type',
]
