export { createAlerts, type Alerts } from './service.ts'
export type { Alert, AlertView } from './model.ts'
export { alertsResolvers } from './resolvers.ts'
