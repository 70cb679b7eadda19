// Assembles the files of a container image: `node tools/image.ts <folder> [production|sandbox]`. It includes only the packages
// that production code needs according to the lock file, without installers, build tools, node and PostgreSQL. Run it after
// `npm ci`, which generates src/generated.
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = join(import.meta.dirname, '..')

type Target = 'production' | 'sandbox'

const INCLUDED_FILES = ['package.json', 'schema.graphql', 'prisma/migrations', 'src']
/** Files that only the sandbox profile loads. */
const SANDBOX_FILES = ['src/sandbox', 'src/sandbox-banks.ts', 'src/seed.ts']

interface LockedPackage {
  readonly dev?: true
  readonly optional?: true
  readonly devOptional?: true
}

/**
 * The folders of the packages that `npm ci --omit=dev --omit=optional` installs, without types. Optional are Node, PostgreSQL and
 * the generator of the Prisma client, for local runs and installation.
 */
export const findProductionPackages = (packages: Readonly<Record<string, LockedPackage>>): string[] =>
  Object.entries(packages)
    .filter(([path, { dev, optional, devOptional }]) => path !== '' && !dev && !optional && !devOptional)
    .map(([path]) => path)
    .filter((path) => !/node_modules\/(@types\/|undici-types$)/.test(path))

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
