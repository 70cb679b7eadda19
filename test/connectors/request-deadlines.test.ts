import { expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { ACCESS, ok, scriptedBank } from '../support/scripted-bank.ts'
import { ADDRESS, EXAMPLES } from '../support/standards.ts'

test.each(Object.keys(STANDARDS) as StandardId[])(
  'a request of %s may take as long as the deadline of a read that the bank registered',
  async (id) => {
    for (const [readTimeoutMs, timeoutMs, firstByteTimeoutMs] of [
      [undefined, 4_000, 3_000],
      [1_400, 4_000, 3_000],
      [10_000, 10_000, 10_000],
    ] as const) {
      const { tools, sent } = scriptedBank(() => ok(EXAMPLES[id].accounts()))
      const registration = STANDARDS[id].registration(ADDRESS).parse(EXAMPLES[id].registration)
      await STANDARDS[id].connect(registration, { ...tools, readTimeoutMs }).accounts(ACCESS, null)
      expect(sent[0]).toMatchObject({ timeoutMs, firstByteTimeoutMs })
    }
  },
)
