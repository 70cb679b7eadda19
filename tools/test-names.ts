// The rule for test names (LANGUAGE.md, 5): one short, plain sentence that states a guarantee, without the `describe` above it.
import ts from 'typescript'

const MIN_WORDS = 5
const MAX_LENGTH = 110
const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/))

/** Verbs in the third person with which a name would continue the `describe` above it. */
const VERBS = words(`
  accepts adds adopts allows answers appends asks belongs binds brings calls cancels cannot can changes claims closes collects
  comes costs counts decides delays deletes depends do does ends exits explains fails fills finds gets gives goes had hands has
  have holds honours is keeps leads leaves lets lies lists locks looks loses makes may must names needs never opens outlives
  passes prints proves puts reaches reads refuses registers rejects remembers resets returns revokes runs says sees sends serves
  shows signs spends splits stands starts stays stops takes tells turns varies verifies waits was were will writes are`)
/** Verbs of the list above that are also plural nouns: allowed if one of the words below follows. */
const NOUNS = words(
  'answers asks calls changes claims counts ends finds hands holds lists locks looks names opens runs signs turns',
)
const AFTER_NOUNS = words('of in that which are were for from to by with without and')
/** Words that attach to a noun or to a sentence before them. */
const CONTINUATIONS = words('that of with and nor or but whose which who not also through without about from beside')

const AUXILIARY = /\b(is|are|was|were|has|have|had|does|do|did|can|cannot|could|may|might|must|will|would|never)\b/
const PLURAL =
  /\b(add|agree|answer|ask|become|begin|call|cause|change|come|cost|count|decide|depend|differ|end|fail|find|follow|get|give|go|hold|keep|lead|leave|let|lie|lose|make|match|mean|meet|name|need|open|pass|read|refuse|remove|require|return|reveal|run|say|see|send|set|share|show|stay|stop|take|tell|use|wait|write)\b/
/** Third person, such as `refuses`. Nouns in the plural match as well: a missed fault is better than a false one. */
const THIRD_PERSON = /^[a-z-]{2,}[^s\W]s\W*$/

/** Words and phrases that names must not contain, and what to write instead. */
const REPLACEMENTS: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/\ba memory\b/, 'a cache'],
  [/\banew\b/, 'new or again'],
  [/\bat once\b/, 'immediately, concurrently or together'],
  [/\bat the same moment\b/, 'at the same time or concurrently'],
  [/\bgo(es|ing)? on\b/, 'continue'],
  [/\bhears?\b|\bheard\b/, 'receives, or the name of the signal'],
  [/\bhowever\b/, 'for any number, or in any form'],
  [/\bin vain\b/, 'without success'],
  [/\blets? go\b/, 'evicts or releases'],
  [/\blook-ups?\b|\blooks up\b|\blooked (at|up)\b/, 'reads, loads or fetches'],
  [/\bmeanwhile\b/, 'the time that is meant'],
  [/\bof ours\b/, "the gateway's"],
  [/\bopens? (nothing|anything|what)\b/, 'authorizes'],
  [/\breckon(s|ed|ing)?\b/, 'estimates or computes'],
  [/\bremember(s|ed|ing)?\b/, 'caches or stores'],
  [/\bshared? one purse\b/, 'token bucket'],
  [/\bstands? before\b/, 'outweighs or precedes'],
  [/\btells?\b|\btold\b/, 'discloses, reports or states'],
  [/\bthat (is|are) none\b/, 'invalid'],
  [/\bwhatever\b/, 'for any, or the condition that is meant'],
  [/\bwhoever\b/, 'the caller, owner or reader'],
  [/\bwish(es|ed)?\b/, 'requests'],
  [/\bwords? of\b/, 'text, terms or the statement of'],
]

/** Names the first dialect word of a test name or of a `describe`, with its replacement; undefined if it has none. */
export function findDialect(title: string): string | undefined {
  for (const [pattern, replacement] of REPLACEMENTS) {
    const match = pattern.exec(title)
    if (match) return `contains "${match[0]}": write ${replacement}`
  }
  return undefined
}

/** Describes why a test name is not one short, plain sentence; undefined if it is. A name that is only a placeholder is data. */
export function findTitleFault(title: string): string | undefined {
  if (/^[%$]\S+$/.test(title)) return undefined
  if (title.length > MAX_LENGTH) return `has ${title.length} characters; ${MAX_LENGTH} are allowed`
  return findDialect(title) ?? findSentenceFault(title)
}

function findSentenceFault(title: string): string | undefined {
  const [first = '', ...rest] = title.split(/\s+/).filter(Boolean)
  const start = first.replace(/[,:]$/, '')
  const isNoun = NOUNS.has(start) && AFTER_NOUNS.has(rest[0] ?? '')
  if (CONTINUATIONS.has(start) || (VERBS.has(start) && !isNoun))
    return `begins with "${start}", as if it continued another name: begin with the subject`
  const hasVerb =
    AUXILIARY.test(rest.join(' ')) ||
    PLURAL.test(rest.join(' ')) ||
    rest.some((word) => THIRD_PERSON.test(word) && !/(ness|less)$/.test(word))
  if (!hasVerb) return 'has no verb: say what is guaranteed'
  if (rest.length + 1 < MIN_WORDS && !/[%$]/.test(title)) return `has fewer than ${MIN_WORDS} words: name the subject`
  return undefined
}

const TESTS = words('test it')
const GROUPS = words('describe')
type Title = Readonly<{ title: string; line: number }>

/** The literal names of the tests in a source, with their lines. */
export const findTitles = (path: string, text: string): Title[] => findNames(path, text, TESTS)
/** The literal names of the `describe` blocks in a source, with their lines. */
export const findGroupTitles = (path: string, text: string): Title[] => findNames(path, text, GROUPS)

function findNames(path: string, text: string, functions: ReadonlySet<string>): Title[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true)
  const found: Title[] = []
  const visit = (node: ts.Node): void => {
    const title = ts.isCallExpression(node) && calls(node.expression, functions) ? node.arguments[0] : undefined
    if (title && ts.isStringLiteralLike(title))
      found.push({ title: title.text, line: source.getLineAndCharacterOfPosition(title.getStart(source)).line + 1 })
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** Whether it is one of these functions, also as `test.each(…)` or `test.runIf(…)`. */
function calls(called: ts.Expression, functions: ReadonlySet<string>): boolean {
  if (ts.isIdentifier(called)) return functions.has(called.text)
  if (ts.isTaggedTemplateExpression(called)) return calls(called.tag, functions)
  return (ts.isCallExpression(called) || ts.isPropertyAccessExpression(called)) && calls(called.expression, functions)
}
