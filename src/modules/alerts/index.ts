export { createAlerts, type Alerts } from './service.ts'
export { onConsentEnded } from './consent-handlers.ts'
export type { Alert, AlertView } from './model.ts'
export { alertsResolvers } from './resolvers.ts'
