import type { BankCall, BankResponse } from '../bank-api.ts'
import { VERSIONS, type VersionedOperation } from './quirks.ts'

/** 406 Not Acceptable: the bank has no version in the requested range (1.36, "HTTP Headers", `x-v`). */
const UNSUPPORTED_VERSION = 406

type CallBank = (operation: VersionedOperation, call?: BankCall) => Promise<BankResponse>

/**
 * Adds `x-v` and `x-min-v` to each call. A bank should return its highest version in that range by itself. If it has none of the
 * newest, as banks do that ignore `x-min-v`, the next version is tried once, and used from then on until the bank has none of it.
 */
export function withVersions(callBank: CallBank): CallBank {
  const used = new Map<VersionedOperation, number>()

  const callVersion = (operation: VersionedOperation, version: number, call: BankCall, returnedStatus?: number) =>
    callBank(operation, {
      ...call,
      headers: { ...call.headers, 'x-v': String(version), 'x-min-v': String(VERSIONS[operation].at(-1)) },
      ...(returnedStatus !== undefined && { returnedStatus }),
    })

  return async (operation, call = {}) => {
    const [newest, ...older] = VERSIONS[operation]
    const version = used.get(operation) ?? newest
    const other = version === newest ? older[0] : newest
    if (other === undefined) return callVersion(operation, version, call)
    const response = await callVersion(operation, version, call, UNSUPPORTED_VERSION)
    if (response.status !== UNSUPPORTED_VERSION) return response
    const result = await callVersion(operation, other, call)
    used.set(operation, other)
    return result
  }
}
