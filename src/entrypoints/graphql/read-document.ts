import {
  FieldsOnCorrectTypeRule,
  GraphQLError,
  Kind,
  KnownArgumentNamesRule,
  KnownTypeNamesRule,
  OperationTypeNode,
  parse,
  validate,
  ValuesOfCorrectTypeRule,
  visit,
  type ASTNode,
  type DocumentNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
  type SourceLocation,
  type VariableDefinitionNode,
} from 'graphql'
import { bytesOfText } from '../../kernel/cache.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { digest } from '../../kernel/ids.ts'
import { checkLimits, DOCUMENT_LIMITS, operationTooLarge } from './limits.ts'

/** Parses and validates every document, whether it is executed, registered or passed to `explainAccess`. */
export interface DocumentReader {
  /**
   * Checks size, tokens, syntax and limits, and validates against the whole schema. The plan later decides which fields the
   * caller may have. Throws `OPERATION_TOO_LARGE` or `InvalidDocument`.
   */
  read(text: string): ParsedDocument
  /** The same, but returns undefined if `read` would throw. */
  readIfValid(text: string): ParsedDocument | undefined
}

/** A valid document within the limits. */
export interface ParsedDocument {
  /** The digest of its text. */
  readonly hash: string
  readonly document: DocumentNode
  /** The estimated heap of its text and syntax tree. */
  readonly bytes: number
}

/** Measured heap of one node without its location, and of a document without its nodes. */
const BYTES_PER_NODE = 140
const BYTES_PER_DOCUMENT = 2_048

/** An operation of a parsed document. */
export interface ParsedOperation {
  /** Unique among all operations. */
  readonly key: string
  readonly source: ParsedDocument
  readonly document: DocumentNode
  readonly operation: OperationDefinitionNode
  /** The variables of `@skip` and `@include`. Each combination of their values has its own plan. */
  readonly conditionVariables: readonly string[]
}

/** Thrown for a document with a syntax error or one that is not valid against the schema. */
export class InvalidDocument extends Error {
  /** The first few errors. */
  readonly errors: readonly GraphQLError[]
  /** The syntax tree; undefined if the text has a syntax error. */
  readonly document: DocumentNode | undefined

  constructor(errors: readonly GraphQLError[], document?: DocumentNode) {
    super('the document is not valid')
    this.name = 'InvalidDocument'
    this.errors = errors
    this.document = document
  }
}

/** Errors that are reported at once. */
const MAX_ERRORS = 5

const locations = new WeakMap<ASTNode, SourceLocation>()
/** The location of a variable definition in the text. Locations of other nodes are not stored. */
export const locationOf = (node: ASTNode | undefined): SourceLocation | undefined => node && locations.get(node)

/** Creates a reader of documents for one schema. */
export function createDocumentReader(schema: GraphQLSchema): DocumentReader {
  function read(text: string): ParsedDocument {
    if (text.length > DOCUMENT_LIMITS.characters) throw operationTooLarge('characters')
    const original = parseSyntax(text)
    checkLimits(original)
    rejectNul(text, original)
    const conditionErrors = findConditionalSubscriptions(original)
    if (conditionErrors.length > 0) throw new InvalidDocument(conditionErrors.slice(0, MAX_ERRORS), original)
    const errors = validate(schema, original, undefined, { maxErrors: MAX_ERRORS, hideSuggestions: true })
    if (errors.length > 0) throw new InvalidDocument(errors.slice(0, MAX_ERRORS), original)
    const document = stripLocations(text, original)
    const bytes = BYTES_PER_DOCUMENT + bytesOfText(text) + BYTES_PER_NODE * countNodes(document)
    return { hash: digest(text), document, bytes }
  }

  return {
    read,
    readIfValid(text) {
      try {
        return read(text)
      } catch (thrown) {
        if (thrown instanceof InvalidDocument || thrown instanceof GatewayError) return undefined
        throw thrown
      }
    },
  }
}

function countNodes(document: DocumentNode): number {
  let count = 0
  visit(document, { enter: () => void count++ })
  return count
}

/** Rejects NUL characters, which the library allows in comments and strings but PostgreSQL cannot store. */
function rejectNul(text: string, document: DocumentNode): void {
  const errors: GraphQLError[] = []
  const report = (node?: ASTNode) =>
    errors.push(new GraphQLError('A document must not contain a NUL character.', { nodes: node ?? null }))
  if (text.includes('\0')) report()
  else if (ESCAPED_NUL.test(text))
    visit(document, { StringValue: (node) => (node.value.includes('\0') ? void report(node) : undefined) })
  if (errors.length > 0) throw new InvalidDocument(errors.slice(0, MAX_ERRORS), document)
}
const ESCAPED_NUL = /\\u(0000|\{0+\})/

/**
 * Finds `@skip` and `@include` at the root of subscriptions, which the specification forbids (GraphQL, September 2025, 5.2.4.1).
 * The library does not check this, and its rule about the single root field throws if such a directive has a variable.
 */
function findConditionalSubscriptions({ definitions }: DocumentNode): GraphQLError[] {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const definition of definitions)
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition)
  const errors: GraphQLError[] = []
  const visited = new Set<SelectionSetNode>()
  function visitSelections({ selections }: SelectionSetNode): void {
    for (const selection of selections) {
      const condition = selection.directives?.find(({ name }) => /^(skip|include)$/.test(name.value))
      if (condition)
        errors.push(
          new GraphQLError('A root field of a subscription must not have @skip or @include.', { nodes: condition }),
        )
      const inner =
        selection.kind === Kind.FRAGMENT_SPREAD
          ? fragments.get(selection.name.value)?.selectionSet
          : selection.kind === Kind.INLINE_FRAGMENT && selection.selectionSet
      if (!inner || visited.has(inner)) continue
      visited.add(inner)
      visitSelections(inner)
    }
  }
  for (const definition of definitions)
    if (definition.kind === Kind.OPERATION_DEFINITION && definition.operation === OperationTypeNode.SUBSCRIPTION)
      visitSelections(definition.selectionSet)
  return errors
}

/** The validation rules whose errors can contain suggestions. */
const SUGGESTING_RULES = [FieldsOnCorrectTypeRule, KnownArgumentNamesRule, KnownTypeNamesRule, ValuesOfCorrectTypeRule]
const MAX_SUGGESTIONS = 20

/** The errors of a document that contain suggestions. `schema` is the visible schema, so suggestions contain only its names. */
export const errorsWithSuggestions = (schema: GraphQLSchema, document: DocumentNode): readonly GraphQLError[] =>
  validate(schema, document, SUGGESTING_RULES, { maxErrors: MAX_SUGGESTIONS }).filter(({ message }) =>
    message.includes('Did you mean'),
  )

/** Parses the text again without locations, which refer to every token and the text and use most of a tree's heap. */
function stripLocations(text: string, original: DocumentNode): DocumentNode {
  const document = parse(text, { noLocation: true })
  const variables = variablesOf(document)
  for (const [index, { loc }] of variablesOf(original).entries())
    if (loc) locations.set(variables[index]!, { line: loc.startToken.line, column: loc.startToken.column })
  return document
}

const variablesOf = ({ definitions }: DocumentNode): VariableDefinitionNode[] =>
  definitions.flatMap((definition) =>
    definition.kind === Kind.OPERATION_DEFINITION ? (definition.variableDefinitions ?? []) : [],
  )

function parseSyntax(text: string): DocumentNode {
  try {
    return parse(text, { maxLexicalTokens: DOCUMENT_LIMITS.tokens })
  } catch (error) {
    if (error instanceof GraphQLError) throw new InvalidDocument([error])
    throw error
  }
}
