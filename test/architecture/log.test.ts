import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { LOG_EVENTS } from '../../src/kernel/log-table.ts'

const root = join(import.meta.dirname, '../..')

describe('the log', () => {
  test('every event of the log table is written somewhere in the code', () => {
    const code = globSync('src/**/*.ts', { cwd: root, exclude: ['src/generated/**', 'src/kernel/log-table.ts'] })
      .map((file) => readFileSync(join(root, file), 'utf8'))
      .join('\n')
    expect(Object.keys(LOG_EVENTS).filter((event) => !code.includes(`'${event}'`))).toEqual([])
  })
})
