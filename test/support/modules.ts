/** Each module may import only those after it. */
export const MODULES = [
  'accounts',
  'deliveries',
  'alerts',
  'consents',
  'banks',
  'clients',
  'ledger',
  'mail',
  'jobs',
  'outbox',
]
