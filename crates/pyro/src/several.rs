//! Several works at once, within a bound, in one task.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Does all works, at most `limit` of them at a time. At the first that fails, those under way are dropped, the others
/// never begun, and its failure is given. The results are in the order in which they came.
pub(crate) async fn several<T, E, W>(works: impl IntoIterator<Item = W>, limit: usize) -> Result<Vec<T>, E>
where
    W: Future<Output = Result<T, E>>,
{
    let mut waiting = works.into_iter();
    let mut running: Vec<Pin<Box<W>>> = Vec::new();
    let mut results = Vec::new();
    loop {
        let free = limit.max(1).saturating_sub(running.len());
        running.extend(waiting.by_ref().take(free).map(Box::pin));
        if running.is_empty() {
            return Ok(results);
        }
        let (at, result) = poll_fn(|context| {
            let done =
                running.iter_mut().enumerate().find_map(|(at, work)| match work.as_mut().poll(context) {
                    Poll::Ready(result) => Some((at, result)),
                    Poll::Pending => None,
                });
            done.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        drop(running.swap_remove(at));
        results.push(result?);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::several;

    /// No more than the bound are under way, and all are done.
    #[tokio::test(flavor = "current_thread")]
    async fn the_bound_holds() {
        let (now, most) = (Cell::new(0), Cell::new(0));
        let work = |number: u32| {
            let (now, most) = (&now, &most);
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                for _ in 0..number {
                    tokio::task::yield_now().await;
                }
                now.set(now.get() - 1);
                Ok::<u32, ()>(number)
            }
        };
        let mut done = several((0..10).map(work), 3).await.unwrap();
        done.sort_unstable();
        assert_eq!((done, most.get()), ((0..10).collect(), 3));
    }

    /// After a failure nothing more is begun.
    #[tokio::test(flavor = "current_thread")]
    async fn a_failure_ends_it() {
        let begun = Cell::new(0);
        let work = |number: u32| {
            let begun = &begun;
            async move {
                begun.set(begun.get() + 1);
                if number == 2 { Err(number) } else { Ok(number) }
            }
        };
        assert_eq!(several((0..10).map(work), 1).await, Err(2));
        assert_eq!(begun.get(), 3);
    }
}
