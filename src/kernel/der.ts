/** The tags of the types that certificates consist of (X.690, 8). */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectId: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  sequence: 0x30,
  set: 0x31,
  context0: 0xa0,
} as const

/** Encodes tag, length and content (X.690, 8.1). Supports at most 65,535 bytes of content. */
export function encodeDer(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const length = body.length
  const lengthBytes = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...lengthBytes]), body])
}

/** Encodes an object identifier in dotted form (X.690, 8.19). */
export function encodeOid(oid: string): Buffer {
  const [first = 0, second = 0, ...rest] = oid.split('.').map(Number)
  return encodeDer(TAG.objectId, Buffer.from([first * 40 + second, ...rest.flatMap(toBase128)]))
}

function toBase128(value: number): number[] {
  const bytes = [value & 0x7f]
  for (let rest = value >> 7; rest > 0; rest >>= 7) bytes.unshift((rest & 0x7f) | 0x80)
  return bytes
}

/** The PEM form of encoded bytes (RFC 7468). */
export const encodePem = (label: string, bytes: Buffer): string =>
  [`-----BEGIN ${label}-----`, ...bytes.toString('base64').match(/.{1,64}/g)!, `-----END ${label}-----`, ''].join('\n')
