import { createCodeMap } from '../code-map.ts'

/**
 * The 3.1.11 names of balance types, mapped to those of 4.0; banks with 4.0 often still send them.
 * The "cleared" types do not exist in 4.0 and map to booked ones.
 */
export const LEGACY_NAMES = createCodeMap<string>({
  ClosingAvailable: 'CLAV',
  ClosingBooked: 'CLBD',
  ClosingCleared: 'CLBD',
  Expected: 'XPCD',
  ForwardAvailable: 'FWAV',
  Information: 'INFO',
  InterimAvailable: 'ITAV',
  InterimBooked: 'ITBD',
  InterimCleared: 'ITBD',
  OpeningAvailable: 'OPAV',
  OpeningBooked: 'OPBD',
  OpeningCleared: 'OPBD',
  PreviouslyClosedBooked: 'PRCD',
})

/** The 3.1.11 types that are used only if the booked balance of the same phase is missing. */
export const CLEARED_TYPES = createCodeMap<true>({ ClosingCleared: true, InterimCleared: true, OpeningCleared: true })
