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
import { checkLimits, DOCUMENT_LIMITS, operationTooLarge } from './limits.ts'

/**
 * Reads the text of a document: size, tokens, syntax, limits, and then the rules of the specification against the whole
 * contract. What the caller may see of it is decided by the plan. Throws `OPERATION_TOO_LARGE`, or `InvalidDocument`.
 */
export type ParseDocument = (text: string) => DocumentNode

/** A document that was read: it is within the limits and valid. */
export interface ParsedDocument {
  /** Digest of its text. */
  readonly hash: string
  readonly document: DocumentNode
}

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

/** The one way by which a document enters, whatever it is for: to be executed, listened to, registered or explained. */
export function createDocumentParser(schema: GraphQLSchema): ParseDocument {
  return (text) => {
    if (text.length > DOCUMENT_LIMITS.characters) throw operationTooLarge('characters')
    const document = parseSyntax(text)
    checkLimits(document)
    rejectNul(text, document)
    const conditionErrors = findConditionalSubscriptions(document)
    if (conditionErrors.length > 0) throw new InvalidDocument(conditionErrors.slice(0, MAX_ERRORS), document)
    const errors = validate(schema, document, undefined, { maxErrors: MAX_ERRORS, hideSuggestions: true })
    if (errors.length > 0) throw new InvalidDocument(errors.slice(0, MAX_ERRORS), document)
    return stripLocations(text, document)
  }
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
