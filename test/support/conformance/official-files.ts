import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, test } from 'vitest'
import { parse } from 'yaml'

const DIR = resolve(process.env['GUICHET_STANDARDS'] ?? join(import.meta.dirname, '../../../../shared/standards'))

/** The official files that the tests read: their paths in the folder. They are not part of the repository. */
export const OFFICIAL_FILES = {
  'UK Open Banking 3.1.11, accounts': 'uk-obie/3.1.11/account-info-openapi.yaml',
  'UK Open Banking 3.1.11, events': 'uk-obie/3.1.11/events-openapi.yaml',
  'UK Open Banking 4.0, accounts': 'uk-obie/4.0-update4/account-info-openapi.yaml',
  'UK Open Banking 4.0, events': 'uk-obie/4.0-update4/events-openapi.yaml',
  'Berlin Group 1.3.11': 'berlin-group/1.3.11/psd2-api_v1.3.11-2021-10-01v1.yaml',
  'Consumer Data Right 1.36, banking': 'au-cdr/1.36/cds_banking.json',
} as const

/** The name of an official file. */
export type OfficialFile = keyof typeof OFFICIAL_FILES

/**
 * Registers the suite if the folder has the official files that it reads. Otherwise it registers one skipped test, which names
 * the missing file and the setting.
 */
export function describeWithFiles(title: string, files: readonly OfficialFile[], suite: () => void): void {
  const missing = files.find((file) => !existsSync(join(DIR, OFFICIAL_FILES[file])))
  if (missing === undefined) describe(title, suite)
  else
    test.skip(`${title} is not tested: GUICHET_STANDARDS names no folder with ${OFFICIAL_FILES[missing]}`, () =>
      undefined)
}

/** The parsed official file. */
export const readOfficialFile = (file: OfficialFile): Record<string, unknown> =>
  parse(readFileSync(join(DIR, OFFICIAL_FILES[file]), 'utf8'), { maxAliasCount: -1 }) as Record<string, unknown>

/** The official example payloads whose file names begin with `prefix`, by name. Some do not parse in the original; those are left out. */
export function readExamples(folder: string, prefix: string): [name: string, payload: unknown][] {
  const path = join(DIR, folder)
  return readdirSync(path)
    .filter((name) => name.startsWith(prefix) && name.endsWith('-valid.json'))
    .map((name) => [name, JSON.parse(readFileSync(join(path, name), 'utf8')) as unknown])
}
