import type { CommandLine, CompletedCommand, CompletedOption } from './model.ts'

const quote = (words: readonly string[]): string => `'${words.join(' ')}'`

/** A script for bash 3.2 and later. */
export const bashCompletion = ({ nouns, commands }: CommandLine): string => `# bash completion of guichet
_guichet() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} words='' IFS=$' \\t\\n'
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    words=${quote(nouns.map(({ name }) => name))}
  elif ((COMP_CWORD == 2)); then
    case \${COMP_WORDS[1]} in
${nouns
  .filter(({ verbs }) => verbs.length > 0)
  .map(({ name, verbs }) => `      ${name}) words=${quote(verbs.map((verb) => verb.name))} ;;`)
  .join('\n')}
    esac
  fi
  if [[ -z $words ]]; then
    case "\${COMP_WORDS[1]} \${COMP_WORDS[2]}" in
${commands.map(commandCase).join('\n')}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _guichet guichet
`

const commandCase = ({ words, argumentValues, options }: CompletedCommand): string => `      ${pattern(words)})
        case $previous in
${options
  .filter(({ value }) => value !== 'none')
  .map(valueCase)
  .join('\n')}
          *) words=${quote([...argumentValues, ...options.map(({ name }) => name)])} ;;
        esac ;;`

/** The pattern of a command with any arguments. */
const pattern = (words: readonly string[]): string => (words.length === 1 ? `'${words[0]!} '*` : `'${words.join(' ')}'`)

function valueCase({ name, value }: CompletedOption): string {
  const complete =
    value === 'file'
      ? `IFS=$'\\n'; COMPREPLY=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null; return`
      : value === 'text' || value === 'none'
        ? 'return'
        : `words=${quote(value)}`
  return `          ${name}) ${complete} ;;`
}
