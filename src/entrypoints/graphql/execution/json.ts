/** JSON text in ASCII: with one byte per character it is written to a socket without being encoded. */
export type JsonText = string

/** JSON null. */
export const NULL: JsonText = 'null'

const UNESCAPED_ASCII = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/

/** A string as JSON. */
export const quoteJson = (value: string): JsonText =>
  UNESCAPED_ASCII.test(value) ? `"${value}"` : toAsciiJson(JSON.stringify(value))

/** The same JSON with every character outside ASCII escaped. */
export const toAsciiJson = (json: string): JsonText =>
  json.replace(/[^\x20-\x7e]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)
