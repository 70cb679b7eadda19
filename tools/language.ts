// Checks the words of identifiers, the names of tests and the subjects of commits. Prints every violation.
import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { findDialect, findGroupTitles, findTitleFault, findTitles } from './test-names.ts'

/** Words that identifiers must not contain, and what to write instead. */
const REPLACEMENTS: ReadonlyMap<string, string> = new Map([
  ['anew', 'new or again'],
  ['answered', 'returned or responded'],
  ['answers', 'returns or responses'],
  ['asked', 'requested'],
  ['asking', 'requesting'],
  ['begun', 'started'],
  ['breath', 'batch'],
  ['forgotten', 'deleted or evicted'],
  ['gather', 'batch'],
  ['gathers', 'batches'],
  ['gone', 'ended, removed or missing'],
  ['hear', 'receive'],
  ['heard', 'received'],
  ['hearing', 'isConnected'],
  ['hears', 'receives'],
  ['introduce', 'register'],
  ['keeper', 'store or cache'],
  ['keeping', 'storing or caching'],
  ['kept', 'cached, saved or stored'],
  ['lane', 'guard or queue'],
  ['look', 'fetch or read'],
  ['looked', 'fetched or read'],
  ['looking', 'fetching or reading'],
  ['looks', 'fetches or reads'],
  ['meanwhile', 'concurrent or pending'],
  ['mend', 'fix'],
  ['mendable', 'user error'],
  ['mended', 'fixed'],
  ['mends', 'fixes'],
  ['pretend', 'sandbox'],
  ['purse', 'token bucket'],
  ['reckon', 'compute'],
  ['reckoned', 'computed'],
  ['saying', 'callback'],
  ['sayings', 'callbacks'],
  ['stranger', 'unauthenticated, unknown or foreign'],
  ['tell', 'disclose, notify or deliver'],
  ['telling', 'disclosure'],
  ['tells', 'discloses, notifies or delivers'],
  ['thing', 'the name of what it is'],
  ['things', 'the name of what they are'],
  ['told', 'disclosed, notified or delivered'],
  ['trial', 'certification run'],
  ['vain', 'failed'],
  ['whatever', 'the name of what it is'],
  ['whoever', 'caller, owner or reader'],
  ['wish', 'request'],
  ['wished', 'requested'],
  ['wishes', 'requests'],
])
/** Words that are terms of the bank standard in this folder. */
const EXCEPTIONS: readonly (readonly [folder: string, word: string])[] = [
  ['src/connectors/cdr/', 'purse'],
  // The name of the HTTP status 410.
  ['src/modules/deliveries/', 'gone'],
  ['src/modules/mail/', 'gone'],
]

/** Words that comments must not contain. */
const COMMENT_WORDS = /\b(anew|in vain|reckon(s|ed)?|told|whatever|whoever)\b/
const COMMENT_LINE = /^\s*(\/\/|\/\*|\*)/

/** The last commit whose subject is not checked. */
const UNCHECKED_UNTIL = '22650cf'
const MAX_SUBJECT_LENGTH = 72
const CONVENTIONAL = /^(feat|fix|refactor|perf|test|docs|build|ci|chore|style|revert)(\([a-z0-9-]+\))?!?: \S/

/** The words of an identifier in camelCase, PascalCase, snake_case or kebab-case, in lower case. */
export const wordsOf = (identifier: string): string[] =>
  identifier
    .split(/[^A-Za-z]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/)
    .filter(Boolean)
    .map((word) => word.toLowerCase())

/** Returns a line for every declared name in a TypeScript source that contains a word to be replaced. */
export function findRelapses(path: string, text: string): string[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true)
  const relapses: string[] = []
  const visit = (node: ts.Node): void => {
    const { name } = node as { name?: ts.Node }
    if (name && ts.isIdentifier(name) && !ts.isPropertyAccessExpression(node))
      for (const word of wordsOf(name.text)) {
        const replacement = REPLACEMENTS.get(word)
        if (replacement === undefined || isException(path, word)) continue
        const { line } = source.getLineAndCharacterOfPosition(name.getStart(source))
        relapses.push(`${path}:${line + 1}: \`${name.text}\` contains "${word}": write ${replacement}`)
      }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return [...new Set(relapses)]
}

/** Returns a line for every comment on a line of its own that contains a dialect word. */
export function findCommentFaults(path: string, text: string): string[] {
  return text.split('\n').flatMap((line, index) => {
    const word = COMMENT_LINE.test(line) ? COMMENT_WORDS.exec(line)?.[0] : undefined
    return word === undefined ? [] : [`${path}:${index + 1}: the comment contains "${word}": use plain words`]
  })
}

const isException = (path: string, word: string): boolean =>
  EXCEPTIONS.some(([folder, allowed]) => path.startsWith(folder) && word === allowed)

/** Describes the fault of a commit subject; undefined if there is none. */
export function findSubjectFault(subject: string): string | undefined {
  if (subject.length > MAX_SUBJECT_LENGTH)
    return `has ${subject.length} characters; ${MAX_SUBJECT_LENGTH} are allowed: move details to the body`
  return CONVENTIONAL.test(subject) ? undefined : 'must begin with a type, such as `fix(consents): `'
}

function subjectsSince(commit: string, root: string): string[] {
  try {
    const range = `${commit}..HEAD`
    return execFileSync('git', ['log', '--format=%s', range], { cwd: root, encoding: 'utf8', stdio: 'pipe' })
      .split('\n')
      .filter(Boolean)
  } catch {
    // A copy without history has no subjects to check.
    return []
  }
}

function findTitleFaults(path: string, text: string): string[] {
  const faults = [
    ...findTitles(path, text).map((found) => ({ ...found, fault: findTitleFault(found.title) })),
    ...findGroupTitles(path, text).map((found) => ({ ...found, fault: findDialect(found.title) })),
  ]
  return faults.flatMap(({ title, line, fault }) =>
    fault === undefined ? [] : [`${path}:${line}: the test name "${title}" ${fault}`],
  )
}

function checkLanguage(root: string): string[] {
  const files = ['src', 'tools', 'bench', 'test/support'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .map((name) => join(folder, name))
      .filter((name) => name.endsWith('.ts') && !/generated|node_modules|replaced-migrations/.test(name)),
  )
  return [
    ...files.flatMap((file) => {
      const text = readFileSync(join(root, file), 'utf8')
      return [...findRelapses(file, text), ...(file.startsWith('src/') ? findCommentFaults(file, text) : [])]
    }),
    ...readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(test|prove)\.ts$/.test(name))
      .flatMap((name) => findTitleFaults(join('test', name), readFileSync(join(root, 'test', name), 'utf8'))),
    ...subjectsSince(UNCHECKED_UNTIL, root).flatMap((subject) => {
      const fault = findSubjectFault(subject)
      return fault === undefined ? [] : [`commit "${subject}" ${fault}`]
    }),
  ]
}

if (import.meta.main) {
  const faults = checkLanguage(join(import.meta.dirname, '..'))
  for (const fault of faults) process.stdout.write(`${fault}\n`)
  process.exitCode = faults.length === 0 ? 0 : 1
}
