export { createAlerts, type Alerts } from './service.ts'
export type { Alert } from './model.ts'
export { alertsResolvers } from './resolvers.ts'
