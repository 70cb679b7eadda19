/** JSON text in ASCII. With one byte per character, it needs no encoding when it is written to a socket. */
export type JsonText = string

/** JSON null. */
export const NULL: JsonText = 'null'

const UNESCAPED_ASCII = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/

/** A string as JSON. */
export const quoteJson = (value: string): JsonText =>
  UNESCAPED_ASCII.test(value) ? `"${value}"` : toAsciiJson(JSON.stringify(value))

/** The same JSON with every character outside ASCII escaped. */
export const toAsciiJson = (json: string): JsonText =>
  json.replace(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
