import type { CommandLine, CompletedCommand, CompletedOption, Verb } from './model.ts'

const quote = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`
/** Text in a list of `_describe`, where a colon ends the name. */
const describe = ({ name, description }: Verb): string =>
  quote(`${name}:${description.replaceAll(':', String.raw`\:`)}`)

/** A script for zsh, to source or to put into a folder of `fpath`. */
export const zshCompletion = ({ nouns, commands }: CommandLine): string => `#compdef guichet
_guichet() {
  local -a candidates
  if ((CURRENT == 2)); then
    candidates=(
${nouns.map((noun) => `      ${describe(noun)}`).join('\n')}
    )
    _describe command candidates
    return
  fi
  if ((CURRENT == 3)); then
    case $words[2] in
${nouns
  .filter(({ verbs }) => verbs.length > 0)
  .map(({ name, verbs }) => `      ${name}) candidates=(${verbs.map(describe).join(' ')}) ;;`)
  .join('\n')}
    esac
    if (( $#candidates )); then
      _describe command candidates
      return
    fi
  fi
  case "$words[2] $words[3]" in
${commands.map(commandCase).join('\n')}
  esac
}
if [[ $funcstack[1] = _guichet ]]; then
  _guichet "$@"
else
  compdef _guichet guichet
fi
`

const commandCase = ({
  words,
  argumentValues,
  options,
}: CompletedCommand): string => `    ${words.length === 1 ? `${quote(`${words[0]!} `)}*` : quote(words.join(' '))})
      shift ${words.length} words
      ((CURRENT -= ${words.length}))
      _arguments ${[
        ...(argumentValues.length > 0 ? [quote(`1:value:(${argumentValues.join(' ')})`)] : []),
        ...options.map(optionSpec),
      ].join(' ')} ;;`

function optionSpec({ name, description, value }: CompletedOption): string {
  const explanation = description.replaceAll(/[[\]:]/g, String.raw`\$&`)
  const action =
    value === 'none'
      ? ''
      : value === 'file'
        ? ':file:_files'
        : value === 'text'
          ? ':value:'
          : `:value:(${value.join(' ')})`
  return quote(`${name}[${explanation}]${action}`)
}
