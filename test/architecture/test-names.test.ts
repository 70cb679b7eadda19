import { describe, expect, test } from 'vitest'
import { findTitleFault, findTitles } from '../../tools/test-names.ts'

describe('the rule for test names', () => {
  test.each([
    'a slow token endpoint holds no database connection',
    'two tabs of one browser end in the session of the one that finished last',
    'claims of a process that ended are taken over',
    'if the bank does not answer, the last band is shown',
    '%s is refused',
    '%s',
  ])('a name that is a sentence is accepted: %s', (title) => {
    expect(findTitleFault(title)).toBeUndefined()
  })

  test.each([
    ['is refused whole, and not repeated', 'begins with "is"'],
    ['of two that end at once, one tells the bank', 'begins with "of"'],
    ['that a bank does not give hold no connection', 'begins with "that"'],
    ['claims nothing where the bank hangs', 'begins with "claims"'],
    ['the type of one account', 'has no verb'],
    ['a redirect is refused', 'has fewer than 5 words'],
  ])('a fragment is refused with what it lacks: %s', (title, fault) => {
    expect(findTitleFault(title)).toContain(fault)
  })

  test('every way to declare a test is found, with its line', () => {
    const source =
      "test('one', run)\ntest.each([1])('two %s', run)\ntest.runIf(true)('three', run)\ndescribe('four', run)\n"
    expect(findTitles('a.test.ts', source)).toEqual([
      { title: 'one', line: 1 },
      { title: 'two %s', line: 2 },
      { title: 'three', line: 3 },
    ])
  })
})
