import { createPublicKey, type KeyObject } from 'node:crypto'
import { createLocalJWKSet, type JSONWebKeySet, type JWK, type JWTVerifyGetKey } from 'jose'

const keyFinders = new WeakMap<JSONWebKeySet, JWTVerifyGetKey>()
const keyObjects = new WeakMap<JWK, KeyObject>()

/** Finds keys in a set by the header of a token. Each key is imported once for as long as the same set is in use. */
export function keyFinderOf(keys: JSONWebKeySet): JWTVerifyGetKey {
  let find = keyFinders.get(keys)
  if (!find) keyFinders.set(keys, (find = createLocalJWKSet(keys)))
  return find
}

/** The key object of a public JWK, which is imported once for as long as the same JWK is in use. */
export function keyObjectOf(jwk: JWK): KeyObject {
  let key = keyObjects.get(jwk)
  if (!key) keyObjects.set(jwk, (key = createPublicKey({ key: jwk, format: 'jwk' })))
  return key
}
