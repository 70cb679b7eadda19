import { fork, type ChildProcess } from 'node:child_process'

/** A program of the benchmark in a process of its own, so that its CPU time is not counted. */
export interface Child {
  /** Runs one command there and returns its result. Rejects if the command throws or the process ends. */
  request<Result>(command: object): Promise<Result>
  readonly pid: number
  stop(): void
}

interface Reply {
  readonly id: number
  readonly result?: unknown
  readonly error?: string
}

/** Starts a program that calls `serveCommands`. */
export function startChild(file: string): Child {
  const child: ChildProcess = fork(file, { serialization: 'advanced' })
  const pending = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  let lastId = 0
  child.on('message', (message) => {
    const { id, result, error } = message as Reply
    const request = pending.get(id)!
    pending.delete(id)
    if (error === undefined) request.resolve(result)
    else request.reject(new Error(`${file}: ${error}`))
  })
  child.once('exit', (code) => {
    for (const { reject } of pending.values()) reject(new Error(`${file} exited with code ${String(code)}`))
  })
  const kill = (): void => void child.kill('SIGKILL')
  process.once('exit', kill)
  child.once('exit', () => process.off('exit', kill))
  return {
    request: <Result>(command: object) =>
      new Promise<Result>((resolve, reject) => {
        pending.set(++lastId, { resolve: (result) => resolve(result as Result), reject })
        child.send({ id: lastId, command })
      }),
    pid: child.pid!,
    stop: kill,
  }
}

/** Runs in the child: executes each command that arrives and sends back what `execute` returns. */
export function serveCommands<Command>(execute: (command: Command) => unknown): void {
  process.on('message', (message) => {
    const { id, command } = message as { id: number; command: Command }
    void new Promise((resolve) => resolve(execute(command))).then(
      (result) => process.send!({ id, result } satisfies Reply),
      (error: unknown) => process.send!({ id, error: error instanceof Error ? error.stack! : String(error) }),
    )
  })
  process.on('disconnect', () => process.exit(0))
  // Ctrl-C reaches the whole process group; the parent ends its children.
  process.on('SIGINT', () => undefined)
}

/** Milliseconds on a clock that all processes of this machine share. */
export const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6
