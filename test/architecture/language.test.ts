import { describe, expect, test } from 'vitest'
import { findCommentFaults, findRelapses, findSubjectFault, wordsOf } from '../../tools/language.ts'

describe('the language check', () => {
  test('an identifier in any notation is split into its words', () => {
    expect(wordsOf('toldOAuthTypeIDs2')).toEqual(['told', 'o', 'auth', 'type', 'i', 'ds'])
    expect(wordsOf('KEPT_AFTER_MS')).toEqual(['kept', 'after', 'ms'])
  })

  test('every declared name with an old word is reported with its place and the replacement', () => {
    const source = 'const toldType = 1\nfunction lookAt(wish: string) {}\ninterface Purse { kept: number }\n'
    expect(findRelapses('src/a.ts', source)).toEqual([
      'src/a.ts:1: `toldType` contains "told": write disclosed, notified or delivered',
      'src/a.ts:2: `lookAt` contains "look": write fetch or read',
      'src/a.ts:2: `wish` contains "wish": write request',
      'src/a.ts:3: `Purse` contains "purse": write token bucket',
      'src/a.ts:3: `kept` contains "kept": write cached, saved or stored',
    ])
  })

  test('the language check names a replacement for the most frequent dialect words', () => {
    const source = 'const answeredTypes = 1, heardEvents = 2, whoeverReads = 3, gone = 4, tellPartner = 5\n'
    expect(findRelapses('src/a.ts', source)).toEqual([
      'src/a.ts:1: `answeredTypes` contains "answered": write returned or responded',
      'src/a.ts:1: `heardEvents` contains "heard": write received',
      'src/a.ts:1: `whoeverReads` contains "whoever": write caller, owner or reader',
      'src/a.ts:1: `gone` contains "gone": write ended, removed or missing',
      'src/a.ts:1: `tellPartner` contains "tell": write disclose, notify or deliver',
    ])
  })

  test('the language check reports only whole words, and no term of a standard in the folder of that standard', () => {
    expect(findRelapses('src/a.ts', 'const lookup = 1, cachedType = 2')).toEqual([])
    expect(findRelapses('src/connectors/cdr/wire.ts', 'const purse = 1')).toEqual([])
  })

  test('a dialect word in a comment is reported, and one in code or in another word is not', () => {
    const source = "/** Shows what callers are told. */\n// A retold event.\nconst text = 'whatever'\n  * starts anew\n"
    expect(findCommentFaults('src/a.ts', source)).toEqual([
      'src/a.ts:1: the comment contains "told": use plain words',
      'src/a.ts:4: the comment contains "anew": use plain words',
    ])
  })

  test('a commit subject that is longer than 72 characters or names no type is refused', () => {
    expect(findSubjectFault(`fix(consents): ${'x'.repeat(57)}`)).toBeUndefined()
    expect(findSubjectFault(`fix(consents): ${'x'.repeat(58)}`)).toContain('has 73 characters')
    expect(findSubjectFault('Reject a callback')).toContain('must begin with a type')
    expect(findSubjectFault('refactor(accounts)!: return balances by currency')).toBeUndefined()
  })
})
