export { createJobs, type Jobs } from './service.ts'
export { jobsResolvers } from './resolvers.ts'
export type { RunScheduledJob, ScheduledJobs } from './model.ts'
