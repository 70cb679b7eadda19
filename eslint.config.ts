import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'

export default defineConfig(
  {
    ignores: ['src/generated', 'node_modules', '.guichet', '**/*.mjs', '**/*.cjs', 'examples/typescript/generated.ts'],
  },
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // One place of the gateway reads the environment, so that a setting is documented, checked and frozen.
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'env', message: 'src/config.ts reads the environment' },
        { object: 'process', property: 'hrtime', message: 'durations come from world.timers.monotonicMs()' },
        { object: 'AbortSignal', property: 'timeout', message: 'waiting comes from world.timers' },
      ],
      // Time, timers, randomness and the network come from World, so that a test can hold them still.
      'no-restricted-globals': [
        'error',
        { name: 'performance', message: 'durations come from world.timers.monotonicMs()' },
        { name: 'setTimeout', message: 'timers come from world.timers' },
        { name: 'setInterval', message: 'timers come from world.timers' },
        { name: 'clearTimeout', message: 'a Timer of world.timers has clear()' },
        { name: 'clearInterval', message: 'a Timer of world.timers has clear()' },
      ],
      'no-restricted-imports': [
        'error',
        {
          paths: ['timers', 'timers/promises', 'perf_hooks'].flatMap((name) =>
            [name, `node:${name}`].map((path) => ({ name: path, message: 'time and timers come from world.timers' })),
          ),
        },
      ],
      'no-restricted-syntax': [
        'error',
        { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: 'time comes from world.clock' },
        {
          selector: "CallExpression[callee.object.name='Date'][callee.property.name='now']",
          message: 'time comes from world.clock',
        },
        {
          selector: "CallExpression[callee.object.name='Math'][callee.property.name='random']",
          message: 'randomness comes from world.randomness',
        },
        {
          selector: "CallExpression[callee.name='addMs'][arguments.1.type='UnaryExpression']",
          message: 'subtractMs of kernel/clock.ts',
        },
        { selector: "CallExpression[callee.name='fetch']", message: 'outbound requests go through world.http' },
        {
          selector: "CallExpression[callee.property.name='write'][callee.object.property.name='socket']",
          message: 'write to the response: Node frames it',
        },
        {
          selector: "CallExpression[callee.property.name='write'][callee.object.name='socket']",
          message: 'write to the response: Node frames it',
        },
        { selector: 'ExportDefaultDeclaration', message: 'named exports: one word per thing' },
        {
          selector: "BinaryExpression[operator='instanceof'][right.name='Promise']",
          message: 'chain or isPromise of kernel/maybe-promise.ts',
        },
      ],
      // The only logger is the allow-list logger.
      'no-console': 'error',
      // Non-null assertions are used where an invariant two lines up gives the reason; the compiler option makes arrays strict.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // Numbers in messages and addresses read well as they are.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // `() => void work()` says that nothing waits for it.
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidOperator: true },
      ],
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      // Index access by string is how process.env and JSON are read under noPropertyAccessFromIndexSignature's rule.
      '@typescript-eslint/dot-notation': 'off',
      // A variable kept out of a rest pattern is dropped on purpose.
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true },
      ],
      // Interfaces of the store read as tables; methods in them take no `this`.
      '@typescript-eslint/unbound-method': 'off',
      // Type parameters that appear once still name what a caller gets back.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
    },
  },
  {
    // The one place that reads the system's clocks and sets its timers.
    files: ['src/kernel/clock.ts'],
    rules: { 'no-restricted-globals': 'off', 'no-restricted-syntax': 'off' },
  },
  {
    // The environment is passed to src/config.ts by the programs that start.
    files: ['src/config.ts', 'src/main.ts', 'src/recovery.ts'],
    rules: { 'no-restricted-properties': 'off' },
  },
  {
    // Programs of their own, without a World: the sandbox plays the banks, the CLI is a client of the gateway, a bench measures
    // real time, and tests and tools drive the gateway from outside.
    files: [
      'src/entrypoints/cli/**',
      'src/sandbox/**',
      'test/**',
      'tools/**',
      'bench/**',
      'examples/**',
      '*.config.ts',
      'codegen.ts',
    ],
    rules: {
      'no-restricted-globals': 'off',
      'no-restricted-imports': 'off',
      'no-restricted-properties': 'off',
      'no-restricted-syntax': 'off',
    },
  },
)
