import { createHash } from 'node:crypto'

/** Where something was found, and in which disguise. */
export interface Finding {
  readonly sink: string
  readonly encoding: string
}

/** All the ways in which a string is looked for: as it is, and as careless or clever code would have rewritten it. */
export function disguises(text: string): Readonly<Record<string, readonly string[]>> {
  const bytes = Buffer.from(text)
  const characters = Array.from(text)
  const base64At = (offset: number, encoding: 'base64' | 'base64url'): string => {
    // The characters at both ends depend on the neighbours; those in the middle do not.
    const whole = Buffer.concat([Buffer.alloc(offset), bytes]).toString(encoding)
    return whole.slice(offset === 0 ? 0 : 4, Math.floor(((offset + bytes.length) * 8) / 24) * 4)
  }
  return {
    plain: [text],
    'lower case': [text.toLowerCase()],
    'upper case': [text.toUpperCase()],
    reversed: [characters.toReversed().join('')],
    hex: [bytes.toString('hex'), bytes.toString('hex').toUpperCase()],
    base64: [0, 1, 2].flatMap((offset) => [base64At(offset, 'base64'), base64At(offset, 'base64url')]),
    'percent encoded': [[...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')],
    'JSON escapes': [
      characters.map((character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''),
    ],
    'HTML references': [characters.map((character) => `&#${character.charCodeAt(0)};`).join('')],
    'UTF-16': [Buffer.from(text, 'utf16le').toString('latin1')],
    'SHA-256': [createHash('sha256').update(text).digest('hex'), createHash('sha256').update(text).digest('base64url')],
    MD5: [createHash('md5').update(text).digest('hex')],
  }
}

/** Every disguise of `canary` that occurs in what a sink holds. Bytes are given as latin1, so that none is lost. */
export function search(sinks: Readonly<Record<string, string>>, canary: string): Finding[] {
  const needles = Object.entries(disguises(canary))
  return Object.entries(sinks).flatMap(([sink, text]) =>
    needles.filter(([, forms]) => forms.some((form) => text.includes(form))).map(([encoding]) => ({ sink, encoding })),
  )
}
