export { createAlerts, type Alerts } from './service.ts'
export type { Alert, OpenedAlert } from './model.ts'
export { alertsResolvers } from './resolvers.ts'
