import { expect, test } from 'vitest'
import { publicKeySetSchema } from '../../src/kernel/public-keys.ts'
import { findUnstorablePath } from '../../src/kernel/storable-text.ts'
import { generateKeyPairSync } from 'node:crypto'

test.each([
  [{ a: ['x', { b: 'y\u0000' }] }, ['a', '1', 'b']],
  [{ a: { 'n\u0000': 1 } }, ['a']],
  ['\udc00', []],
  [{ a: '\ud83d\ude00', b: [null, 1, true] }, undefined],
])('the path of unstorable text is its own, or that of the object for a name: %j', (value, path) => {
  expect(findUnstorablePath(value)).toEqual(path)
})

test.each(['a\u0000b', '\ud800'])('a key whose name cannot be stored is refused at its name: %j', (kid) => {
  const key = { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }), kid }
  const { error } = publicKeySetSchema(1).safeParse({ keys: [key] })
  expect(error?.issues.map(({ path }) => path.join('.'))).toEqual(['keys.0.kid'])
})
