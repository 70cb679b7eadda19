import { defineCommand } from '../command.ts'
import { queryAllNodes } from '../graph.ts'
import { table } from '../view.ts'

const FIELDS = 'id name country availability'

/** The directory of banks, which anybody can read. */
export const BANK_COMMANDS = [
  defineCommand({
    name: 'banks list',
    description: 'List the banks, and whether customers can connect each of them now.',
    examples: ['guichet banks list'],
    json: `[{ ${FIELDS} }]`,
    view: table({ ID: 'id', NAME: 'name', COUNTRY: 'country', AVAILABILITY: 'availability' }),
    run: (context) => queryAllNodes(context, undefined, 'banks', FIELDS),
  }),
]
