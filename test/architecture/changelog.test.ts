import { buildSchema } from 'graphql'
import { describe, expect, test } from 'vitest'
import { diffSchemas, findViolations } from '../../tools/contract.ts'

const before = buildSchema('type Query { a: String b(x: Int): Int } enum E { ONE }')

describe('the changelog of the contract', () => {
  test('the changelog lists what is new, what is deprecated, and what breaks clients', () => {
    const after = buildSchema(
      'type Query { a: String @deprecated(reason: "use c, until 2027-03-01") c: T } type T { d: Int } enum E { ONE TWO }',
    )
    const changes = diffSchemas(before, after)
    const of = (kind: string) => changes.filter((change) => change.kind === kind).map(({ description }) => description)
    expect(of('BREAKING')).toEqual(['Query.b was removed.'])
    expect(of('NEW')).toEqual(expect.arrayContaining(['Query.c was added.', 'T was added.', 'E.TWO was added.']))
    expect(of('DANGEROUS')).toEqual(['TWO was added to enum type E.'])
    expect(of('DEPRECATED')).toEqual(['Query.a: use c, until 2027-03-01'])
  })

  test('a breaking change without an announcement, with a late one, or before its day is refused', () => {
    const changes = diffSchemas(before, buildSchema('type Query { a: String } enum E { ONE }'))
    const what = 'Query.b was removed.'
    const refuse = (announced: string, from: string) =>
      findViolations(changes, [{ description: what, announcedOn: announced, effectiveFrom: from }], '2027-01-01')
    expect(findViolations(changes, [], '2027-01-01')).toEqual([`breaking change without announcement: ${what}`])
    expect(refuse('2026-12-15', '2026-12-31')).toEqual([`announced less than 90 days before it takes effect: ${what}`])
    expect(refuse('2026-10-01', '2027-02-01')).toEqual([`must not be published before 2027-02-01: ${what}`])
    expect(refuse('2026-09-01', '2026-12-31')).toEqual([])
  })

  test('a deprecation without the day of its removal is refused', () => {
    const after = buildSchema('type Query { a: String @deprecated(reason: "old") b(x: Int): Int } enum E { ONE }')
    expect(findViolations(diffSchemas(before, after), [], '2027-01-01')).toEqual([
      'a deprecation reason must name the removal date (YYYY-MM-DD): Query.a: old',
    ])
  })
})
