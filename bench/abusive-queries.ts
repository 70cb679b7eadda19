import { sendRequest, type BenchRequest } from './load.ts'

const repeat = (count: number, build: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => build(index)).join(' ')

/** Queries that try to overload the server; test/entrypoints/limits.test.ts shows how each is rejected. */
const ABUSIVE_QUERIES: readonly string[] = [
  `{ ${repeat(1_100, () => 'banks { id }')} }`,
  `{ ${repeat(150, (index) => `a${index}: __typename`)} }`,
  `{ customer ${'{ consents { bank '.repeat(20)}{ id }${'} }'.repeat(20)} }`,
  `{ ...F0 } ${repeat(20, (index) => `fragment F${index} on Query { ...F${index + 1} ...F${index + 1} }`)} fragment F20 on Query { banks { id } }`,
  `{ ${repeat(14, () => `banks { ${repeat(14, (index) => `x: name y${index}: id`)} }`)} }`,
  '{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }',
  '{ banks { id }'.repeat(300),
]

/** The longest time to reject an abusive query, and the longest response time of a normal query beside it, in milliseconds. */
export async function measureAbusiveQueries(
  port: number,
): Promise<{ rejectionMs: number; concurrentRequestMs: number }> {
  const createRequest = (query: string): BenchRequest => ({ port, headers: {}, body: JSON.stringify({ query }) })
  const measureMs = async (query: string): Promise<number> => {
    const startedAt = performance.now()
    await sendRequest(createRequest(query)).catch(() => undefined)
    return performance.now() - startedAt
  }
  let [rejectionMs, concurrentRequestMs] = [0, 0]
  for (let round = 0; round < 10; round++)
    for (const query of ABUSIVE_QUERIES) {
      const [durationMs, ...concurrentDurationsMs] = await Promise.all([
        // A different text each time, so that no cache has it.
        measureMs(`# ${round}\n${query}`),
        ...Array.from({ length: 4 }, () => measureMs('{ banks { id } }')),
      ])
      if (round === 0) continue
      rejectionMs = Math.max(rejectionMs, durationMs)
      concurrentRequestMs = Math.max(concurrentRequestMs, ...concurrentDurationsMs)
    }
  return { rejectionMs, concurrentRequestMs }
}
