import type { CommandLine, CompletedCommand, CompletedOption } from './model.ts'

const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", String.raw`\'`)}'`

/** A script for fish. */
export const fishCompletion = ({ nouns, commands }: CommandLine): string =>
  [
    '# fish completion of guichet',
    'complete -c guichet -f',
    ...nouns.map(
      ({ name, description }) => `complete -c guichet -n __fish_use_subcommand -a ${name} -d ${quote(description)}`,
    ),
    ...nouns.flatMap(({ name, verbs }) => {
      const names = verbs.map((verb) => verb.name).join(' ')
      const condition = `__fish_seen_subcommand_from ${name}; and not __fish_seen_subcommand_from ${names}`
      return verbs.map(
        (verb) => `complete -c guichet -n ${quote(condition)} -a ${verb.name} -d ${quote(verb.description)}`,
      )
    }),
    ...commands.flatMap(commandLines),
    '',
  ].join('\n')

function commandLines({ words, argumentValues, options }: CompletedCommand): string[] {
  const condition = quote(words.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and '))
  return [
    ...(argumentValues.length > 0 ? [`complete -c guichet -n ${condition} -a ${quote(argumentValues.join(' '))}`] : []),
    ...options.map((option) => `complete -c guichet -n ${condition} ${optionFlags(option)}`),
  ]
}

function optionFlags({ name, description, value }: CompletedOption): string {
  const values =
    value === 'none' ? '' : value === 'file' ? ' -r -F' : value === 'text' ? ' -x' : ` -x -a ${quote(value.join(' '))}`
  return `-l ${name.slice(2)}${values} -d ${quote(description)}`
}
