// The house rules of DESIGN, as rules: who may look at whom, and why.

/** Each module may use only the modules after it in this list. */
const STREET = ['accounts', 'deliveries', 'alerts', 'consents', 'banks', 'clients', 'ledger', 'outbox']

const forbid = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to })

export default {
  forbidden: [
    forbid('no-cycles', 'Two rooms that need each other are one room.', {}, { circular: true }),
    forbid(
      'kernel-knows-nobody',
      'The ground floor stands by itself.',
      { path: '^src/kernel/' },
      { path: '^src/(?!kernel/)' },
    ),
    forbid(
      'storage-knows-the-kernel',
      'Storage keeps things and does not know what they mean.',
      { path: '^src/storage/' },
      { path: '^src/(?!storage/|kernel/|generated/prisma)' },
    ),
    forbid(
      'connectors-know-the-kernel',
      'A bank standard knows nothing of our product, so that the next one costs a folder.',
      { path: '^src/connectors/' },
      { path: '^src/(?!connectors/|kernel/)' },
    ),
    forbid(
      'standards-are-strangers',
      'A deviation of one bank must not reach the others.',
      { path: '^src/connectors/([^/]+)/' },
      { path: '^src/connectors/([^/]+)/', pathNot: '^src/connectors/$1/' },
    ),
    forbid(
      'modules-never-look-up',
      'The product does not know how it is called.',
      { path: '^src/modules/' },
      { path: '^src/(entrypoints|sandbox|main|app|seed|config)' },
    ),
    forbid(
      'modules-by-the-front-door',
      'What index.ts does not show can be changed.',
      { path: '^src/modules/([^/]+)/' },
      { path: '^src/modules/([^/]+)/(?!index\\.ts$)', pathNot: '^src/modules/$1/' },
    ),
    forbid(
      'entrypoints-by-the-front-door',
      'The same, from above.',
      { path: '^src/(entrypoints|app|seed|main)' },
      { path: '^src/(modules|connectors)/[^/]+/(?!index\\.ts$)' },
    ),
    forbid(
      'entrypoints-use-modules',
      'No shortcut from an address to a bank.',
      { path: '^src/entrypoints/' },
      { path: '^src/connectors/' },
    ),
    forbid(
      'entrypoints-are-strangers',
      'What two addresses share belongs in a module or the kernel.',
      { path: '^src/entrypoints/([^/]+)/' },
      { path: '^src/entrypoints/([^/]+)/', pathNot: '^src/entrypoints/$1/' },
    ),
    forbid(
      'only-stores-query',
      'One file per module speaks Prisma; the others hand the database on by its type.',
      { path: '^src/(modules|entrypoints)/', pathNot: '[/-]store\\.ts$' },
      { path: '^src/(storage|generated/prisma)|@prisma/client', dependencyTypesNot: ['type-only'] },
    ),
    forbid(
      'only-resolvers-speak-graphql',
      'A service can be called from anywhere.',
      { path: '^src/modules/', pathNot: '[/-]resolvers\\.ts$' },
      { path: 'node_modules/graphql/|^src/generated/graphql' },
    ),
    forbid(
      'batching-is-one-file',
      'How items are collected, and that requests share nothing, is decided once.',
      { path: '^src/', pathNot: '^src/kernel/batch\\.ts$' },
      { path: 'node_modules/dataloader/' },
    ),
    forbid(
      'metrics-are-one-file',
      'Names, units and labels of all metrics can be compared, and no label holds what a customer could be found by.',
      { path: '^src/', pathNot: '^src/kernel/metrics\\.ts$' },
      { path: 'node_modules/prom-client/' },
    ),
    forbid(
      'the-sandbox-is-outside',
      'A mistake shared by bank and connector would cancel itself out.',
      { path: '^src/sandbox/' },
      { path: '^src/(?!sandbox/)' },
    ),
    forbid(
      'nobody-imports-the-sandbox',
      'It is reached over HTTP, like any bank.',
      { path: '^src/(?!sandbox/)' },
      { path: '^src/sandbox/' },
    ),
    forbid(
      'the-command-line-is-outside',
      'It uses the public surface, as anybody could.',
      { path: '^src/entrypoints/cli/' },
      { path: '^src/(?!entrypoints/cli/)' },
    ),
    forbid('no-test-code', 'What ships does not need its tests.', { path: '^src/' }, { path: '^(test|bench|tools)/' }),
    ...STREET.flatMap((name, index) =>
      index === 0
        ? []
        : [
            forbid(
              `${name}-looks-only-ahead`,
              'Modules form a one-way street.',
              { path: `^src/modules/${name}/` },
              { path: `^src/modules/(${STREET.slice(0, index).join('|')})/` },
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
