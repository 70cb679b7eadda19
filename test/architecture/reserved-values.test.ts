import { readFileSync, globSync } from 'node:fs'
import { join } from 'node:path'
import { buildSchema, isEnumType, isObjectType } from 'graphql'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const schema = buildSchema(read('schema.graphql'))

/**
 * Everything that the schema names and the gateway does not return yet, with the source files that may contain the name.
 * Whoever starts to return one removes it here and the note from its description.
 */
const RESERVED: Readonly<Record<string, { readonly folder?: string; readonly files: readonly string[] }>> = {
  'AccessReason.CONSENT_PAUSED': { files: [] },
  // The resolver returns null.
  'Consent.pausedAt': { files: ['src/modules/consents/resolvers.ts'] },
  'ConsentStatus.PAUSED': {
    files: [
      // Streams of events can be paused.
      'src/connectors/shared-signals.ts',
      'src/connectors/stream-control.ts',
      'src/connectors/stream-status.ts',
      'src/entrypoints/oauth/dashboard-pages.ts',
      'src/modules/banks/event-streams.ts',
      'src/modules/consents/model.ts',
    ],
  },
  'ErrorCode.CONSENT_NOT_ACTIVE': { files: ['src/kernel/errors.ts'] },
}

test('the description of every reserved name says that it is not returned yet', () => {
  const described = Object.values(schema.getTypeMap()).flatMap(
    (type): (readonly [string, string | null | undefined])[] =>
      isEnumType(type)
        ? type.getValues().map(({ name, description }) => [`${type.name}.${name}`, description] as const)
        : isObjectType(type)
          ? Object.values(type.getFields()).map(
              ({ name, description }) => [`${type.name}.${name}`, description] as const,
            )
          : [],
  )
  const reserved = described.filter(([, description]) => description?.endsWith(' Reserved: not returned yet.'))
  expect(reserved.map(([name]) => name).sort()).toEqual(Object.keys(RESERVED))
})

test.each(Object.entries(RESERVED))('no code returns the reserved %s', (name, { folder = 'src', files }) => {
  const word = new RegExp(`\\b${name.split('.')[1]}\\b`)
  const users = globSync(`${folder}/**/*.ts`, { cwd: root }).filter(
    (path) => !path.startsWith('src/generated/') && word.test(read(path)),
  )
  expect(users.sort()).toEqual(files)
})
