import type { Services } from '../../src/entrypoints/graphql/services.ts'

const MODULES = ['accounts', 'alerts', 'auditLog', 'banks', 'clients', 'consents', 'deliveries', 'jobs'] as const

/** Something of which nothing can be called, nor anything of it. */
const createRefusal = (place: string): unknown =>
  new Proxy(() => undefined, {
    get: (_target, name) => createRefusal(`${place}.${String(name)}`),
    apply: () => {
      throw new Error(`the field calls ${place}`)
    },
  })

/** Services of which nothing can be called but `allowed`; a call of anything else throws its name, such as `accounts.list`. */
export function createFakeServices(allowed: Readonly<Record<string, (...args: never[]) => unknown>> = {}): Services {
  const createModule = (moduleName: string): unknown =>
    new Proxy(
      {},
      {
        get: (_target, name) => {
          const place = `${moduleName}.${String(name)}`
          return allowed[place] ?? createRefusal(place)
        },
      },
    )
  return Object.fromEntries(MODULES.map((name) => [name, createModule(name)])) as unknown as Services
}
