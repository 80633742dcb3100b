//! Questions to the spool whose answer may be a panic.
//!
//! A panic is a fault of the gateway, but the lane that asked has to go on: it is
//! answered as a failure, with what the panic said.

use crate::spool::SpoolError;
use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The answer, or that there is none.
pub(super) async fn caught<T>(
    question: impl Future<Output = Result<T, SpoolError>>,
) -> Result<T, SpoolError> {
    let mut question = pin!(question);
    poll_fn(|context| {
        // It is not polled again after a panic.
        let polled = catch_unwind(AssertUnwindSafe(|| question.as_mut().poll(context)));
        let failed = |panic: Box<dyn Any + Send>| SpoolError::Failed(format!("a panic: {}", words(&*panic)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(failed(panic))))
    })
    .await
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}
