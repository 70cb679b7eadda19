import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createApp, type App } from '../../src/app.ts'
import { readConfig } from '../../src/config.ts'
import { systemClock, type Clock } from '../../src/kernel/clock.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { createWorld } from '../../src/kernel/world.ts'
import { openDatabase } from '../../src/storage/database.ts'
import type { TestGateway } from './gateway.ts'
import { patientTimers } from './patient-time.ts'
import { freePort } from './ports.ts'

export interface SecondGateway {
  readonly issuer: string
  readonly app: App
  close(): Promise<void>
}

/** Another gateway on the same database: its own connections, caches, port, and where it is given, clock. */
export async function startSecondGateway(
  { dataDir, database }: TestGateway,
  clock: Clock = systemClock,
): Promise<SecondGateway> {
  const config = readConfig({
    PORT: String(await freePort()),
    GUICHET_ROLE: 'gateway',
    GUICHET_DATA_DIR: dataDir,
    GUICHET_SEALING_KEY: readFileSync(join(dataDir, 'sealing-key'), 'utf8'),
    DATABASE_URL: database.url,
    GUICHET_SCHEDULED_CERTIFICATION: 'off',
    METRICS_PORT: '0',
  })
  const log = createLog(
    'error',
    () => new Date(),
    () => undefined,
  )
  const opened = openDatabase(database.url, 8, patientTimers)
  const app = await createApp(
    config,
    {
      ...createWorld(log, createOutboundHttp(config.egress, undefined, { timers: patientTimers })),
      clock,
      timers: patientTimers,
    },
    opened,
  )
  await app.start()
  return {
    issuer: config.issuer,
    app,
    async close() {
      await app.stop()
      await opened.close()
    },
  }
}
