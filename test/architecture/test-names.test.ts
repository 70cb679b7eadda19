import { describe, expect, test } from 'vitest'
import { findDialect, findGroupTitles, findTitleFault, findTitles } from '../../tools/test-names.ts'

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
    ['of two that end together, one notifies the bank', 'begins with "of"'],
    ['that a bank does not give hold no connection', 'begins with "that"'],
    ['claims nothing where the bank hangs', 'begins with "claims"'],
    ['the type of one account', 'has no verb'],
    ['a redirect is refused', 'has fewer than 5 words'],
  ])('a fragment is refused with what it lacks: %s', (title, fault) => {
    expect(findTitleFault(title)).toContain(fault)
  })

  test.each([
    ['a refused caller is told the limit', '"told": write discloses, reports or states'],
    ['a request in vain does not lengthen the wait', '"in vain": write without success'],
    ['new addresses share one purse', '"share one purse": write token bucket'],
    ['whoever asks shares the call', '"whoever": write the caller, owner or reader'],
    ['a memory keeps nothing of a failure', '"a memory": write a cache'],
    ['a process reads the database until it hears', '"hears": write receives'],
    ['an identity stands before a session', '"stands before": write outweighs'],
    ['a second signal ends the process at once', '"at once": write immediately'],
    ['a token with a stolen proof opens nothing', '"opens nothing": write authorizes'],
  ])('a dialect word is refused with its replacement: %s', (title, fault) => {
    expect(findTitleFault(title)).toContain(fault)
    expect(findDialect(title)).toContain(fault)
  })

  test.each([
    'the memory of a gateway stays bounded under load',
    'each purse is a balance in its own currency',
    'a link opens the app of the bank',
    'a retold event has no effect on the account',
  ])('a word that only resembles dialect is accepted: %s', (title) => {
    expect(findTitleFault(title)).toBeUndefined()
  })

  test('a test name may have 110 characters and no more', () => {
    const title = 'a slow token endpoint holds no database connection '
    expect(findTitleFault(title.padEnd(110, 'x'))).toBeUndefined()
    expect(findTitleFault(title.padEnd(111, 'x'))).toBe('has 111 characters; 110 are allowed')
  })

  test('every way to declare a test is found, with its line', () => {
    const source =
      "test('one', run)\ntest.each([1])('two %s', run)\ntest.runIf(true)('three', run)\ndescribe('four', run)\n"
    expect(findTitles('a.test.ts', source)).toEqual([
      { title: 'one', line: 1 },
      { title: 'two %s', line: 2 },
      { title: 'three', line: 3 },
    ])
    expect(findGroupTitles('a.test.ts', source)).toEqual([{ title: 'four', line: 4 }])
  })
})
