//! Letting others go first. It knows no request, and waits for nothing but its turn.

use std::future::poll_fn;
use std::task::Poll;

/// Lets every task of this worker that is ready now run before this one goes on. Costs one poll of the task, and no system
/// call, as its reactor is not asked in between.
///
/// Where many connections are busy, the steps of their requests run as groups of equals (all reads of clients, then all writes to
/// servers) in place of one request after the other. Code of each step, the kernel's too, is then found in the processor's
/// instruction cache, which holds less than what one whole request runs through. `cargo xtask bench proxy` shows it.
///
/// Dropping it loses nothing.
pub(super) async fn after_all_others() {
    let mut waited = false;
    poll_fn(|cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn all_that_is_ready_runs_before_anybody_goes_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let told = Rc::new(RefCell::new(Vec::new()));
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let tasks = [1, 2, 3].map(|number| {
                let told = told.clone();
                tokio::task::spawn_local(async move {
                    told.borrow_mut().push(("before", number));
                    after_all_others().await;
                    told.borrow_mut().push(("after", number));
                })
            });
            for task in tasks {
                task.await.expect("it does not panic");
            }
        });
        let groups = [1, 2, 3].map(|number| ("before", number)).into_iter();
        let expected: Vec<_> = groups.chain([1, 2, 3].map(|number| ("after", number))).collect();
        assert_eq!(*told.borrow(), expected);
    }
}
