import { addressHeader } from './gateway.ts'
import { RequestRefused, sendRequest, type BenchRequest } from './load.ts'

const repeat = (count: number, build: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => build(index)).join(' ')

const [ATTACKER, NEIGHBOUR] = [20, 21]

/** Queries that try to overload the server; test/entrypoints/limits.test.ts shows how each is rejected. */
const ABUSIVE_QUERIES: readonly string[] = [
  `{ ${repeat(1_100, () => 'banks { nodes { id } }')} }`,
  `{ ${repeat(150, (index) => `a${index}: __typename`)} }`,
  `{ customer ${'{ consents { nodes '.repeat(20)}{ id }${'} }'.repeat(20)} }`,
  `{ ...F0 } ${repeat(20, (index) => `fragment F${index} on Query { ...F${index + 1} ...F${index + 1} }`)} fragment F20 on Query { banks { nodes { id } } }`,
  `{ ${repeat(14, () => `banks { nodes { ${repeat(14, (index) => `x: name y${index}: id`)} } }`)} }`,
  '{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }',
  '{ banks { nodes { id } }'.repeat(300),
]

/** The longest time to reject an abusive query, and the longest response time of a normal query beside it, in milliseconds. */
export async function measureAbusiveQueries(
  port: number,
): Promise<{ rejectionMs: number; concurrentRequestMs: number }> {
  const measureMs = async (query: string, customer: number): Promise<number> => {
    const benchRequest: BenchRequest = { port, headers: addressHeader(customer), body: JSON.stringify({ query }) }
    const startedAt = performance.now()
    await sendRequest(benchRequest)
    return performance.now() - startedAt
  }
  const measureRejectionMs = async (query: string): Promise<number> => {
    const startedAt = performance.now()
    await measureMs(query, ATTACKER).then(
      () => {
        throw new Error(`port ${port} executed an abusive query: ${query.slice(0, 80)}`)
      },
      (error: unknown) => {
        // A rejection for another reason, such as a rate limit, would be faster than the one to be measured.
        if (!(error instanceof RequestRefused) || error.status !== 400) throw error
      },
    )
    return performance.now() - startedAt
  }
  let [rejectionMs, concurrentRequestMs] = [0, 0]
  for (let round = 0; round < 10; round++)
    for (const query of ABUSIVE_QUERIES) {
      const [durationMs, ...concurrentDurationsMs] = await Promise.all([
        // A different text each time, so that no cache has it.
        measureRejectionMs(`# ${round}\n${query}`),
        ...Array.from({ length: 4 }, () => measureMs('{ banks { nodes { id } } }', NEIGHBOUR)),
      ])
      if (round === 0) continue
      rejectionMs = Math.max(rejectionMs, durationMs)
      concurrentRequestMs = Math.max(concurrentRequestMs, ...concurrentDurationsMs)
    }
  return { rejectionMs, concurrentRequestMs }
}
