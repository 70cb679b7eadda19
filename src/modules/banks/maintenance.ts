import { HOUR_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { MaintenanceWindow } from './model.ts'

/** How long a bank may announce that it will not answer. */
const MAX_HOURS = 48

/** Throws `INVALID_INPUT` for a window that is over, ends before it begins, or is too long. */
export function checkWindow({ from, to }: Pick<MaintenanceWindow, 'from' | 'to'>, now: Date): void {
  if (to > now && to > from && to.getTime() - from.getTime() <= MAX_HOURS * HOUR_MS) return
  throw new GatewayError('INVALID_INPUT', {
    faults: [
      {
        path: ['to'],
        message: `\`to\` must be in the future, later than \`from\`, and at most ${MAX_HOURS} hours after it.`,
      },
    ],
  })
}
