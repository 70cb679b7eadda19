import { shoot, type Shot } from './load.ts'

const many = (count: number, make: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => make(index)).join(' ')

/** Requests that are meant to hurt; test/entrypoints/limits.test.ts says how each is refused. */
const BOMBS: readonly string[] = [
  `{ ${many(1_100, () => 'banks { id }')} }`,
  `{ ${many(150, (index) => `a${index}: __typename`)} }`,
  `{ customer ${'{ consents { bank '.repeat(20)}{ id }${'} }'.repeat(20)} }`,
  `{ ...F0 } ${many(20, (index) => `fragment F${index} on Query { ...F${index + 1} ...F${index + 1} }`)} fragment F20 on Query { banks { id } }`,
  `{ ${many(14, () => `banks { ${many(14, (index) => `x: name y${index}: id`)} }`)} }`,
  '{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }',
  '{ banks { id }'.repeat(300),
]

/** The longest that any bomb took to be refused, and that a neighbour's request waited beside one, in milliseconds. */
export async function measureBombs(port: number): Promise<{ bombMs: number; neighbourMs: number }> {
  const shot = (query: string): Shot => ({ port, headers: {}, body: JSON.stringify({ query }) })
  const timed = async (query: string): Promise<number> => {
    const began = performance.now()
    await shoot(shot(query)).catch(() => undefined)
    return performance.now() - began
  }
  let [bombMs, neighbourMs] = [0, 0]
  for (let round = 0; round < 10; round++)
    for (const bomb of BOMBS) {
      const [took, ...beside] = await Promise.all([
        // Another text each time, so that nothing of it is known.
        timed(`# ${round}\n${bomb}`),
        ...Array.from({ length: 4 }, () => timed('{ banks { id } }')),
      ])
      if (round === 0) continue
      bombMs = Math.max(bombMs, took)
      neighbourMs = Math.max(neighbourMs, ...beside)
    }
  return { bombMs, neighbourMs }
}
