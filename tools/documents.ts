// Writes docs/ERRORS.md, docs/ACCESS.md and docs/LOG.md from the tables that the gateway itself runs on; `--check` fails on drift.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeExecutableSchema } from '@graphql-tools/schema'
import { isObjectType } from 'graphql'
import { readRules, type Rule } from '../src/entrypoints/graphql/rules.ts'
import { ERROR_CODES } from '../src/kernel/errors.ts'
import { LOG_EVENTS, LOG_FIELDS } from '../src/kernel/log-table.ts'

const root = join(import.meta.dirname, '..')

function renderErrors(): string {
  const rows = Object.entries(ERROR_CODES).map(
    ([code, { httpStatus, category, retryable, resolvableBy, message }]) =>
      `| \`${code}\` | ${httpStatus} | ${category} | ${retryable ? 'yes' : 'no'} | ${resolvableBy} | ${message} |`,
  )
  return `# Errors

Written by \`npm run documents\` from \`src/kernel/errors.ts\`. Codes are public API: they are added, never renamed. In
GraphQL a code is \`extensions.code\` of an error, \`reason\` of a \`BalanceUnavailable\`, or \`code\` of a mutation's
\`errors\`; every error carries the \`requestId\` to ask about it by. Nothing of the input is ever repeated.

| code | HTTP | category | same request later? | who must act | message |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}
`
}

function renderLog(): string {
  const rows = (table: Readonly<Record<string, string>>): string =>
    Object.entries(table)
      .map(([name, meaning]) => `| \`${name}\` | ${meaning} |`)
      .join('\n')
  return `# Log

Written by \`npm run documents\` from \`src/kernel/log-table.ts\`. A line is one JSON object on stderr with \`at\`, \`level\`, \`event\`
and some of the fields below; there are no others, and none for text of a bank, a customer or a request.

| event | what it says |
| --- | --- |
${rows(LOG_EVENTS)}

| field | what it holds |
| --- | --- |
${rows(LOG_FIELDS)}
`
}

const describeRule = (rule: Rule): string => {
  if (rule.kind === 'PUBLIC') return 'anyone'
  if (rule.kind === 'AUTHENTICATED') return 'any token'
  if (rule.kind === 'POLICY') return 'a token that the client holds for itself'
  return rule.anyOf.map((list) => list.map((scope) => `\`${scope}\``).join(' and ')).join(', or ')
}

function renderAccess(): string {
  const schema = makeExecutableSchema({ typeDefs: readFileSync(join(root, 'schema.graphql'), 'utf8') })
  const rules = readRules(schema)
  const sections = Object.values(schema.getTypeMap())
    .filter(isObjectType)
    .filter(({ name }) => !name.startsWith('__'))
    .map((type) => {
      const typeRule = rules.get(type.name)
      const rows = Object.values(type.getFields()).map((field) => {
        const fieldRule = rules.get(`${type.name}.${field.name}`)
        const parts = [typeRule, fieldRule].filter((rule) => rule !== undefined).map(describeRule)
        return `| \`${field.name}\` | ${[...new Set(parts)].join('; and ')} |`
      })
      return `## ${type.name}\n\n| field | opened by |\n| --- | --- |\n${rows.join('\n')}\n`
    })
  return `# Access

Written by \`npm run documents\` from the rules in \`schema.graphql\`. A field that no rule opens does not exist: the gateway
does not start. What a token opens is which fields; which rows, only a live consent opens.

${sections.join('\n')}`
}

const { format } = await import('prettier')
const documents = { 'docs/ERRORS.md': renderErrors(), 'docs/ACCESS.md': renderAccess(), 'docs/LOG.md': renderLog() }
mkdirSync(join(root, 'docs'), { recursive: true })
for (const [name, text] of Object.entries(documents)) {
  const path = join(root, name)
  const formatted = await format(text, { parser: 'markdown', printWidth: 120 })
  if (!process.argv.includes('--check')) writeFileSync(path, formatted)
  else if (readFileSync(path, 'utf8') !== formatted) {
    process.stderr.write(`${name} is not what the code says: npm run documents\n`)
    process.exit(1)
  }
}
