import { newId } from '../../kernel/ids.ts'
import { throwInvalidInput } from '../../kernel/input-faults.ts'
import type { CustomerOfClient } from '../../kernel/request-context.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { phraseStore } from './phrase-store.ts'

/** The dependencies of phrases. */
export interface PhrasesDependencies {
  readonly database: Database
  readonly world: Pick<World, 'randomness'>
  readonly seal: Seal
}

/**
 * 4 to 40 letters with their marks, digits and spaces between them: nothing that could be a link, a code or a command. Marks only
 * after a letter, because between digits they would hide a code, and few of them, because many cover the lines around them.
 */
const PHRASE = /^(?=.{4,40}$)(?:\p{L}\p{M}{0,3}|\p{N})+(?: (?:\p{L}\p{M}{0,3}|\p{N})+)*$/u
/** Letters and marks that are not visible: a message without any phrase would look the same. */
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/u
const CODE = /\p{N}[\p{N} ]{3}/u
const contextOf = (id: string) => `alert-phrase:${id}` as const

/**
 * The anti-phishing phrases of customers: words that the customer chose, and that a platform shows with each alert, so that the
 * customer recognizes messages that come from it. Each client has its own, so that no platform can pass as another one.
 */
export function createPhrases({ database, world, seal }: PhrasesDependencies) {
  const store = phraseStore(database)
  return {
    /** The customer's phrase for this client. Null if there is none. */
    async find(customer: CustomerOfClient): Promise<string | null> {
      const row = await store.find(customer)
      return row ? String(await seal.unseal(contextOf(row.id), row.sealed)) : null
    },

    /** Sets the phrase, or removes it if it is null. Throws `INVALID_INPUT` for a text that could be a link or a code. */
    async set(customer: CustomerOfClient, phrase: string | null): Promise<void> {
      if (phrase === null) return store.remove(customer)
      const normalized = phrase.normalize('NFC')
      if (!PHRASE.test(normalized) || INVISIBLE.test(normalized))
        throwInvalidInput(['phrase'], 'must have 4 to 40 letters, digits and single spaces')
      if (CODE.test(normalized)) throwInvalidInput(['phrase'], 'must have no more than three digits in a row')
      const id = newId('phrs', world.randomness)
      await store.replace(customer, { id, sealed: await seal.seal(contextOf(id), normalized) })
    },
  }
}
