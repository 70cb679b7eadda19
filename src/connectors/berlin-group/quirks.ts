/** Card accounts live under their own path and may share ids with cash accounts, so their refs carry a mark. */
const CARD_MARK = 'card:'
/** The ref of a card account, told apart from a cash account of the same id. */
export const cardRef = (resourceId: string): string => `${CARD_MARK}${resourceId}`

/** The bank's own id where the ref is that of a card account. */
export const cardIdOf = (ref: string): string | undefined =>
  ref.startsWith(CARD_MARK) ? ref.slice(CARD_MARK.length) : undefined
