interface Waiting<Q, A> {
  readonly question: Q
  readonly done: (answer: A) => void
  readonly failed: (error: unknown) => void
}

/**
 * Answers questions that are asked in the same turn of the event loop, or within `waitMs`, together, and no sooner than
 * `restMs` after the ones before: `answer` gets them in the order in which they were asked, at most `most` at a time, and
 * gives one answer or error for each, in that order. Where it throws, all of them fail so.
 */
export function createGather<Q, A>(
  answer: (questions: readonly Q[]) => Promise<readonly (A | Error)[]>,
  { most = 500, waitMs = 0, restMs = 0 }: { most?: number; waitMs?: number; restMs?: number } = {},
): (question: Q) => Promise<A> {
  let waiting: Waiting<Q, A>[] = []
  let startedMs = -restMs

  function start(): void {
    const all = waiting
    waiting = []
    startedMs = performance.now()
    for (let at = 0; at < all.length; at += most) void settle(all.slice(at, at + most))
  }

  async function settle(batch: readonly Waiting<Q, A>[]): Promise<void> {
    try {
      const answers = await answer(batch.map(({ question }) => question))
      batch.forEach(({ done, failed }, index) => {
        const one = answers[index]
        if (one instanceof Error) failed(one)
        else done(one as A)
      })
    } catch (error) {
      for (const { failed } of batch) failed(error)
    }
  }

  return (question) =>
    new Promise((done, failed) => {
      if (waiting.push({ question, done, failed }) > 1) return
      const delayMs = Math.max(waitMs, restMs && startedMs + restMs - performance.now())
      if (delayMs > 0) setTimeout(start, delayMs)
      else setImmediate(start)
    })
}
