import { test } from 'vitest'

test.skip('FDX is not tested against its official files, because FDX gives them only to its members', () => undefined)
