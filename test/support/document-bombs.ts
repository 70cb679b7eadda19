const many = (count: number, make: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => make(index)).join(' ')

/** Documents that are cheap to send and were, in one server or another, dear to read. Each fits into a GET request. */
export const DOCUMENT_BOMBS: readonly (readonly [name: string, document: string])[] = [
  [
    'fragment spreads that double and end in an unknown fragment',
    `{...a0} ${many(99, (i) => `fragment a${i} on Query{...a${i + 1} ...a${i + 1}}`)}`,
  ],
  ['a fragment that spreads itself', '{...a} fragment a on Query{banks{nodes{id}} ...a}'],
  [
    'fragments that spread each other',
    `{...a0} ${many(80, (i) => `fragment a${i} on Query{...a${(i + 1) % 80} ...a${(i + 7) % 80}}`)}`,
  ],
  [
    'spreads that double and end in a field',
    `{...a0} ${many(60, (i) => `fragment a${i} on Query{...a${i + 1} ...a${i + 1}}`)} fragment a60 on Query{banks{nodes{id}}}`,
  ],
  ['many aliases of one field', `{banks{nodes{${many(240, (i) => `a${i}:id`)}}}}`],
  ['one field over and over', `{banks{nodes{${many(480, () => 'id')}}}}`],
  ['one field with children over and over', `{${many(20, () => `banks{nodes{${many(20, () => 'id')}}}`)}}`],
  [
    'conflicting fields under one alias',
    `{${many(20, (i) => `banks{nodes{${many(10, () => `x:${i % 2 ? 'name' : 'id'}`)}}}`)}}`,
  ],
  [
    'fragments that must be compared with each other',
    `{customer{...a0}} ${many(32, (i) => `fragment a${i} on Customer{accounts{nodes{id}} ${i < 31 ? `...a${i + 1} ...a${(i * 7 + 5) % 32}` : ''}}`)}`,
  ],
  ['inline fragments side by side', `{${many(110, () => '...on Query{banks{nodes{id}}}')}}`],
  ['inline fragments within each other', `{${'...on Query{'.repeat(190)}banks{nodes{id}}${'}'.repeat(190)}}`],
  ['fields within each other', `{customer${'{consents{bank'.repeat(120)}{id}${'}}'.repeat(120)}}`],
  ['a list within lists', `{nodes(ids:${'['.repeat(480)}1${']'.repeat(480)}){id}}`],
  [
    'an object within objects',
    `mutation{registerConnector(input:${'{a:'.repeat(240)}1${'}'.repeat(240)}){userErrors{code}}}`,
  ],
  ['a thousand directives', `{banks{nodes{id ${many(160, () => '@include(if:true)')}}}}`],
  ['a thousand unknown directives', `{banks{nodes{id ${many(480, () => '@a')}}}}`],
  ['hundreds of variables', `query(${many(230, (i) => `$a${i}:Int`)}){banks{nodes{id}}}`],
  ['hundreds of variables of unknown types', `query(${many(230, (i) => `$a${i}:Accou${i}`)}){banks{nodes{id}}}`],
  [
    'fragments that are never used',
    `{banks{nodes{id}}} ${many(80, (i) => `fragment a${i} on Query{banks{nodes{id}}}`)}`,
  ],
  ['fragments of one name', `{...a} ${many(80, () => 'fragment a on Query{banks{nodes{id}}}')}`],
  ['unknown fields', `{banks{nodes{${many(240, (i) => `accountx${i}`)}}}}`],
  ['one argument over and over', `{node(${many(240, () => 'id:1')}){id}}`],
  [
    'empty lines before conflicts',
    `{${'\n'.repeat(2_000)}${many(20, (i) => `banks{nodes{x:${i % 2 ? 'name' : 'id'}}}`)}}`,
  ],
  [
    'operations that share a chain of fragments',
    `${many(20, (i) => `query q${i}{...a0}`)} ${many(70, (i) => `fragment a${i} on Query{...a${i + 1}}`)} fragment a70 on Query{banks{nodes{id}}}`,
  ],
]

/**
 * A document that a client could mean, as long as `length` and of at most a thousand tokens. A caller without a token may
 * not have what it asks for, so that reading it is most of what it costs.
 */
export function harmlessDocument(length: number): string {
  const field = (index: number): string => `v${index}:customer{id accounts{nodes{id type bank{id name}}}}`
  let text = 'banks{nodes{id}}'
  for (let index = 0; index < 19 && text.length + 60 < length; index++) text += ` ${field(index)}`
  return `{${text}}`.padEnd(length, ' ')
}
