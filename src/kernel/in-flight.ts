/** Background tasks that have started and not ended, in groups that are limited separately. */
export interface InFlight {
  readonly count: number
  /** The number of tasks of each group that has any. */
  countByGroup(): ReadonlyMap<string, number>
  hasAny(group: string): boolean
  /** Starts a task, which must not reject. Calls `onEnd` when it has ended and is no longer counted. */
  start(group: string, task: () => Promise<void>, onEnd?: () => void): void
  /** Resolves once every task that is in flight now has ended. */
  waitUntilIdle(): Promise<void>
}

/** Creates an empty set of tasks. */
export function createInFlight(): InFlight {
  const groups = new Map<string, Set<Promise<void>>>()
  const allTasks = (): Promise<void>[] => [...groups.values()].flatMap((tasks) => [...tasks])
  return {
    get count() {
      return allTasks().length
    },
    countByGroup: () => new Map([...groups].map(([group, tasks]) => [group, tasks.size])),
    hasAny: (group) => groups.has(group),
    start(group, task, onEnd) {
      const tasks = groups.get(group) ?? new Set()
      groups.set(group, tasks)
      const running: Promise<void> = task().finally(() => {
        tasks.delete(running)
        if (tasks.size === 0) groups.delete(group)
        onEnd?.()
      })
      tasks.add(running)
    },
    async waitUntilIdle() {
      await Promise.all(allTasks())
    },
  }
}
