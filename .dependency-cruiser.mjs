// Which folder may import which, and why.

/** Each module may import only the modules after it. */
const MODULES = ['accounts', 'deliveries', 'alerts', 'consents', 'banks', 'clients', 'ledger', 'mail', 'jobs', 'outbox']

const forbid = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to })

export default {
  forbidden: [
    forbid(
      'no-cycles',
      'Files that depend on each other cannot be understood or tested alone. Type imports count.',
      {},
      { circular: true },
    ),
    forbid(
      'kernel-imports-nothing',
      'Every other folder may depend on the kernel, so it depends on none.',
      { path: '^src/kernel/' },
      { path: '^src/(?!kernel/)' },
    ),
    forbid(
      'storage-imports-kernel-only',
      'Storage does not depend on the meaning of what it stores.',
      { path: '^src/storage/' },
      { path: '^src/(?!storage/|kernel/|generated/prisma)' },
    ),
    forbid(
      'connectors-import-kernel-only',
      'A bank standard does not depend on the product, so that a new one is a new folder.',
      { path: '^src/connectors/' },
      { path: '^src/(?!connectors/|kernel/)' },
    ),
    forbid(
      'standards-are-isolated',
      'A quirk of one standard must not affect another.',
      { path: '^src/connectors/([^/]+)/' },
      { path: '^src/connectors/([^/]+)/', pathNot: '^src/connectors/$1/' },
    ),
    forbid(
      'modules-import-no-entrypoint',
      'A module does not depend on how it is called.',
      { path: '^src/modules/' },
      { path: '^src/(entrypoints|sandbox|main|app|services|listeners|seed|config)' },
    ),
    forbid(
      'modules-import-index-only',
      'Files that index.ts does not export can change freely.',
      { path: '^src/modules/([^/]+)/' },
      { path: '^src/modules/([^/]+)/(?!index\\.ts$)', pathNot: '^src/modules/$1/' },
    ),
    forbid(
      'entrypoints-import-index-only',
      'As for modules.',
      { path: '^src/(entrypoints|app|services|listeners|seed|main)' },
      { path: '^src/(modules|connectors)/[^/]+/(?!index\\.ts$)' },
    ),
    forbid(
      'entrypoints-import-no-connector',
      'Only modules call banks.',
      { path: '^src/entrypoints/' },
      { path: '^src/connectors/' },
    ),
    forbid(
      'entrypoints-are-isolated',
      'What two entry points share belongs in a module or the kernel.',
      { path: '^src/entrypoints/([^/]+)/' },
      { path: '^src/entrypoints/([^/]+)/', pathNot: '^src/entrypoints/$1/' },
    ),
    forbid(
      'only-stores-query',
      'Only stores query the database; other files only pass it on, by its type.',
      { path: '^src/(modules|entrypoints)/', pathNot: '[/-]store\\.ts$' },
      { path: '^src/(storage|generated/prisma)|@prisma/client', dependencyTypesNot: ['type-only'] },
    ),
    forbid(
      'only-resolvers-import-graphql',
      'Services do not depend on GraphQL, so that any entry point can call them.',
      { path: '^src/modules/', pathNot: '[/-]resolvers\\.ts$' },
      { path: 'node_modules/graphql/|^src/generated/graphql' },
    ),
    forbid(
      'only-batch-imports-dataloader',
      'One file decides how items are batched and that requests share nothing.',
      { path: '^src/', pathNot: '^src/kernel/batch\\.ts$' },
      { path: 'node_modules/dataloader/' },
    ),
    forbid(
      'only-metrics-imports-prom-client',
      'One file has the names, units and labels of all metrics, so that no label can identify a customer.',
      { path: '^src/', pathNot: '^src/kernel/metrics\\.ts$' },
      { path: 'node_modules/prom-client/' },
    ),
    forbid(
      'sandbox-imports-nothing',
      'An error in code that sandbox banks and connectors shared would not be noticed.',
      { path: '^src/sandbox/' },
      { path: '^src/(?!sandbox/)' },
    ),
    forbid(
      'nothing-imports-the-sandbox',
      'Sandbox banks are reached over HTTP, like any bank.',
      { path: '^src/(?!sandbox/)' },
      { path: '^src/sandbox/' },
    ),
    forbid(
      'cli-imports-nothing',
      'The command line uses the public API only.',
      { path: '^src/entrypoints/cli/' },
      { path: '^src/(?!entrypoints/cli/)' },
    ),
    forbid(
      'no-test-code',
      'The product does not depend on its tests and tools.',
      { path: '^src/' },
      { path: '^(test|bench|tools)/' },
    ),
    ...MODULES.flatMap((name, index) =>
      index === 0
        ? []
        : [
            forbid(
              `${name}-imports-later-modules-only`,
              'Modules depend on each other in one direction.',
              { path: `^src/modules/${name}/` },
              { path: `^src/modules/(${MODULES.slice(0, index).join('|')})/` },
            ),
          ],
    ),
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules|src/generated' },
  },
}
