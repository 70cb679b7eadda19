import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { digest } from '../kernel/ids.ts'
import type { StandardId } from './connector.ts'

/** Where the facts of a profile are from, and when they were read. */
export interface ProfileEvidence {
  /** The bank's or scheme's own page, or the code of a library that is used with the bank. */
  readonly kind: 'BANK' | 'LIBRARY'
  readonly source: string
  /** YYYY-MM-DD. */
  readonly readOn: string
}

/** How a named bank, or several with one interface, speaks its standard. */
export interface BankProfile {
  /** `<file>`, or `<file>/<brand>` for a brand with addresses of its own. */
  readonly id: string
  /** Null if the bank speaks none of the four, so that it is out of reach. */
  readonly standard: StandardId | null
  /** The banks and brands that it is for. */
  readonly banks: readonly string[]
  readonly evidence: readonly ProfileEvidence[]
  /** When somebody signed in at the bank with this profile, YYYY-MM-DD; null if nobody has. */
  readonly triedAtBank: string | null
  /** Why the bank cannot be connected, if it cannot. */
  readonly outOfReach: string | null
  /** What an operator has to know or arrange, in sentences. */
  readonly notes: readonly string[]
  /**
   * The members that the operator states, as paths such as `oauth.metadataUrl`: those that no public source names, or that the bank
   * agrees with each operator. Those below `dynamicRegistration` are needed only without a `clientId`.
   */
  readonly operatorStates: readonly string[]
  /** The members of a registration that the bank determines. The operator adds the others. */
  readonly registration: Readonly<Record<string, unknown>>
}

const DIRECTORY = join(import.meta.dirname, 'profiles')
const date = z.string().regex(/^\d{4}-\d{2}-\d{2}$/, 'must be a date')

const names = z.array(z.string().min(1).max(60)).min(1)
const evidence = z.array(
  z.strictObject({ kind: z.enum(['BANK', 'LIBRARY']), source: z.string().min(1).max(300), readOn: date }),
)
const notes = z.array(z.string().max(400)).default([])
const members = z.record(z.string(), z.unknown()).default({})
const outOfReach = z.string().max(300).nullable()
const operatorStates = z.array(z.string().regex(/^[a-z]\w*(\.\w+)*$/i, 'must be the path of a member')).default([])

/** The document of a profile, version 1. Its registration is parsed by the schema of its standard. */
const profileDocument = z
  .strictObject({
    version: z.literal(1),
    standard: z.enum(['OBIE', 'BERLIN_GROUP', 'FDX', 'CDR']).nullable(),
    banks: names,
    evidence: evidence.min(1),
    triedAtBank: date.nullable(),
    outOfReach: outOfReach.default(null),
    notes,
    operatorStates,
    registration: members,
    /** Brands with members of their own, by the second part of their id. Objects are merged, lists replaced. */
    brands: z
      .record(
        z.string().regex(/^[a-z][a-z0-9-]*$/),
        z.strictObject({
          banks: names,
          evidence: evidence.default([]),
          outOfReach: outOfReach.optional(),
          notes,
          operatorStates,
          registration: members,
        }),
      )
      .default({}),
  })
  .refine(({ standard, outOfReach: reason }) => standard !== null || reason !== null, {
    path: ['standard'],
    message: 'must name a standard unless `outOfReach` has a reason',
  })

/**
 * The profile in a document, then those of its brands. Throws a `ZodError` with every fault, each at its path; unknown members are
 * faults. A brand has the evidence, notes and open members of its document too, and is out of reach with it.
 */
export function parseProfiles(id: string, document: unknown): BankProfile[] {
  const { version: _version, brands, ...profile } = profileDocument.parse(document)
  return [
    { ...profile, id },
    ...Object.entries(brands).map(([name, brand]) => ({
      ...profile,
      id: `${id}/${name}`,
      banks: brand.banks,
      evidence: [...profile.evidence, ...brand.evidence],
      outOfReach: brand.outOfReach ?? profile.outOfReach,
      notes: [...profile.notes, ...brand.notes],
      operatorStates: [
        ...profile.operatorStates.filter((path) => memberAt(brand.registration, path) === undefined),
        ...brand.operatorStates,
      ],
      registration: completeProfile(profile.registration, brand.registration) as Record<string, unknown>,
    })),
  ]
}

let catalogue: ReadonlyMap<string, BankProfile> | undefined

/** Every profile by its id. Throws if a file is invalid. */
export function bankProfiles(): ReadonlyMap<string, BankProfile> {
  catalogue ??= new Map(
    readdirSync(DIRECTORY)
      .filter((name) => name.endsWith('.json'))
      .sort()
      .flatMap((name) =>
        parseProfiles(name.slice(0, -'.json'.length), JSON.parse(readFileSync(join(DIRECTORY, name), 'utf8'))),
      )
      .map((profile) => [profile.id, profile]),
  )
  return catalogue
}

/** Identifies the content of a profile: what it says of the interface, without its sources and notes. */
export const profileRevision = ({ standard, registration, operatorStates }: BankProfile): string =>
  digest(JSON.stringify([standard, registration, operatorStates])).slice(0, REVISION_LENGTH)
const REVISION_LENGTH = 12

/** The registration of a profile with the operator's members, which take precedence. Objects are merged, lists replaced. */
export function completeProfile(profile: unknown, members: unknown): unknown {
  if (!isObject(profile) || !isObject(members)) return members === undefined ? profile : members
  const names = new Set([...Object.keys(profile), ...Object.keys(members)])
  return Object.fromEntries([...names].map((name) => [name, completeProfile(own(profile, name), own(members, name))]))
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const own = (object: Record<string, unknown>, name: string): unknown =>
  Object.hasOwn(object, name) ? object[name] : undefined

/** The member at a path such as `oauth.metadataUrl`. */
export const memberAt = (registration: unknown, path: string): unknown =>
  path.split('.').reduce((value, name) => (isObject(value) ? own(value, name) : undefined), registration)
