import type { Resolvers } from '../../generated/graphql.ts'
import type { Jobs } from './service.ts'

/** The resolvers of background jobs. */
export const jobsResolvers = ({ jobs }: { jobs: Pick<Jobs, 'list'> }) =>
  ({
    Query: {
      backgroundJobs: () => jobs.list(),
    },
    BackgroundJob: {
      nextRunAt: ({ nextRunAt }) => nextRunAt?.toISOString() ?? null,
      lastSucceededAt: ({ lastSucceededAt }) => lastSucceededAt?.toISOString() ?? null,
      failingSince: ({ failingSince }) => failingSince?.toISOString() ?? null,
    },
  }) satisfies Resolvers
