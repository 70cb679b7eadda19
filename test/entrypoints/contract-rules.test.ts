import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildSchema as buildSdl, isEnumType, isObjectType } from 'graphql'
import { describe, expect, test } from 'vitest'
import { buildSchema } from '../../src/entrypoints/graphql/schema.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import { ERROR_CODES } from '../../src/kernel/errors.ts'
import {
  connectionsHaveAllArguments,
  descriptionsAreShortAndPlain,
  idsAreNodes,
  mutationsHaveOneInputAndPayload,
  noStringForClosedLists,
  nullability,
  plainListsHaveBounds,
  scalarsAreSpecified,
  statusNeverState,
  unionMembersAgree,
  type Violation,
} from '../support/contract-rules.ts'
import { createFakeServices } from '../support/fake-services.ts'

const typeDefs = readFileSync(join(import.meta.dirname, '../../schema.graphql'), 'utf8')
const schema = buildSdl(typeDefs)
const executable = buildSchema(typeDefs, createFakeServices(), 'https://gateway.example', systemClock).schema

/** Types that are not reshaped yet. */
const NOT_YET: readonly string[] = []

/** Names of fields, or coordinates, that are text, and why. */
const STRINGS: Readonly<Record<string, string>> = {
  name: 'chosen by people',
  displayName: 'made for people, from type and usage',
  maskedNumber: 'digits of the bank',
  message: 'a sentence for developers',
  description: 'a sentence for developers',
  search: 'typed by people',
  bankName: 'chosen by people',
  eventType: 'names with dots, as in webhook bodies and server-sent events',
  'CertificationCheck.code': 'codes of checks and of errors together, which docs/ADD-A-BANK.md lists',
  path: 'names of fields',
  document: 'GraphQL',
  documents: 'GraphQL',
  'AlertTexts.key': 'pairs of a type and an action, which docs/ALERT-TEXTS.md lists',
  preview: 'a sentence for customers',
  body: 'a sentence for customers',
  notice: 'a sentence for customers',
  label: 'words for customers',
  phrase: 'chosen by the customer',
  antiPhishingPhrase: 'chosen by the customer',
  sha256Hash: 'hex digits',
  publicKey: 'whpk_ and base64, as Standard Webhooks writes it',
  contactEmail: 'an email address; a mutation names every fault of one',
  scopes: 'scopes of OAuth are strings everywhere (RFC 6749, 3.3), and one that is not known must not fail a query',
  softwareStatement: 'a JWT',
  signedReport: 'a JWS',
  revision: 'a digest',
  profileRevision: 'a digest',
  'BankCertification.notShown': 'names of checks, which docs/ADD-A-BANK.md lists',
  keyId: 'chosen by a directory',
  certificateRequest: 'PEM',
  certificateChain: 'PEM',
  privateKey: 'PEM',
  'ConnectorCertificate.subject': 'a distinguished name',
  'ConnectorCertificate.issuer': 'a distinguished name',
  fingerprint: 'hex digits',
  commonName: 'chosen by people',
  'RequestCertificateInput.organization': 'chosen by people',
  organizationalUnit: 'chosen by people',
  organizationIdentifier: 'assigned by an authority',
  licensingAuthorityName: 'chosen by people',
  licensingAuthorityId: 'assigned by ETSI',
  clientSecret: 'chosen by the bank',
  requestedData: 'terms of several standards',
  missingMembers: 'names of fields',
  profile: 'the name of a file in the catalogue',
  'ConnectorPreview.signIn': 'a sentence for operators',
  'PlannedRequest.purpose': 'operations of several standards',
  'PlannedRequest.method': 'methods of HTTP',
  'PlannedRequest.url': 'a template',
  'PlannedRequest.authentication': 'a sentence for operators',
  'PlannedRequest.headers': 'names of headers',
  'PlannedRequest.parameters': 'names of parameters',
  'ConnectorProfile.banks': 'chosen by people',
  'ConnectorProfile.sources': 'places of documents',
  'ConnectorProfile.outOfReach': 'a sentence for operators',
  'ConnectorProfile.notes': 'sentences for operators',
  clientCertificate: 'PEM',
  clientIdAtBank: 'chosen by the bank',
  signingSecret: 'random',
  requestId: 'the ID of a request is not the ID of an object',
  'AuditLogEntry.detail': 'its values depend on the action',
  'AuditLogChange.field': 'fields of several types',
  'AuditLogChange.before': 'values of several types',
  'AuditLogChange.after': 'values of several types',
}

