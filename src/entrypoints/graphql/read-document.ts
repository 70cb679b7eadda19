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

/** The one place that reads documents, whether they are executed, subscribed to, registered or explained. */
export interface DocumentReader {
  /**
   * Checks size, tokens, syntax and limits, and validates against the whole schema: the plan decides later what the caller
   * may have. Throws `OPERATION_TOO_LARGE` or `InvalidDocument`.
   */
  read(text: string): ParsedDocument
  /** The same. Returns undefined for what `read` would refuse. */
  readIfValid(text: string): ParsedDocument | undefined
}

/** A document that is within the limits and valid. */
export interface ParsedDocument {
  /** Digest of its text. */
  readonly hash: string
  readonly document: DocumentNode
  /** Heap that text and tree keep in use, estimated. */
  readonly bytes: number
}

/** Measured heap of one node without its location, and of what every document has besides its nodes. */
const BYTES_PER_NODE = 140
const BYTES_PER_DOCUMENT = 2_048

/** An operation of such a document. */
export interface ParsedOperation {
  /** No other operation has the same. */
  readonly key: string
  readonly source: ParsedDocument
  readonly document: DocumentNode
  readonly operation: OperationDefinitionNode
  /** Variables that decide whether a field is selected at all; each combination has a plan of its own. */
  readonly conditionVariables: readonly string[]
}

/** A text that is no document, or one that does not fit the contract. */
export class InvalidDocument extends Error {
  /** What is wrong with it: the first few reasons. */
  readonly errors: readonly GraphQLError[]
  /** What was parsed; nothing where the text is no document. */
  readonly document: DocumentNode | undefined

  constructor(errors: readonly GraphQLError[], document?: DocumentNode) {
    super('the document is not valid')
    this.name = 'InvalidDocument'
    this.errors = errors
    this.document = document
  }
}

/** More than this helps nobody. */
const MAX_ERRORS = 5

const locations = new WeakMap<ASTNode, SourceLocation>()
/** Where a variable was defined in its text. No other node of a document knows its place. */
export const locationOf = (node: ASTNode | undefined): SourceLocation | undefined => node && locations.get(node)

/** Reads documents of one schema. */
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

/** The library allows NUL in comments and strings; a document is stored as it is, and its strings become values. */
function rejectNul(text: string, document: DocumentNode): void {
  const errors: GraphQLError[] = []
  const report = (node?: ASTNode) =>
    errors.push(new GraphQLError('A document must hold no NUL character.', { nodes: node ?? null }))
  if (text.includes('\0')) report()
  else if (ESCAPED_NUL.test(text))
    visit(document, { StringValue: (node) => (node.value.includes('\0') ? void report(node) : undefined) })
  if (errors.length > 0) throw new InvalidDocument(errors.slice(0, MAX_ERRORS), document)
}
const ESCAPED_NUL = /\\u(0000|\{0+\})/

/**
 * Conditions on what subscriptions select at their root (GraphQL, September 2025, 5.2.4.1): what a stream is of must not
 * depend on variables. The library has no such rule, and its own for the one root field throws where there is a variable.
 */
function findConditionalSubscriptions({ definitions }: DocumentNode): GraphQLError[] {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const one of definitions) if (one.kind === Kind.FRAGMENT_DEFINITION) fragments.set(one.name.value, one)
  const errors: GraphQLError[] = []
  const visited = new Set<SelectionSetNode>()
  function visitSelections({ selections }: SelectionSetNode): void {
    for (const selection of selections) {
      const condition = selection.directives?.find(({ name }) => /^(skip|include)$/.test(name.value))
      if (condition)
        errors.push(new GraphQLError('A subscription must not have a condition at its root.', { nodes: condition }))
      const inner =
        selection.kind === Kind.FRAGMENT_SPREAD
          ? fragments.get(selection.name.value)?.selectionSet
          : selection.kind === Kind.INLINE_FRAGMENT && selection.selectionSet
      if (!inner || visited.has(inner)) continue
      visited.add(inner)
      visitSelections(inner)
    }
  }
  for (const one of definitions)
    if (one.kind === Kind.OPERATION_DEFINITION && one.operation === OperationTypeNode.SUBSCRIPTION)
      visitSelections(one.selectionSet)
  return errors
}

/** The rules whose errors can name what was probably meant. */
const SUGGESTING_RULES = [FieldsOnCorrectTypeRule, KnownArgumentNamesRule, KnownTypeNamesRule, ValuesOfCorrectTypeRule]
const MAX_SUGGESTIONS = 20

/**
 * Errors of a document that name what was probably meant, by a part of the contract: a suggestion can only name what that
 * part has.
 */
export const errorsWithSuggestions = (schema: GraphQLSchema, document: DocumentNode): readonly GraphQLError[] =>
  validate(schema, document, SUGGESTING_RULES, { maxErrors: MAX_SUGGESTIONS }).filter(({ message }) =>
    message.includes('Did you mean'),
  )

/** Locations hold on to every token and the text: they are most of what a tree keeps in use. */
function stripLocations(text: string, original: DocumentNode): DocumentNode {
  const document = parse(text, { noLocation: true })
  const variables = variablesOf(document)
  for (const [index, { loc }] of variablesOf(original).entries())
    if (loc) locations.set(variables[index]!, { line: loc.startToken.line, column: loc.startToken.column })
  return document
}

const variablesOf = ({ definitions }: DocumentNode): VariableDefinitionNode[] =>
  definitions.flatMap((one) => (one.kind === Kind.OPERATION_DEFINITION ? (one.variableDefinitions ?? []) : []))

function parseSyntax(text: string): DocumentNode {
  try {
    return parse(text, { maxLexicalTokens: DOCUMENT_LIMITS.tokens })
  } catch (error) {
    if (error instanceof GraphQLError) throw new InvalidDocument([error])
    throw error
  }
}
