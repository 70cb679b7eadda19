export { createAlerts, type Alerts } from './service.ts'
export { alertsResolvers } from './resolvers.ts'