const UNSPECIFIED_SCALARS = {
  ConnectorRegistration: 'no JSON Schema of it is published yet',
  Decimal: 'its description states all of it',
  IdempotencyKey: 'its description states all of it',
}

const loadsByItself = (typeName: string, fieldName: string): boolean => {
  const type = executable.getType(typeName)
  return isObjectType(type) && type.getFields()[fieldName]?.resolve !== undefined
}

const RULES = {
  'a field is nullable only if it is deniable or loads by itself, with @semanticNonNull, or says when it is null':
    nullability(loadsByItself),
  'a field that several members of a union have has one type and nullability': unionMembersAgree,
  'a status is called status and never state': statusNeverState,
  'a value of a closed list is an enum or a scalar and never a String': noStringForClosedLists(STRINGS),
  'a list that is no connection says its bound': plainListsHaveBounds,
  'a type with an id implements Node': idsAreNodes,
  'a mutation has one input and a payload of its own with userErrors': mutationsHaveOneInputAndPayload,
  'a connection takes first, after, last, before, filter and orderBy in this order': connectionsHaveAllArguments,
  'a description is short and in plain words': descriptionsAreShortAndPlain,
  'a scalar names its specification': scalarsAreSpecified(UNSPECIFIED_SCALARS),
}

describe('in the contract', () => {
  test.each(Object.entries(RULES))('%s', (_sentence, rule) => {
    const texts = rule(schema)
      .filter(({ typeName }) => !NOT_YET.includes(typeName))
      .map(({ text }) => text)
    expect(texts).toEqual([])
  })

  test('every type in the list of exceptions breaks a rule', () => {
    const broken = new Set(Object.values(RULES).flatMap((rule) => rule(schema).map(({ typeName }) => typeName)))
    expect(NOT_YET.filter((name) => !broken.has(name))).toEqual([])
  })

  test('the enum ErrorCode has the codes of the table of errors', () => {
    const type = schema.getType('ErrorCode')
    expect(isEnumType(type) && type.getValues().map(({ name }) => name)).toEqual(Object.keys(ERROR_CODES))
  })
})

describe('each rule notices what breaks it', () => {
  const DIRECTIVES = typeDefs.slice(0, typeDefs.indexOf('scalar DateTime'))
  const broken = (sdl: string, rule: (one: typeof schema) => Violation[]): string[] =>
    rule(buildSdl(`${DIRECTIVES} scalar Cursor ${sdl}`)).map(({ text }) => text)

  test.each([
    ['a nullable field without a reason', 'type Query @public { a: Int }'],
    ['a non-null field that can be denied', 'type Query @public { a: Int! @authenticated }'],
    ['a non-null field of a type that can be denied', 'type Query @public { a: A! } type A @authenticated { b: Int! }'],
    ['a @semanticNonNull field that neither loads nor is denied', 'type Query @public { a: Int @semanticNonNull }'],
    [
      'a @semanticNonNull field that says when it is null',
      'type Query @public { "Null if none." a: Int @authenticated @semanticNonNull }',
    ],
    ['a nullable item without a reason', 'type Query @public { a: [Int] @authenticated @semanticNonNull }'],
  ])('the rule of nullability refuses %s', (_what, sdl) => {
    expect(
      broken(
        sdl,
        nullability(() => false),
      ),
    ).toHaveLength(1)
  })

  test.each<[string, string, (one: typeof schema) => Violation[]]>([
    ['a union', 'type Query { a: U } union U = A | B type A { c: Int } type B { c: Int! }', unionMembersAgree],
    ['a state', 'type Query { state: Int }', statusNeverState],
    ['a String', 'type Query { kind: String }', noStringForClosedLists({})],
    ['a list', 'type Query { "All." a: [Query!] }', plainListsHaveBounds],
    ['an id', 'type Query { a: A } type A { id: ID! }', idsAreNodes],
    ['a mutation', 'type Query { a: Int } type Mutation { doIt(id: ID!): Query }', mutationsHaveOneInputAndPayload],
    [
      'a connection',
      'type Query { a(first: Int, after: Cursor): AConnection } type AConnection { b: Int }',
      connectionsHaveAllArguments,
    ],
    ['an old word', '"What was asked." type Query { a: Int }', descriptionsAreShortAndPlain],
    [
      'a long description',
      `"${'A sentence that is long. '.repeat(20)}" type Query { a: Int }`,
      descriptionsAreShortAndPlain,
    ],
    ['a scalar', 'type Query { a: Thing } scalar Thing', (one) => scalarsAreSpecified({ Cursor: '' })(one)],
  ])('%s', (_what, sdl, rule) => {
    expect(broken(sdl, rule).length).toBeGreaterThan(0)
  })
})
