// Assembles the files of a container image: `node tools/image.ts <folder> [production|sandbox]`. It includes only the packages
// that production code needs according to the lock file, without installers, build tools, Node and PostgreSQL. Run it after
// `npm ci`, which generates src/generated.
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = join(import.meta.dirname, '..')

type Target = 'production' | 'sandbox'

const INCLUDED_FILES = ['package.json', 'schema.graphql', 'prisma/migrations', 'src']
/** Files that only the sandbox profile loads. */
const SANDBOX_FILES = ['src/sandbox', 'src/sandbox-banks.ts', 'src/seed.ts']

/** Dependencies that only the installation runs: `prisma` generates src/generated. They are not optional (docs/decisions/0028). */
const INSTALLERS: ReadonlySet<string> = new Set(['prisma'])

type Versions = Readonly<Record<string, string>>

interface LockedPackage {
  readonly dependencies?: Versions
  readonly optionalDependencies?: Versions
  readonly peerDependencies?: Versions
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

/**
 * The folders of the packages that production code can load: the dependencies of package.json without optional ones, installers
 * and types, with all that these depend on. `packages` is that of package-lock.json.
 */
export function findProductionPackages(packages: Readonly<Record<string, LockedPackage>>): string[] {
  const found = new Set<string>()
  const add = (path: string): void => {
    if (found.has(path) || /node_modules\/(@types\/|undici-types$)/.test(path)) return
    found.add(path)
    const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } = packages[path]!
    const required = Object.keys({ ...dependencies, ...peerDependencies }).filter(
      (name) => !(name in (optionalDependencies ?? {})) && !peerDependenciesMeta?.[name]?.optional,
    )
    addAll(path, required)
  }
  const addAll = (importer: string, names: readonly string[]): void => {
    for (const name of names) {
      const path = resolvePackage(packages, importer, name)
      if (path !== undefined) add(path)
    }
  }
  const names = Object.keys(packages['']!.dependencies!)
  addAll(
    '',
    names.filter((name) => !INSTALLERS.has(name)),
  )
  return [...found].sort()
}

/** Where Node finds a package that code in the folder `importer` imports. Undefined if an optional one is not in the lock file. */
function resolvePackage(packages: Readonly<Record<string, LockedPackage>>, importer: string, name: string) {
  for (let folder = importer; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('node_modules/') - 1))) {
    const path = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`
    if (path in packages) return path
    if (folder === '') return undefined
  }
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
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Readonly<Record<string, LockedPackage>>
  }
  for (const packagePath of findProductionPackages(lock.packages)) {
    const packageDir = join(root, packagePath)
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
