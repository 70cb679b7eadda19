const FIELD_PRIME = 2n ** 255n - 19n
/** The curve's constant d = -121665 / 121666 (RFC 8032, 5.1). */
const CURVE_D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n
const BYTES = 32

/**
 * Whether `encoded` is a safe Ed25519 public key: 32 bytes, canonical, on the curve (RFC 8032, 5.1.3), and not one of the
 * eight points of small order. Libraries import any 32 bytes, but signatures for a key of small order can be forged.
 */
export function isEd25519PublicKey(encoded: Uint8Array): boolean {
  if (encoded.length !== BYTES) return false
  const bytes = Uint8Array.from(encoded).reverse()
  bytes[0]! &= 0x7f
  const y = BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
  if (y >= FIELD_PRIME) return false
  const y2 = (y * y) % FIELD_PRIME
  const x2 = modulo((y2 - 1n) * power(CURVE_D * y2 + 1n, FIELD_PRIME - 2n))
  // Euler's criterion for a square. It also rejects x = 0, where the order is 1 or 2.
  if (power(x2, (FIELD_PRIME - 1n) / 2n) !== 1n) return false
  return !isOfSmallOrder(x2, y2)
}

/** Points of order 4 have y = 0. Points of order 8 are those whose double has y = 0, which means x² = -y². */
const isOfSmallOrder = (x2: bigint, y2: bigint): boolean => y2 === 0n || modulo(x2 + y2) === 0n

const modulo = (value: bigint): bigint => ((value % FIELD_PRIME) + FIELD_PRIME) % FIELD_PRIME

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n
  for (let factor = modulo(base), left = exponent; left > 0n; left >>= 1n, factor = (factor * factor) % FIELD_PRIME)
    if (left & 1n) result = (result * factor) % FIELD_PRIME
  return result
}
