import { defineConfig } from 'prisma/config'

export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  // Only the migration tools read this; the gateway itself takes DATABASE_URL in src/config.ts.
  datasource: { url: process.env['DATABASE_URL'] ?? 'pglite:memory' },
})
