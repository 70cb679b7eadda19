import { bold, displayWidth, escapeControlCharacters, escapeLines, padToWidth, toJson } from './terminal.ts'

/** Renders a command's result for people. */
export type View = (result: unknown, terminal: Terminal) => string

/** Where the result is shown. */
export interface Terminal {
  readonly stream: NodeJS.WriteStream
  /** Width in columns; undefined for a pipe or a file, which have no width. */
  readonly columns: number | undefined
}

/** Titles with the path of the value below each, such as `{ BANK: 'bank.id' }`. */
export type Fields = Readonly<Record<string, string>>

const COLUMN_GAP = '  '
const NONE = '-'
/** Text of more than one line, such as a certificate, keeps its lines in a record. */
const PEM = /^-----BEGIN [A-Z ]+-----\n[\w+/=\n]+-----END [A-Z ]+-----\n?$/

/** A list as a table with a row for each item. On a terminal that is too narrow, each item is a record of its own. */
export const table =
  (fields: Fields): View =>
  (result, terminal) => {
    const items = result as readonly unknown[]
    if (items.length === 0) return '(none)'
    const rows = items.map((item) => Object.values(fields).map((path) => formatCell(readPath(item, path))))
    const widths = Object.keys(fields).map((title, column) =>
      Math.max(displayWidth(title), ...rows.map((row) => displayWidth(row[column]!))),
    )
    const tableWidth = widths.reduce((sum, width) => sum + width, (widths.length - 1) * COLUMN_GAP.length)
    if (terminal.columns !== undefined && tableWidth > terminal.columns)
      return items.map((item) => record(fields)(item, terminal)).join('\n\n')
    const isNumeric = widths.map((_width, column) => rows.every((row) => /^-?\d+$/.test(row[column]!)))
    const line = (cells: readonly string[]): string =>
      cells
        .map((cell, column) => padToWidth(cell, widths[column]!, isNumeric[column] ? 'right' : 'left'))
        .join(COLUMN_GAP)
        .trimEnd()
    return [bold(line(Object.keys(fields)), terminal.stream), ...rows.map(line)].join('\n')
  }

/** One thing as lines of a title and a value. */
export const record =
  (fields: Fields): View =>
  (result, { stream }) => {
    const width = Math.max(...Object.keys(fields).map(displayWidth))
    const indentation = ' '.repeat(width + COLUMN_GAP.length)
    return Object.entries(fields)
      .map(([title, path]) => {
        const value = readPath(result, path)
        const text =
          typeof value === 'string' && PEM.test(value)
            ? escapeLines(value.trim()).replaceAll('\n', `\n${indentation}`)
            : formatCell(value)
        return `${bold(padToWidth(title, width), stream)}${COLUMN_GAP}${text}`
      })
      .join('\n')
  }

/** Texts one below the other, with their lines, wrapped at the width of a terminal. */
export const items: View = (result, { columns }) =>
  (result as readonly string[])
    .map((text) => {
      const [first = '', ...rest] = text.split('\n')
      return [wrap(first, columns, '  '), ...rest.map((line) => wrap(line, columns, '    '))].join('\n')
    })
    .join('\n')

/** A line whose continuations are indented two columns further. Words that are too long stand alone. */
function wrap(line: string, columns: number | undefined, indentation: string): string {
  const lines: string[] = []
  for (const word of escapeControlCharacters(line).split(' ')) {
    const last = lines.at(-1)
    if (last === undefined) lines.push(indentation + word)
    else if (columns !== undefined && displayWidth(`${last} ${word}`) > columns) lines.push(`${indentation}  ${word}`)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines.join('\n')
}

/** A part of a thing below its heading; an empty path is the whole thing. */
interface Section {
  readonly heading?: string
  readonly path: string
  readonly view: View
  /** Whether it is left out if it is an empty list. */
  readonly isOptional?: boolean
}

/** Several views of parts of one thing. */
export const sections =
  (parts: readonly Section[]): View =>
  (result, terminal) =>
    parts
      .filter(
        ({ path, isOptional = false }) => !isOptional || (readPath(result, path) as readonly unknown[]).length > 0,
      )
      .map(({ heading, path, view }) => {
        const body = view(readPath(result, path), terminal)
        return heading === undefined ? body : `${bold(heading, terminal.stream)}\n${body}`
      })
      .join('\n\n')

/** Any result as indented JSON: for results whose shape the caller chooses. */
export const indentedJson: View = (result) => toJson(result, 2)

/** Reads `bank.id` of an object; undefined if a part is missing. */
function readPath(value: unknown, path: string): unknown {
  return path === ''
    ? value
    : path
        .split('.')
        .reduce<unknown>((part, name) => (part as Record<string, unknown> | null | undefined)?.[name], value)
}

function formatCell(value: unknown): string {
  if (value === null || value === undefined || value === '') return NONE
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (Array.isArray(value) && value.every((item) => typeof item === 'string'))
    return value.length === 0 ? NONE : escapeControlCharacters(value.join(' '))
  if (typeof value === 'string') return escapeControlCharacters(formatIfTime(value))
  return typeof value === 'number' ? String(value) : toJson(value)
}

const ISO_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/

/** Times are shown in UTC and without fractions of a second. */
const formatIfTime = (text: string): string =>
  ISO_TIME.test(text) ? new Date(text).toISOString().replace(/\.\d+Z$/, 'Z') : text
